"""`python -m bench.weights.hub --root DIR`: the rehearsed Hub, with a fast place for the large files.

The Hub's API and redirects are `rehearsal.hub`'s. As on the real Hub the bytes of large files come from
another address; here a server that leaves the copying to the kernel, so that what is measured is the client.
It counts what it sends: GET /_counters.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import uvicorn

from rehearsal.hub.app import create_app

ADDRESS = "127.0.0.1"
_PLACE = re.compile(r"/cdn/(?P<oid>[0-9a-f]{64})/(?P<repository>.+)/(?P<sha>[0-9a-f]{40})/-/(?P<name>.+)")


class LargeFiles(BaseHTTPRequestHandler):
    """Serves whole files and single ranges of them by `sendfile`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    root: ClassVar[Path]
    sent: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_GET(self) -> None:
        """A range of a file, or the counter."""
        if self.path == "/_counters":
            return self._count()
        found = _PLACE.fullmatch(unquote(self.path))
        path = self.root / found["repository"] / found["sha"] / found["name"] if found else None
        if path is None or found is None or not path.resolve().is_relative_to(self.root.resolve()):
            return self.send_error(404)
        try:
            with path.open("rb") as file:
                self._send(file.fileno(), os.fstat(file.fileno()).st_size, found["oid"])
        except FileNotFoundError:
            self.send_error(404)
        except ConnectionError:
            self.close_connection = True  # the client went away
        return None

    def _send(self, file: int, size: int, oid: str) -> None:
        wanted = byte_range(self.headers.get("Range"), size)
        start, end = wanted or (0, size)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{oid}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        self.wfile.flush()
        position = start
        while position < end:
            position += os.sendfile(self.connection.fileno(), file, position, end - position)
        with self.lock:
            LargeFiles.sent += end - start

    def _count(self) -> None:
        content = json.dumps({"sent": self.sent}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a line for each range would cost the client its processor."""


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of the range that a request asks for (RFC 9110, 14.1.2); None for the whole file."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if not found or int(found[1]) >= size:
        return None
    last = int(found[2]) if found[2] else size - 1
    return int(found[1]), min(last, size - 1) + 1


def main() -> None:
    """Serve until standard input ends, which it does when whoever started this is gone."""
    parser = argparse.ArgumentParser(prog="python -m bench.weights.hub", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of OWNER/NAME/REVISION/files")
    LargeFiles.root = parser.parse_args().root
    files = ThreadingHTTPServer((ADDRESS, 0), LargeFiles)
    files.daemon_threads = True
    threading.Thread(target=files.serve_forever, daemon=True).start()
    storage = f"http://{ADDRESS}:{files.server_port}"
    hub = uvicorn.Config(create_app(LargeFiles.root, storage), host=ADDRESS, port=0, log_level="warning")
    socket = hub.bind_socket()
    sys.stdout.write(
        json.dumps({"hub": f"http://{ADDRESS}:{socket.getsockname()[1]}", "files": storage}) + "\n"
    )
    sys.stdout.flush()
    server = uvicorn.Server(hub)
    threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    server.run(sockets=[socket])


def _end_with_input(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main()
