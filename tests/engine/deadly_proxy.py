"""A way to Google on which engines die: what was asked for happens, and nobody hears of it."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_Answer = tuple[int, str, bytes]
"""Status, media type and body."""
_NUMBER = re.compile(r"/\d+(?=/|:|$)")


class DeadlyProxy:
    """Passes requests on, and kills at the first call of each kind that it is to kill at.

    Args:
        address: where requests go.
        kill: ends the engine.
    """

    def __init__(self, address: str, kill: Callable[[], None]) -> None:
        self._target = urlsplit(address).netloc
        self._kill = kill
        self._lock = threading.Lock()
        self._deadly: Callable[[str], bool] = lambda _: False
        self.struck: list[str] = []
        """The calls at which it has killed."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def arm(self, deadly: Callable[[str], bool]) -> None:
        """Begin anew.

        Args:
            deadly: whether to kill at a call, given as `POST /v1/projects/p/locations/l/models:upload`
                without numbers; a PATCH has what it changes after it.
        """
        self.struck, self._deadly = [], deadly

    def close(self) -> None:
        """Pass on nothing more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def strike(self, call: str) -> bool:
        """Kill, if this is the call to kill at; whether it was."""
        with self._lock:
            if call in self.struck or not self._deadly(call):
                return False
            self.struck.append(call)
            self._kill()
            return True

    def passed_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Answer:
        """What the target answers."""
        connection = http.client.HTTPConnection(self._target)
        try:
            connection.request(method, path, body, {**headers, "host": self._target})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("content-type", ""), answer.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {key.lower(): value for key, value in self.headers.items()}
                status, kind, answer = proxy.passed_on(self.command, self.path, headers, body)
                changed = f" {body.decode()}" if self.command == "PATCH" else ""
                call = f"{self.command} {_NUMBER.sub('/N', urlsplit(self.path).path)}{changed}"
                if proxy.strike(call):
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PATCH = do_DELETE = _pass  # noqa: N815 - the names that the library asks for

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
