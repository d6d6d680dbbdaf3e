"""A folder of objects in Cloud Storage, over its JSON API (cloud.google.com/storage/docs/json_api/v1)."""

from functools import partial
from typing import Any
from urllib.parse import quote, urljoin

import google.auth.exceptions
import google.auth.transport.requests
import msgspec
import requests

from weights.credentials import find_credentials
from weights.errors import ConflictError, DeniedError, Failure, TransientError
from weights.files import CONNECTIONS, SMALL
from weights.settings import Settings
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

ROLE = "roles/storage.objectUser"

# Reasons in the error body (cloud.google.com/storage/docs/json_api/v1/status-codes).
_SLOW_DOWN = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "backendError"})
_FULL = frozenset({"quotaExceeded", "storageQuotaExceeded", "insufficientStorage"})


class StoredObject(msgspec.Struct, frozen=True):
    """An object's metadata, as the API gives it (integers of 64 bits are strings there).

    Attributes:
        name: Full name in the bucket.
        size: Bytes.
        generation: Changes whenever the object is written.
        crc32c: Checksum, big-endian, base64.
        metadata: Custom keys; ``recipe`` and ``sha256`` are ours.
    """

    name: str
    generation: str
    size: str = "0"
    crc32c: str = ""
    metadata: dict[str, str] = {}


class _Page(msgspec.Struct):
    items: list[StoredObject] = []
    nextPageToken: str | None = None  # noqa: N815 - the API's name


class Bucket:
    """The objects below one prefix of one bucket; only ``read_range`` is used from several threads.

    Args:
        target: ``gs://BUCKET/PREFIX``.
        settings: Address and whether anonymous access will do.
        patience: How failed requests are repeated.
    """

    def __init__(self, target: str, settings: Settings, patience: Patience) -> None:
        self.target = target
        self.patience = patience
        self._bucket, _, prefix = target.removeprefix("gs://").partition("/")
        self._prefix = prefix + "/"
        self._storage = settings.storage
        self._session = new_session(CONNECTIONS)
        self._credentials = find_credentials(settings.emulated)

    def list(self) -> dict[str, StoredObject]:
        """All objects below the prefix, by their name below it."""
        found: dict[str, StoredObject] = {}
        token = ""
        while True:
            query = {"prefix": self._prefix, "pageToken": token} if token else {"prefix": self._prefix}
            body = self.call(
                "GET", f"{self._storage}/storage/v1/b/{quote(self._bucket)}/o", params=query
            ).content
            page = decode(body, _Page)
            found |= {item.name.removeprefix(self._prefix): item for item in page.items}
            if not page.nextPageToken:  # an empty one ends the list as none does
                return found
            token = page.nextPageToken

    def read(self, name: str, stored: StoredObject) -> bytes:
        """Content of a small object, at the generation seen.

        Raises:
            ConflictError: The object has gone or was replaced.
        """
        if int(stored.size) > SMALL:
            raise Failure(
                "integrity", f"{self.target}/{name} has {stored.size} bytes: it is not what its name says"
            )
        query = {"alt": "media", "generation": stored.generation}
        return self.call("GET", self._url(name), params=query, missing=ConflictError).content

    def delete(self, name: str, generation: str) -> None:
        """Delete an object; fine if that generation has gone already."""
        try:
            self.call(
                "DELETE", self._url(name), params={"ifGenerationMatch": generation}, missing=ConflictError
            )
        except ConflictError:
            return

    def annotate(self, name: str, generation: str, metadata: dict[str, str]) -> None:
        """Add custom keys to an object's metadata.

        Raises:
            Failure: ``unavailable``, if the object is no longer of that generation.
        """
        try:
            self.call(
                "PATCH",
                self._url(name),
                params={"ifGenerationMatch": generation},
                json={"metadata": metadata},
                missing=ConflictError,
            )
        except ConflictError:
            raise Failure(
                "unavailable", f"{self.target}/{name} was changed or deleted meanwhile; run this again"
            ) from None

    def read_range(self, name: str, generation: str, start: int, length: int) -> bytearray:
        """Exactly ``length`` bytes of a generation from byte ``start``; several threads may call it at once.

        Raises:
            ConflictError: The object has gone or was replaced.
            Failure: ``unavailable``.
        """
        return self.patience.run(partial(self._read_range, name, generation, start, length))

    def _read_range(self, name: str, generation: str, start: int, length: int) -> bytearray:
        buffer = bytearray(length)
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        query = {"alt": "media", "generation": generation}
        with self.attempt(
            "GET", self._url(name), params=query, headers=headers, missing=ConflictError, stream=True
        ) as response:
            given = response.headers.get("Content-Range", "")
            if response.status_code != 206 or not given.startswith(f"bytes {start}-"):
                raise Failure("unavailable", f"{self._storage} does not serve parts of {self.target}/{name}")
            if read_into(response, memoryview(buffer)) < length:
                raise TransientError(f"connection ended before the end of {self.target}/{name}")
        return buffer

    def begin(
        self, name: str, size: int, content_type: str, metadata: dict[str, str], generation: str
    ) -> str:
        """Open a resumable upload.

        Args:
            name: Name below the prefix.
            size: Bytes that will come.
            content_type: Media type.
            metadata: Custom keys, kept with the object.
            generation: The one to replace, "0" if there must be none.

        Returns:
            The session's address.

        Raises:
            ConflictError: The object is of another generation.
        """
        response = self.call(
            "POST",
            f"{self._storage}/upload/storage/v1/b/{quote(self._bucket)}/o",
            params={
                "uploadType": "resumable",
                "name": self._prefix + name,
                "ifGenerationMatch": generation,
            },
            json={
                "name": self._prefix + name,
                "contentType": content_type,
                "metadata": metadata,
            },
            headers={"X-Upload-Content-Type": content_type, "X-Upload-Content-Length": str(size)},
        )
        if "Location" not in response.headers:
            raise Failure("unavailable", f"{self._storage} opened an upload without giving its address")
        return urljoin(response.url, response.headers["Location"])

    def call(self, method: str, url: str, **options: Any) -> requests.Response:
        """Send a request, repeatedly if need be; see ``attempt``."""
        return self.patience.run(partial(self.attempt, method, url, **options))

    def attempt(
        self,
        method: str,
        url: str,
        *,
        missing: type[Exception] | None = None,
        headers: dict[str, str] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        **options: Any,
    ) -> requests.Response:
        """Send a request once.

        Args:
            method: HTTP method.
            url: Address; the token goes with it only if it is Cloud Storage's own.
            missing: What 404 and 410 mean, if not that there is no such bucket.
            headers: Headers besides the authorization.
            timeout: Seconds to connect, and seconds without a byte.
            **options: As ``requests`` takes them.

        Returns:
            An answer of status 2xx or 308.

        Raises:
            TransientError: Worth another attempt; ``DeniedError`` for 401 and 403.
            ConflictError: 412.
            Failure: Anything else.
        """
        authorized = self._authorize(method, url, headers or {})
        with network_errors(url):
            response = self._session.request(
                method, url, headers=authorized, allow_redirects=False, timeout=timeout, **options
            )
        if response.status_code // 100 == 2 or response.status_code == 308:
            return response
        raise self._problem(response, missing)

    def _url(self, name: str) -> str:
        return f"{self._storage}/storage/v1/b/{quote(self._bucket)}/o/{quote(self._prefix + name, safe='')}"

    def _authorize(self, method: str, url: str, headers: dict[str, str]) -> dict[str, str]:
        if self._credentials is None or origin(url) != origin(self._storage):
            return headers
        authorized = dict(headers)
        try:
            self._credentials.before_request(
                google.auth.transport.requests.Request(), method, url, authorized
            )
        except google.auth.exceptions.TransportError as error:
            raise TransientError(f"no access token: {error}") from None
        except google.auth.exceptions.GoogleAuthError as error:
            raise DeniedError(f"no access token for Cloud Storage: {error}") from None
        return authorized

    def _problem(self, response: requests.Response, missing: type[Exception] | None) -> Exception:
        status = response.status_code
        reason, message = _reason(response)
        said = f"Cloud Storage answered {status} for {self.target}" + (f": {message}" if message else "")
        if reason in _FULL or status == 507:
            return Failure("storage_full", f"{said}; free space or raise the quota of bucket {self._bucket}")
        if status in TRANSIENT_STATUS or reason in _SLOW_DOWN:
            return TransientError(said, retry_after(response))
        if status in (401, 403):
            if status == 401 and self._credentials is not None:
                self._credentials.token = None  # makes the next attempt ask for a new one
            return DeniedError(f"{said}; the job's service account needs {ROLE} on bucket {self._bucket}")
        if status == 412:
            return ConflictError(said)
        if status in (404, 410):
            return (
                missing(said)
                if missing
                else Failure("not_found", f"{said}; is there a bucket {self._bucket}?")
            )
        return Failure("unavailable", said)


def decode(body: bytes, kind: Any) -> Any:
    """Decode an answer of the API.

    Raises:
        Failure: ``unavailable``, if it is not what the API promises.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Failure(
            "unavailable", f"Cloud Storage's answer is not what its API promises: {error}"
        ) from None


def _reason(response: requests.Response) -> tuple[str, str]:
    """Reason and message of an error body, empty if it has none of the API's shape."""
    try:
        error = response.json()["error"]
        errors = error.get("errors") or [{}]
        return str(errors[0].get("reason", "")), str(error.get("message", ""))[:300]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "", ""
