"""One revision of a repository on the Hugging Face Hub, read over plain HTTP.

The requests are those of the Hub's own client: ``/api/models/ID/revision/SHA``, ``/api/models/ID/tree/SHA``
and ``/ID/resolve/SHA/FILE`` (huggingface.co/docs/hub/api); errors are told apart by ``X-Error-Code``.
"""

from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, urljoin

import msgspec
import requests

from weights.errors import Failure, TransientError
from weights.files import CONNECTIONS, SourceFile
from weights.transport import (
    TIMEOUT,
    TRANSIENT_STATUS,
    Patience,
    network_errors,
    new_session,
    origin,
    read_into,
    retry_after,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_HOPS = 5
_NO_ADDRESS = "the Hub refers to an address that is none"


_Size = Annotated[int, msgspec.Meta(ge=0)]


class _Lfs(msgspec.Struct):
    oid: str
    size: _Size


class _Entry(msgspec.Struct):
    type: str
    path: str
    size: _Size = 0
    oid: str | None = None
    lfs: _Lfs | None = None


class _Revision(msgspec.Struct):
    sha: str


class HubRepository:
    """A repository at a commit; satisfies ``files.Source``.

    Args:
        endpoint: The Hub's address.
        token: Hub token; sent to that address and to no other.
        name: Repository, OWNER/NAME or NAME.
        revision: Commit, 40 hex digits.
        patience: How failed requests are repeated.
    """

    def __init__(
        self, endpoint: str, token: str | None, name: str, revision: str, patience: Patience
    ) -> None:
        self._endpoint = endpoint
        self._token = token
        self._name = name
        self._revision = revision
        self._patience = patience
        self._session = new_session(CONNECTIONS)
        self._places: dict[str, str] = {}

    @property
    def title(self) -> str:
        """The repository's name."""
        return self._name

    def identify(self, file: SourceFile) -> SourceFile:
        """The file as it is: the Hub states a digest of each.

        Raises:
            Failure: ``integrity``, if it does not, so that nothing would tell wrong bytes.
        """
        if file.sha256 is None and file.git_sha1 is None:
            raise Failure("integrity", f"{self._endpoint} states no digest of {file.name}; use another Hub")
        return file

    def settle(self) -> None:
        """Nothing: a commit does not change."""

    def files(self) -> list[SourceFile]:
        """All files of the commit, in no order.

        Raises:
            Failure: ``not_found``, ``gated``, or ``unavailable``.
        """
        api = f"{self._endpoint}/api/models/{self._name}"
        body, _ = self._patience.run(partial(self._fetch, f"{api}/revision/{self._revision}"))
        if _decode(body, _Revision).sha != self._revision:
            raise Failure("not_found", f"{self._revision} is no commit of {self._name}, only a name for one")
        url: str | None = f"{api}/tree/{self._revision}?recursive=true&expand=false"
        entries: list[_Entry] = []
        while url:
            body, url = self._patience.run(partial(self._fetch, url))
            entries += _decode(body, list[_Entry])
        return [_source_file(entry) for entry in entries if entry.type == "file"]

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        """Exactly ``length`` bytes of a file from byte ``start``; a cut connection is resumed where it broke.

        Raises:
            Failure: ``integrity`` if the Hub serves a file of another size, ``gated``, ``unavailable``.
        """
        buffer = bytearray(length)
        filled = 0
        while filled < length:
            rest = memoryview(buffer)[filled:]
            filled += self._patience.run(partial(self._read_some, file, start + filled, rest))
        return buffer

    def _read_some(self, file: SourceFile, start: int, into: memoryview) -> int:
        """One request: reads at least one byte, and fewer than fit only if the connection breaks."""
        wanted = {"Range": f"bytes={start}-{start + len(into) - 1}"}
        url = f"{self._endpoint}/{self._name}/resolve/{self._revision}/{quote(file.name)}"
        with self._get(url, wanted, file.name) as response:
            _check_range(response, file, start)
            return read_into(response, into)

    def _fetch(self, url: str) -> tuple[bytes, str | None]:
        """Body of an API answer, and the address of the next page if there is one."""
        with self._get(url, {}, None) as response, network_errors(url):
            link = response.links.get("next", {}).get("url")
            return response.content, _joined(url, link) if link else None

    def _get(self, url: str, headers: dict[str, str], file: str | None) -> requests.Response:
        """GET with redirects followed here, so that the token reaches the Hub alone.

        Large files live behind a signed address on another host. It is asked for once per file and kept: the
        Hub counts these questions against a rate limit.
        """
        place = (self._places.get(file) if file else None) or url
        for _ in range(_MAX_HOPS):
            own = origin(place) == origin(self._endpoint)
            authorization = {"Authorization": f"Bearer {self._token}"} if own and self._token else {}
            try:
                with network_errors(place):
                    response = self._session.get(
                        place,
                        headers=headers | authorization,
                        stream=True,
                        allow_redirects=False,
                        timeout=TIMEOUT,
                    )
            except ValueError:  # the library looks at where a redirect leads, even if it is not to follow it
                raise Failure("unavailable", _NO_ADDRESS) from None
            if response.status_code in _REDIRECTS and "Location" in response.headers:
                place = _joined(place, response.headers["Location"])
                response.close()
                continue
            if response.status_code // 100 == 2:
                if file and not own:
                    self._places[file] = place
                return response
            with response:
                if file and not own:
                    self._places.pop(file, None)
                raise self._problem(response, file, own)
        raise Failure(
            "unavailable", f"{self._endpoint} redirects {file or self._name} more than {_MAX_HOPS} times"
        )

    def _problem(self, response: requests.Response, file: str | None, own: bool) -> Exception:
        """What an answer that is no success means."""
        status = response.status_code
        host = origin(response.url)[1]
        said = f"{host} answered {status} for {file or self._name}"
        if status in TRANSIENT_STATUS:
            return TransientError(said, retry_after(response))
        if not own and status in (400, 401, 403, 404, 410):
            return TransientError(f"{said}: the signed address may have expired")  # the Hub gives a new one
        code = response.headers.get("X-Error-Code", "")
        if code == "GatedRepo" or (status in (401, 403) and not code.endswith("NotFound")):
            return Failure("gated", self._gated_message())
        if code == "RevisionNotFound":
            return Failure("not_found", f"{self._name} has no revision {self._revision}")
        if code == "EntryNotFound":
            return Failure("not_found", f"{self._name} has no file {file} at {self._revision}")
        if status in (401, 403, 404):
            return Failure(
                "not_found",
                f"{self._name} at {self._revision} is not on {host}; a private repository needs "
                "HF_TOKEN, the stack key llm:hubToken",
            )
        return Failure("unavailable", said)

    def _gated_message(self) -> str:
        if self._token:
            return (
                f"the Hub refuses {self._name} to the token in HF_TOKEN (stack key llm:hubToken): accept the "
                f"terms on {self._endpoint}/{self._name} with the token's account, or set another token"
            )
        return (
            f"{self._name} is gated and HF_TOKEN is not set: accept the model's terms on "
            f"{self._endpoint}/{self._name}, then set HF_TOKEN (stack key llm:hubToken, as a secret)"
        )


def _joined(base: str, address: str) -> str:
    try:
        place = urljoin(base, address)
        origin(place)
    except ValueError:
        raise Failure("unavailable", _NO_ADDRESS) from None
    return place


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Failure("unavailable", f"the Hub's answer is not what its API promises: {error}") from None


def _source_file(entry: _Entry) -> SourceFile:
    if entry.lfs is not None:
        return SourceFile(entry.path, entry.lfs.size, entry.lfs.oid.removeprefix("sha256:"))
    return SourceFile(entry.path, entry.size, None, entry.oid)


def _check_range(response: requests.Response, file: SourceFile, start: int) -> None:
    """The answer has to begin at ``start``, of a file of the size that the tree states."""
    if response.status_code == 206:
        given, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        first = given.partition("-")[0]
    else:
        # The whole file; without a stated length its digest is what tells.
        first, total = "0", response.headers.get("Content-Length", str(file.size))
    if total != str(file.size):
        raise Failure(
            "integrity", f"the Hub serves {total or 'unknown'} bytes of {file.name} and states {file.size}"
        )
    if first != str(start):
        # A cache on the way may answer so once; a server that always does so spends the budget.
        raise TransientError(f"the Hub does not serve {file.name} from byte {start} on")
