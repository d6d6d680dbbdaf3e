"""A bucket in Cloud Storage's JSON API, as far as reading goes, over HTTP on loopback.

https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import google_crc32c

LISTING = "/storage/v1/b/models/o"
MEDIA = f"/download{LISTING}/"


class Bucket:
    """The objects of the bucket `models`; tests set attributes to make it misbehave."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.url = ""
        self.objects = {f"{prefix}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        self.spoiled: dict[str, int] = {}
        """How many more times an object's bytes are sent with one of them changed."""
        self.refusal: int | None = None
        """Status that every request gets."""
        self.stuck: str | None = None
        """An object whose bytes stop after the first half, until `release` is set."""
        self.release = threading.Event()
        self.sent: list[str] = []
        """Names of the objects whose bytes were asked for."""

    def resource(self, name: str) -> dict[str, str]:
        """An object's metadata."""
        content = self.objects[name]
        checksum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        return {
            "name": name,
            "bucket": "models",
            "size": str(len(content)),
            "generation": "1",
            "crc32c": checksum,
        }


@contextmanager
def bucket_of(folder: Path, prefix: str) -> Iterator[Bucket]:
    """Serves the files of a folder as objects below a prefix."""
    bucket = Bucket(folder, prefix)

    class Handler(_Handler):
        state = bucket

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield bucket
    finally:
        bucket.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Bucket

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if self.state.refusal is not None:
            self._error(self.state.refusal)
        elif path == LISTING:
            query = re.search(r"[?&]prefix=([^&]*)", self.path)
            prefix = unquote(query[1]) if query else ""
            names = [name for name in self.state.objects if name.startswith(prefix)]
            self._json(200, {"items": [self.state.resource(name) for name in names]} if names else {})
        elif (name := unquote(path.removeprefix(f"{LISTING}/"))) in self.state.objects:
            self._json(200, self.state.resource(name))
        elif (name := unquote(path.removeprefix(MEDIA))) in self.state.objects:
            self._media(name)
        else:
            self._error(404)

    def _media(self, name: str) -> None:
        bucket, content = self.state, self.state.objects[name]
        bucket.sent.append(name)
        if bucket.spoiled.get(name):
            bucket.spoiled[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(span[1]), int(span[2]) + 1) if span else (0, len(content))
        part = content[start:end]
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("X-Goog-Generation", "1")
        self.send_header("X-Goog-Hash", f"crc32c={bucket.resource(name)['crc32c']}")
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.end_headers()
        half = len(part) // 2 if name == bucket.stuck else len(part)
        self.wfile.write(part[:half])
        if half < len(part):
            self.wfile.flush()
            bucket.release.wait()
            self.close_connection = True

    def _error(self, status: int) -> None:
        self._json(status, {"error": {"code": status, "message": f"refused with {status}"}})

    def _json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
