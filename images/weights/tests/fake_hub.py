"""A Hub with one repository, in the requests that the Hub's own client makes too.

Large files are answered with a redirect to a second address, as by the Hub, which counts as another host.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import unquote

from server import Fake, Handler

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Blob:
    """What is served, and what is stated about it."""

    content: bytes
    large: bool
    more: dict = field(default_factory=dict)  # what the tree states otherwise

    def entry(self, name: str) -> dict:
        blob = b"blob %d\0" % len(self.content) + self.content
        entry = {
            "type": "file",
            "path": name,
            "size": len(self.content),
            "oid": hashlib.sha1(blob).hexdigest(),
        }
        if self.large:
            digest = hashlib.sha256(self.content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(self.content), "pointerSize": 134}
        return entry | self.more


class _HubHandler(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name http.server calls
        hub: FakeHub = self.server.fake  # type: ignore[attr-defined]
        hub.record(self)
        path = unquote(self.path.partition("?")[0])
        with hub.lock:
            storm = bool(hub.storm) and path.endswith(hub.storm_on)
            hub.storm -= storm
        if storm:
            return self.answer(hub.storm_status, Retry_After=hub.retry_after)
        if path.startswith(f"/api/models/{hub.name}/"):
            return self._api(hub, path.rsplit("/", 2)[-2:])
        name = path.removeprefix(f"/{hub.name}/resolve/{REVISION}/")
        if hub.gated and self.headers.get("Authorization") != f"Bearer {hub.gated}":
            return self.answer(401, X_Error_Code="GatedRepo")
        if name not in hub.blobs:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if hub.blobs[name].large and hub.content_url:
            return self.answer(302, Location=f"{hub.content_url}/{name}?signature=planted-signature")
        return self.serve(hub, name)

    def do_HEAD(self) -> None:  # noqa: N802 - the name http.server calls
        """What the Hub's own client asks before it fetches a file."""
        hub: FakeHub = self.server.fake  # type: ignore[attr-defined]
        name = unquote(self.path.partition("?")[0]).removeprefix(f"/{hub.name}/resolve/{REVISION}/")
        if name not in hub.blobs:
            self.answer(404, X_Error_Code="EntryNotFound")
            return
        stated = hub.stated.get(name, hub.blobs[name])
        entry = stated.entry(name)
        digest = entry["lfs"]["oid"] if stated.large else entry["oid"]
        self.send_response(200)
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{digest}"')
        if stated.large:
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(len(stated.content)))
        self.send_header("Content-Length", str(len(stated.content)))
        self.end_headers()

    def _api(self, hub: "FakeHub", call: list[str]) -> None:
        if call[1] != REVISION:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if call[0] == "revision":
            return self.answer(
                200,
                {"id": hub.name, "sha": REVISION, "siblings": [{"rfilename": name} for name in hub.blobs]},
            )
        entries = [hub.stated.get(name, blob).entry(name) for name, blob in sorted(hub.blobs.items())]
        middle = len(entries) // 2
        if "cursor" in self.path:
            return self.answer(200, entries[middle:])
        following = f'<{hub.url}{self.path}&cursor=2>; rel="next"'
        return self.answer(
            200, [{"type": "directory", "path": "onnx", "oid": "0"}, *entries[:middle]], Link=following
        )

    def serve(self, hub: "FakeHub", name: str) -> None:
        with hub.lock:
            hub.asked[name] += 1
            changed, later = hub.later.get(name, (1 << 62, b""))
            content = later if hub.asked[name] > changed else hub.blobs[name].content
            whole = hub.whole > 0
            hub.whole -= whole
        given = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(given[1]), int(given[2])) if given and not whole else (0, len(content) - 1)
        part = content[first : last + 1]
        if given and not whole:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        sent = self._sent(hub, name, first, len(part))
        self.wfile.write(part[:sent])
        with hub.lock:
            hub.given[name] += sent
        if sent < len(part):
            self.wfile.flush()
            self.cut()

    def _sent(self, hub: "FakeHub", name: str, first: int, length: int) -> int:
        """How many bytes of an answer go out before the connection breaks."""
        with hub.lock:
            cut = hub.cuts and length > hub.cut_after
            hub.cuts -= cut
        end = hub.ends.get(name, 1 << 62)
        return min(hub.cut_after if cut else length, max(end - first, 0))


class FakeHub(Fake):
    """The Hub's API and its small files.

    Attributes:
        blobs: Name to what is served.
        stated: Name to what the tree says instead.
        gated: Token that is needed, if any.
        storm: Requests that are answered `storm_status` first, with Retry-After `retry_after`.
        storm_on: What the paths of these end with.
        cuts: Answers that break off after `cut_after` bytes.
        whole: Requests whose range is ignored.
        ends: Name to the byte that no answer gets beyond.
        later: Name to a number of requests, and the content after so many.
        asked: Name to the requests for its content.
        given: Name to the bytes sent of it.
        content_url: Where large files are, if not here.
    """

    handler = _HubHandler

    def __init__(self, name: str = "acme/tiny") -> None:
        super().__init__()
        self.name = name
        self.blobs: dict[str, Blob] = {}
        self.stated: dict[str, Blob] = {}
        self.gated = ""
        self.storm = 0
        self.storm_on = ""
        self.storm_status = 503
        self.retry_after = "0"
        self.whole = 0
        self.ends: dict[str, int] = {}
        self.later: dict[str, tuple[int, bytes]] = {}
        self.asked: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.cuts = 0
        self.cut_after = 100_000
        self.content_url = ""


class _ContentHandler(_HubHandler):
    def do_GET(self) -> None:  # noqa: N802 - the name http.server calls
        content: FakeContent = self.server.fake  # type: ignore[attr-defined]
        content.record(self)
        with content.lock:
            expired = content.expired > 0
            content.expired -= expired
        if expired:
            return self.answer(403)
        return self.serve(content.hub, unquote(self.path.partition("?")[0]).removeprefix("/"))


class FakeContent(Fake):
    """The other host, with the large files; the first `expired` requests find their signature expired."""

    handler = _ContentHandler

    def __init__(self, hub: FakeHub) -> None:
        super().__init__()
        self.hub = hub
        self.expired = 0
        hub.content_url = self.url
