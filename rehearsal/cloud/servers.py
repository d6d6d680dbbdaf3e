"""HTTP servers inside the cloud process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn


class Server(uvicorn.Server):
    """A server that leaves signals to the process that holds several of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Change no signal handler."""
        yield


class Listener:
    """An ASGI application on a loopback port.

    Args:
        app: the application.
        listening: a bound socket.
    """

    def __init__(self, app: Any, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        self._server = Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))

    async def close(self) -> None:
        """Stop listening; requests under way get a second to end."""
        self._server.should_exit = True
        await asyncio.gather(self._task, return_exceptions=True)


def bind(port: int) -> socket.socket:
    """A socket on a loopback port; 0 lets the system choose.

    Raises:
        OSError: another program listens there.
    """
    listening = socket.socket()
    # So that a restart does not wait for old connections to time out; it steals no port that is listened on.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # An answer of two small writes would else wait 40 ms for an acknowledgement; connections inherit this.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening
