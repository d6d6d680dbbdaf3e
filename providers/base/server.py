"""A plugin's process: starts the service, tells the engine the port, and leaves when the engine does."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import grpc.aio
from pulumi.runtime.proto import provider_pb2_grpc

from providers.base.provider import Provider
from providers.base.servicer import Servicer

MAX_MESSAGE_BYTES = 400 * 1024 * 1024
"""The engine's own limit (`sdk/go/common/util/rpcutil`); gRPC's 4 MiB are too few for large stacks."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A busy event loop must not make gRPC drop a request that waits for it.
    ("grpc.server_max_unrequested_time_in_server", 30 * 60),
)
_WORKERS = 64
"""Threads for blocking work; waiting operations hold one each, and they are cheap."""
_PARENT_POLL_SECONDS = 1.0


def main(
    factory: Callable[[str, str], Provider], name: str, version: str, args: Sequence[str] | None = None
) -> NoReturn:
    """Runs a provider plugin until the engine ends it or is gone.

    Args:
        factory: makes the provider from its name and version.
        name: the package's name, as in `pulumi-resource-<name>`.
        version: the provider's version.
        args: the command line after the program's name; the process's own by default.
    """
    parser = argparse.ArgumentParser(
        f"pulumi-resource-{name}", description="A Pulumi provider; Pulumi starts it."
    )
    parser.add_argument("engine", nargs="?", default="", help="the engine's address, host:port")
    known, _ = parser.parse_known_args(args)  # The engine also passes its own logging options.
    asyncio.run(_serve(factory(name, version), known.engine))
    raise AssertionError("the process ends inside _serve")


async def start(provider: Provider, engine: str = "") -> tuple[grpc.aio.Server, int]:
    """Starts serving on a free loopback port, which is returned with the server."""
    provider.log.connect(engine)
    server = grpc.aio.server(options=_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(provider), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def _serve(provider: Provider, engine: str) -> NoReturn:
    # Taken before the port is told: an engine that dies later is noticed by this, one that died before by the
    # broken pipe.
    parent = os.getppid()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_WORKERS, thread_name_prefix="work"))
    ended = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, ended.set)
    server, port = await start(provider, engine)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    watch = asyncio.create_task(_engine_gone(parent, ended))
    await ended.wait()
    watch.cancel()
    provider.cancelled.set()
    await server.stop(grace=0)
    # A thread may be in a call that nobody waits for any more; Python's own exit would wait for it.
    os._exit(0)


async def _engine_gone(parent: int, ended: asyncio.Event) -> None:
    """Ends the process when its parent is another one than at the start: the engine was killed."""
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_POLL_SECONDS)
    ended.set()
