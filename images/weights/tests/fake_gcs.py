"""Cloud Storage's JSON API, as far as staging uses it, for one bucket called `models`.

Resumable uploads as on cloud.google.com/storage/docs/performing-resumable-uploads: 308 with the range that is
kept, whole multiples of 256 KiB of a chunk that breaks off, 200 for every later question about a session that
is complete, 499 for one that was cancelled.
"""

import base64
import json
import re
import threading
from collections.abc import Callable
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
    """An open upload; `match` is the generation that it replaces."""

    name: str
    metadata: dict[str, str]
    match: int
    received: bytearray = field(default_factory=bytearray)


class _Handler(Handler):
    def handle_any(self) -> None:
        gcs: FakeGcs = self.server.fake  # type: ignore[attr-defined]
        gcs.record(self)
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        with gcs.lock:
            cut = bool(gcs.cut_uploads) and int(self.headers.get("Content-Length", 0)) > QUANTUM
            gcs.cut_uploads -= cut
        if cut:
            half = self.rfile.read(int(self.headers["Content-Length"]) // 2)
            with gcs.lock:
                self._keep(gcs, gcs.sessions[query["upload_id"]], half, broken=True)
            return self.cut()
        body = self.body()
        broken = len(body) < int(self.headers.get("Content-Length", 0))
        if broken and "upload_id" not in query:
            return None
        with gcs.lock:
            if self._refuse(gcs):
                return None
            if "upload_id" not in query:
                return self._answer(gcs, parts.path, query, body)
        return self._upload(gcs, query["upload_id"], body, broken)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names http.server calls

    def _error(
        self, status: int, reason: str = "", message: str = "no, said the fake", **headers: str
    ) -> None:
        error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
        self.answer(status, {"error": error}, **headers)

    def _refuse(self, gcs: "FakeGcs") -> bool:
        if gcs.refusals:
            status, reason, headers = gcs.refusals.pop(0)
            self._error(status, reason, **headers)
            return True
        for status, attribute in ((403, "denials"), (503, "storm"), (507, "full")):
            if left := getattr(gcs, attribute):
                setattr(gcs, attribute, left - 1)
                self._error(status)
                return True
        if gcs.token and self.headers.get("Authorization") != f"Bearer {gcs.token}":
            self._error(401, "authError", "Invalid Credentials")
            return True
        return False

    def _answer(self, gcs: "FakeGcs", path: str, query: dict[str, str], body: bytes) -> None:
        if path == "/upload/storage/v1/b/models/o":
            return self._begin(gcs, query, body)
        if path == "/storage/v1/b/models/o":
            return self._list(gcs, query.get("prefix", ""), query.get("pageToken"))
        if not path.startswith("/storage/v1/b/models/o/"):
            return self._error(404, "notFound", "The specified bucket does not exist.")
        return self._object(gcs, unquote(path.rsplit("/", 1)[1]), query, body)

    def _list(self, gcs: "FakeGcs", prefix: str, token: str | None) -> None:
        names = sorted(
            name for name in gcs.objects if name.startswith(prefix) and (not token or name > token)
        )
        items = [gcs.objects[name].resource(name) for name in names[: gcs.page]]
        for item in items if gcs.unstated else ():
            del item["crc32c"]
        page = {"items": items} if names else {}
        more = {"nextPageToken": names[gcs.page - 1]} if len(names) > gcs.page else gcs.last_page
        self.answer(200, page | more)

    def _object(self, gcs: "FakeGcs", name: str, query: dict[str, str], body: bytes) -> None:
        found = gcs.objects.get(name)
        if found is None:
            return self._error(404, "notFound")
        if self.command in ("DELETE", "PATCH"):
            if query["ifGenerationMatch"] != str(found.generation):
                return self._error(412, "conditionNotMet")
            if self.command == "DELETE":
                del gcs.objects[name]
                return self.answer(204)
            found.metadata = found.metadata | json.loads(body)["metadata"]
            return self.answer(200, found.resource(name))
        if query.get("generation") != str(found.generation):
            return self._error(404, "notFound")
        content = gcs.served.get(name, found.content)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span is None:
            return self.answer(200, content)
        start, end = int(span[1]), int(span[2]) + 1
        return self.answer(
            206, content[start:end], Content_Range=f"bytes {start}-{end - 1}/{len(found.content)}"
        )

    def _begin(self, gcs: "FakeGcs", query: dict[str, str], body: bytes) -> None:
        name, match = query["name"], int(query["ifGenerationMatch"])
        if gcs.generation_of(name) != match:
            return self._error(412, "conditionNotMet")
        key = str(gcs.begun)
        gcs.begun += 1
        gcs.sessions[key] = Session(name, json.loads(body).get("metadata", {}), match)
        return self.answer(200, Location=f"{gcs.url}{self.path}&upload_id={key}")

    def _keep(self, gcs: "FakeGcs", session: Session, body: bytes, broken: bool) -> None:
        """Append a chunk; of one that broke off, and as `take` says, whole quanta only."""
        kept = len(body) // QUANTUM * QUANTUM if broken else len(body)
        session.received += body[:kept]
        gcs.received += kept

    def _upload(self, gcs: "FakeGcs", key: str, body: bytes, broken: bool) -> None:
        with gcs.lock:
            if key in gcs.completed:
                return self.answer(200, gcs.completed[key])
            session = gcs.sessions.get(key)
            if session is None:
                return self._error(499 if key in gcs.cancelled else 410)
            if self.command == "DELETE":
                del gcs.sessions[key]
                gcs.cancelled.add(key)
                return self.answer(499)
            total = self._receive(gcs, session, body, broken)
            if gcs.forget and len(session.received) >= QUANTUM:
                gcs.forget -= 1
                del gcs.sessions[key]
            if broken:
                return None
            if gcs.lost_answers and body:
                gcs.lost_answers -= 1
                return self._error(503)
        if gcs.received >= gcs.stop_at:
            gcs.reached.set()
            gcs.go_on.wait(60)
        with gcs.lock:
            if len(session.received) < total:
                end = f"bytes=0-{len(session.received) - 1}"
                return self.answer(308, **({"Range": end} if session.received else {}))
        gcs.before_completion(session.name)
        with gcs.lock:
            if not self._complete(gcs, session, key):
                return self._error(412, "conditionNotMet")
            cut = gcs.cut_completions > 0
            gcs.cut_completions -= cut
        gcs.after_completion(session.name)
        return self.cut() if cut else self.answer(200, gcs.completed[key])

    def _receive(self, gcs: "FakeGcs", session: Session, body: bytes, broken: bool) -> int:
        """Keep what came; gives the size of the whole."""
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", self.headers["Content-Range"])
        assert span is not None, self.headers["Content-Range"]
        total = int(span[2])
        if body:
            assert int(span[1]) == len(session.received), "a chunk that does not follow the last one"
            last = len(session.received) + len(body) == total
            assert last or broken or len(body) % QUANTUM == 0, "a chunk of a size that Cloud Storage refuses"
            self._keep(gcs, session, body if last else body[: gcs.take], broken)
        return total

    def _complete(self, gcs: "FakeGcs", session: Session, key: str) -> bool:
        """Make the object, unless another one came in between; gives whether it did."""
        if gcs.generation_of(session.name) != session.match:
            return False
        gcs.put(session.name, bytes(session.received), **session.metadata)
        spoil, gcs.spoil = gcs.spoil, False
        gcs.completed[key] = gcs.objects[session.name].resource(session.name, spoil)
        gcs.sessions.pop(key, None)
        return True


class FakeGcs(Fake):
    """The bucket.

    Attributes:
        objects: Full name to object.
        refusals: Status, reason and headers of the answers that come first.
        denials, storm, full: Requests answered 403, 503, 507 then.
        lost_answers: Chunks that are taken and answered 503.
        cut_uploads: Chunks in the middle of which the connection breaks.
        cut_completions: Objects that are completed while the connection breaks without an answer.
        take: Bytes kept of a chunk that is not the last.
        forget: Sessions that are forgotten once they have bytes.
        spoil: Whether the next object's crc32c is wrong.
        unstated: Whether listings leave the crc32c out.
        page, last_page: Objects of a page of a listing, and what the last page has beside.
        before_completion, after_completion: Called with the full name of an object that is being completed.
        token: Access token that is needed, if any.
        served: Full name to the bytes that are served instead of the object's.
        received: Bytes of objects that were taken.
        stop_at: Bytes received, from which on `reached` is set and answers wait for `go_on`.
    """

    handler = _Handler

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Object] = {}
        self.served: dict[str, bytes] = {}
        self.sessions: dict[str, Session] = {}
        self.completed: dict[str, dict] = {}
        self.cancelled: set[str] = set()
        self.begun = 0
        self.refusals: list[tuple[int, str, dict[str, str]]] = []
        self.denials = self.storm = self.full = self.lost_answers = self.forget = self.received = 0
        self.cut_uploads = self.cut_completions = 0
        self.take: int | None = None
        self.spoil = False
        self.page = 3
        self.last_page: dict[str, str] = {}
        self.unstated = False
        self.token = ""
        self.before_completion: Callable[[str], None] = lambda _name: None
        self.after_completion: Callable[[str], None] = lambda _name: None
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

    def rival(self, name: str, content: bytes, **metadata: str) -> None:
        """Let somebody else write an object, once, just before the run completes its own of that name."""

        def write(completing: str) -> None:
            if completing.endswith(name):
                self.before_completion = lambda _name: None
                self.put(completing, content, **metadata)

        self.before_completion = write
