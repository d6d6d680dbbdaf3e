"""A threaded HTTP server on loopback; what both fakes stand on."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class Handler(BaseHTTPRequestHandler):
    """One request; `self.server.fake` has the state and the lock."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_arguments: object) -> None:
        pass

    def body(self) -> bytes:
        """The request's body, or as much of it as came before the client went away."""
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        if len(content) < length:
            self.close_connection = True
        return content

    def cut(self) -> None:
        """Break the connection without another word."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away, or was cut off
            self.close_connection = True

    def answer(self, status: int, body: bytes | dict | list = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32
    fake: "Fake"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep what a handler raised: the client would only see a broken connection, and try again."""
        self.fake.violations.append(repr(sys.exc_info()[1]))


class Fake:
    """Serves `handler` until the `with` block ends. Tests set attributes to make it misbehave.

    Attributes:
        log: Method, path and headers of each request.
        times: When each came, by the monotonic clock.
        watch: Called at each request, before it is handled.
        violations: What the client did and must not.
    """

    handler: type[Handler]

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.log: list[tuple[str, str, dict[str, str]]] = []
        self.times: list[float] = []
        self.watch: Callable[[], None] = lambda: None
        self.violations: list[str] = []
        self._server = _Server(("127.0.0.1", 0), self.handler)
        self._server.fake = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def record(self, handler: Handler) -> None:
        with self.lock:
            self.log.append((handler.command, handler.path, dict(handler.headers)))
            self.times.append(time.monotonic())
        self.watch()

    def requests(self, method: str, part: str = "") -> list[str]:
        """Paths of the requests seen."""
        with self.lock:
            return [path for command, path, _ in self.log if command == method and part in path]
