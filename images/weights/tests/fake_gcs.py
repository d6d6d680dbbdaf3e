"""Cloud Storage's JSON API, as far as staging uses it, for one bucket called `models`."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
from server import Fake, Handler

QUANTUM = 256 * 1024


@dataclass
class Object:
    content: bytes
    generation: int
    metadata: dict[str, str] = field(default_factory=dict)

    def resource(self, name: str, spoil: bool = False) -> dict:
        crc32c = google_crc32c.Checksum(self.content + (b"!" if spoil else b"")).digest()
        return {
            "name": name,
            "size": str(len(self.content)),
            "generation": str(self.generation),
            "crc32c": base64.b64encode(crc32c).decode(),
            "metadata": self.metadata,
        }


@dataclass
class Session:
    name: str
    metadata: dict[str, str]
    match: int
    received: bytearray = field(default_factory=bytearray)


class _Handler(Handler):
    def handle_any(self) -> None:
        gcs: FakeGcs = self.server.fake  # type: ignore[attr-defined]
        gcs.record(self)
        body = self.body()
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        with gcs.lock:
            for status, attribute in ((403, "denials"), (503, "storm"), (507, "full")):
                if left := getattr(gcs, attribute):
                    setattr(gcs, attribute, left - 1)
                    return self.answer(status, {"error": {"code": status, "message": "no, said the fake"}})
            if gcs.token and self.headers.get("Authorization") != f"Bearer {gcs.token}":
                return self.answer(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
        if "upload_id" in query:
            return self._upload(gcs, query["upload_id"], body)
        with gcs.lock:
            if parts.path == "/upload/storage/v1/b/models/o":
                return self._begin(gcs, query, body)
            if parts.path == "/storage/v1/b/models/o":
                return self._list(gcs, query.get("prefix", ""), query.get("pageToken"))
            if not parts.path.startswith("/storage/v1/b/models/o/"):
                return self.answer(404, {"error": {"code": 404, "message": "The bucket does not exist."}})
            return self._object(gcs, unquote(parts.path.rsplit("/", 1)[1]), query)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names http.server calls

    def _list(self, gcs: "FakeGcs", prefix: str, token: str | None) -> None:
        names = sorted(
            name for name in gcs.objects if name.startswith(prefix) and (not token or name > token)
        )
        page = {"items": [gcs.objects[name].resource(name) for name in names[: gcs.page]]} if names else {}
        self.answer(200, page | ({"nextPageToken": names[gcs.page - 1]} if len(names) > gcs.page else {}))

    def _object(self, gcs: "FakeGcs", name: str, query: dict[str, str]) -> None:
        found = gcs.objects.get(name)
        if found is None:
            return self.answer(404)
        if self.command == "DELETE":
            if query["ifGenerationMatch"] != str(found.generation):
                return self.answer(412)
            del gcs.objects[name]
            return self.answer(204)
        if query.get("generation") == str(found.generation):
            return self.answer(200, found.content)
        return self.answer(404)

    def _begin(self, gcs: "FakeGcs", query: dict[str, str], body: bytes) -> None:
        name, match = query["name"], int(query["ifGenerationMatch"])
        if gcs.generation_of(name) != match:
            return self.answer(412)
        key = str(len(gcs.sessions))
        gcs.sessions[key] = Session(name, json.loads(body).get("metadata", {}), match)
        return self.answer(200, Location=f"{gcs.url}{self.path}&upload_id={key}")

    def _upload(self, gcs: "FakeGcs", key: str, body: bytes) -> None:
        with gcs.lock:
            session = gcs.sessions.get(key)
            if session is None:
                return self.answer(410)
            if self.command == "DELETE":
                del gcs.sessions[key]
                return self.answer(499)
            span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", self.headers["Content-Range"])
            assert span is not None
            total = int(span[2])
            if body:
                assert int(span[1]) == len(session.received), "a chunk that does not follow the last one"
                last = len(session.received) + len(body) == total
                assert last or len(body) % QUANTUM == 0, "a chunk of a size that Cloud Storage refuses"
                session.received += body[: gcs.take] if not last else body
                gcs.received += len(body)
            if gcs.forget and len(session.received) >= QUANTUM:
                gcs.forget -= 1
                del gcs.sessions[key]
            if gcs.lost_answers and body:
                gcs.lost_answers -= 1
                return self.answer(503)
        if gcs.received >= gcs.stop_at:
            gcs.reached.set()
            gcs.go_on.wait(60)
        with gcs.lock:
            if len(session.received) < total:
                end = f"bytes=0-{len(session.received) - 1}"
                return self.answer(308, **({"Range": end} if session.received else {}))
            if gcs.rival is not None and session.name.endswith(gcs.rival[0]):
                gcs.put(session.name, gcs.rival[1], sha256=hashlib.sha256(gcs.rival[1]).hexdigest())
                gcs.rival = None
            if gcs.generation_of(session.name) != session.match:
                return self.answer(412)
            gcs.put(session.name, bytes(session.received), **session.metadata)
            gcs.sessions.pop(key, None)
            spoil, gcs.spoil = gcs.spoil, False
            return self.answer(200, gcs.objects[session.name].resource(session.name, spoil))


class FakeGcs(Fake):
    """The bucket.

    Attributes:
        objects: Full name to object.
        denials, storm, full: Requests answered 403, 503, 507 first.
        lost_answers: Chunks that are taken and answered 503.
        take: Bytes kept of a chunk that is not the last.
        forget: Sessions that are forgotten once they have bytes.
        spoil: Whether the next object's crc32c is wrong.
        rival: Name and content that somebody else writes just before this object is completed.
        token: Access token that is needed, if any.
        stop_at: Bytes received, from which on `reached` is set and answers wait for `go_on`.
    """

    handler = _Handler

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Object] = {}
        self.sessions: dict[str, Session] = {}
        self.denials = self.storm = self.full = self.lost_answers = self.forget = self.received = 0
        self.take: int | None = None
        self.spoil = False
        self.page = 3
        self.token = ""
        self.rival: tuple[str, bytes] | None = None
        self.stop_at = 1 << 62
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self._generation = 0

    def generation_of(self, name: str) -> int:
        return self.objects[name].generation if name in self.objects else 0

    def put(self, name: str, content: bytes, **metadata: str) -> None:
        with self.lock:
            self._generation += 1
            self.objects[name] = Object(content, self._generation, metadata)
