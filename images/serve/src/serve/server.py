"""The process: from settings to exit status."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import NoReturn

import uvicorn

from serve import logs, manifest, settings
from serve.api.service import Service
from serve.app import create_app, create_service
from serve.engines.base import Engine
from serve.errors import Exit, StartupError
from serve.queueing import shutting_down
from serve.settings import EngineName, Settings

LOG = logging.getLogger(__name__)
REFUSE_SECONDS = 3
"""Before the platform kills: answers still under way are refused with a clear answer."""
CUT_SECONDS = 1
"""Before the platform kills: connections are cut, whatever they do."""
KEEP_ALIVE_SECONDS = 620
"""Longer than Google's front ends keep an idle connection (600 s), so that they close it and not this server
while they send the next request: https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries"""


@dataclass(frozen=True, slots=True)
class Variant:
    """An engine and the image that has what it needs."""

    module: str
    name: str
    """The class in the module."""
    needs: tuple[str, ...]
    """Packages that the image of this engine has."""
    image: str


VARIANTS: Mapping[str, Variant] = {
    "transformers": Variant(
        "serve.engines.transformers_engine", "TransformersEngine", ("torch", "transformers"), "serve"
    ),
    "ctranslate2": Variant(
        "serve.engines.ctranslate2_engine",
        "CTranslate2Engine",
        ("ctranslate2", "transformers"),
        "serve-ctranslate2",
    ),
    "vllm": Variant("serve.engines.vllm_engine", "VllmEngine", ("vllm",), "serve-vllm"),
}


class Server(uvicorn.Server):
    """uvicorn, with an orderly end for the engine's work.

    Args:
        config: uvicorn's configuration.
        service: what is served.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets answers under way finish, refuses what takes too long."""
        gate = self._service.gate
        gate.drain()
        loop = asyncio.get_running_loop()
        seconds = self._service.settings.grace_seconds - REFUSE_SECONDS
        timer = loop.call_later(seconds, gate.abort, shutting_down())
        await super().shutdown(sockets)
        timer.cancel()


def main(environment: Mapping[str, str] | None = None) -> None:
    """Runs the server until it is told to stop, then ends the process with its status (`Exit`)."""
    environment = os.environ if environment is None else environment
    logs.configure()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        chosen = settings.from_environment(environment)
        check_engine(chosen.engine)
        if chosen.download_from is None:
            manifest.check(chosen.model_path, chosen.engine)
    except StartupError as error:
        LOG.error("%s", error)
        sys.exit(error.code)
    prepare_libraries(chosen.threads)
    serve(chosen)


def prepare_libraries(threads: int) -> None:
    """Sets what torch and transformers read when they are imported: no network, and the number of threads."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
    }


def serve(chosen: Settings) -> NoReturn:
    """Serves until SIGTERM or SIGINT, or until the model turns out not to load; then ends the process.

    Args:
        chosen: the server's settings.
    """

    def on_death() -> None:
        # A model that never answered will not do so later either; one that did is reported by /health,
        # and the platform restarts the container.
        if not service.host.was_ready:
            server.should_exit = True

    service = create_service(chosen, partial(make_engine, chosen.engine), on_death)
    server = Server(_uvicorn_config(chosen, service), service)
    try:
        server.run()
        code = int(Exit.OK)
    except SystemExit as end:
        # From uvicorn when it cannot listen; from _leave, as uvicorn repeats the signal at its end.
        code = int(Exit.PORT if end.code else Exit.OK)
    host = service.host
    if host.death and not host.was_ready:
        code = int(host.exit_code)
    LOG.info("stopped", extra={"exit_status": code})
    host.stop(timeout=0.5)
    # The interpreter's own end lets libraries tidy up: around a thread that still loads that can crash, and
    # with vLLM it takes longer than the platform's grace period.
    logging.shutdown()
    os._exit(code)


def check_engine(name: EngineName) -> None:
    """Looks whether this image has what the engine needs, without importing it.

    Raises:
        StartupError: it has not; the message names the image that has.
    """
    variant = VARIANTS[name]
    missing = [package for package in variant.needs if importlib.util.find_spec(package) is None]
    if missing:
        message = (
            f"ENGINE is {name!r}, but this image lacks {', '.join(missing)}: use the image {variant.image}, "
            f"which is this one built with --build-arg ENGINE={name}"
        )
        raise StartupError(Exit.SETTINGS, message)


def make_engine(name: EngineName) -> Engine:
    """Makes an engine; imports it only now, because that takes seconds and the port is to be open before."""
    variant = VARIANTS[name]
    engine: Engine = getattr(importlib.import_module(variant.module), variant.name)()
    return engine


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(Exit.OK)


def _uvicorn_config(chosen: Settings, service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service),
        host=chosen.host,
        port=chosen.listen_port,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(chosen.grace_seconds - CUT_SECONDS),
    )
