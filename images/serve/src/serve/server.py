"""The process: from settings to exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from types import FrameType

import uvicorn

from serve import logs, manifest, settings
from serve.api import create_app
from serve.engine import Engine
from serve.errors import Exit, StartupError
from serve.scheduler import Scheduler
from serve.settings import Settings

LOG = logging.getLogger(__name__)
GRACE_SECONDS = 10
"""From SIGTERM to SIGKILL on Cloud Run."""
DRAIN_SECONDS = GRACE_SECONDS - 3
"""How long answers under way may go on after SIGTERM; what is left then is refused with a clear answer."""
CLOSE_SECONDS = GRACE_SECONDS - 1
"""When connections are cut, whatever they do."""
KEEP_ALIVE_SECONDS = 620
"""Longer than Google's front ends keep an idle connection (600 s), so that they close it and not this server
while they send the next request: https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries"""


class Server(uvicorn.Server):
    """uvicorn, with an orderly end for the engine's work.

    Args:
        config: uvicorn's configuration.
        scheduler: the engine's work.
    """

    def __init__(self, config: uvicorn.Config, scheduler: Scheduler) -> None:
        super().__init__(config)
        self._scheduler = scheduler

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets answers under way finish, refuses what takes too long."""
        self._scheduler.drain()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(DRAIN_SECONDS, self._scheduler.abort, "the server is shutting down")
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
        manifest.check(chosen.model_path)
    except StartupError as error:
        LOG.error("%s", error)
        sys.exit(error.code)
    prepare_libraries(chosen.threads)
    sys.exit(serve(chosen))


def prepare_libraries(threads: int) -> None:
    """Sets what torch and transformers read when they are imported: no network, and the number of threads."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
    }


def serve(chosen: Settings) -> int:
    """Serves until SIGTERM or SIGINT, or until the model turns out not to load.

    Args:
        chosen: the server's settings.

    Returns:
        The exit status.
    """

    def make_engine() -> Engine:
        from serve.transformers_engine import TransformersEngine

        return TransformersEngine(chosen.model_path, chosen.dtype, chosen.threads)

    scheduler = Scheduler(make_engine, chosen.max_queue)

    def on_death() -> None:
        # A model that never answered will not do so later either; one that did is reported by /health,
        # and the platform restarts the container.
        if not scheduler.was_ready:
            server.should_exit = True

    server = Server(_uvicorn_config(chosen, scheduler, on_death), scheduler)
    try:
        server.run()
        code = int(Exit.OK)
    except SystemExit as end:
        # From uvicorn when it cannot listen; from _leave, as uvicorn repeats the signal at its end.
        code = int(end.code or Exit.OK)
    if scheduler.death and not scheduler.was_ready:
        code = int(Exit.MODEL_LOAD)
    LOG.info("stopped", extra={"exit_status": code})
    if not scheduler.stop(timeout=0.5):
        # The engine's thread is inside native code, loading; ending the interpreter around it can crash.
        logging.shutdown()
        os._exit(code)
    return code


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(Exit.OK)


def _uvicorn_config(chosen: Settings, scheduler: Scheduler, on_death: Callable[[], None]) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(chosen, scheduler, on_death),
        host=chosen.host,
        port=chosen.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
