"""The cloud process of one folder: it ends by a signal, by request, or by itself when nobody needs it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import time
from pathlib import Path

import psutil

from rehearsal.cloud.calls import Cloud
from rehearsal.cloud.face import Face
from rehearsal.cloud.internal import Internal
from rehearsal.cloud.servers import Listener, bind
from rehearsal.cloud.supervisor import Supervisor
from rehearsal.cloud.tokens import Tokens, local_secret, write_credentials, write_private
from rehearsal.cloud.workloads import Workloads
from rehearsal.runner.choose import choose_runner
from rehearsal.world import World

PORT_SETTING = "cloud_port"
PROJECT_SETTING = "project"
FALLBACK_PROJECT = "rehearsal"
_LOOK_SECONDS = 0.5
_LOG = logging.getLogger(__name__)


def serve(folder: Path, idle: float) -> None:
    """Run until told to stop.

    Args:
        folder: the world's folder.
        idle: seconds without workload and request after which the process ends.
    """
    world = World(folder)
    listening = _listen(world)
    try:
        asyncio.run(_serve(world, listening, idle))
    finally:
        (folder / "cloud.json").unlink(missing_ok=True)


def _listen(world: World) -> socket.socket:
    """The world's own port, or a new one when another program took it meanwhile."""
    kept = int(world.setting(PORT_SETTING) or 0)
    try:
        listening = bind(kept)
    except OSError:
        listening = bind(0)
    port = listening.getsockname()[1]
    if kept not in (0, port):
        _LOG.warning("port %d is taken, the rehearsed cloud listens on %d from now on", kept, port)
    if port != kept:
        world.set_setting(PORT_SETTING, str(port))
    # The credentials hold the address of the token endpoint.
    write_credentials(world.folder, world.setting(PROJECT_SETTING) or FALLBACK_PROJECT, port)
    return listening


async def _serve(world: World, listening: socket.socket, idle: float) -> None:
    port = listening.getsockname()[1]
    address = f"127.0.0.1:{port}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tokens = Tokens(world.folder)
    workloads = Workloads(world, choose_runner(), address)
    supervisor = Supervisor(world, workloads, tokens)
    cloud = Cloud(world, tokens, workloads, supervisor, address, loop)
    face = Face(cloud, Internal(cloud, local_secret(world.folder), stop.set))
    await supervisor.start()
    listener = Listener(face.app(), listening)
    started = psutil.Process().create_time()
    state = {"port": port, "pid": os.getpid(), "started": started}
    write_private(world.folder / "cloud.json", json.dumps(state))
    _LOG.info("the rehearsed cloud of %s listens on %s", world.folder, address)
    await _until(stop, face, supervisor, idle)
    await supervisor.stop()
    await listener.close()


async def _until(stop: asyncio.Event, face: Face, supervisor: Supervisor, idle: float) -> None:
    """Return when told to stop, or when nothing has run and nobody has called for `idle` seconds."""
    while not stop.is_set():
        if supervisor.busy:
            face.last_request = time.monotonic()
        elif time.monotonic() - face.last_request > idle:
            _LOG.info("nothing runs and nobody calls: the rehearsed cloud ends")
            return
        try:
            await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
        except TimeoutError:
            continue
