"""One resumable upload (cloud.google.com/storage/docs/performing-resumable-uploads)."""

import re
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

import google_crc32c
import requests

from weights.beside import Beside
from weights.errors import Failure, SessionLostError, TransientError
from weights.files import encode_crc32c, update_crc32c
from weights.gcs import Bucket, StoredObject, decode

_ABORT_SECONDS = (2.0, 3.0)  # Cloud Run kills a job ten seconds after SIGTERM


class Upload:
    """Writes an object piece by piece; leaves no object behind unless all of its bytes were written.

    A thread sends one piece while the caller makes the next. A context manager: leaving it before the end
    cancels the session.

    Args:
        bucket: Where the object goes.
        name: Name below the bucket's prefix.
        size: Bytes that will be written.
        content_type: Media type.
        metadata: Custom keys, kept with the object.
        generation: The one to replace, "0" if there must be none.

    Raises:
        ConflictError: Here or from ``write`` and ``finish``: the object is of another generation.
    """

    def __init__(
        self,
        bucket: Bucket,
        name: str,
        size: int,
        content_type: str,
        metadata: dict[str, str],
        generation: str,
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._size = size
        self._checksum = google_crc32c.Checksum()
        self._committed = 0
        self._uncertain = False
        self._stored: StoredObject | None = None
        self._sender = Beside("upload")
        self._session = bucket.begin(name, size, content_type, metadata, generation)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.close()
        if self._stored is None:
            # Best effort and without patience: the process may have to end, and sessions expire anyway.
            with suppress(Exception):
                self._bucket.attempt("DELETE", self._session, timeout=_ABORT_SECONDS)

    def write(self, part: bytes | bytearray | memoryview) -> None:
        """Write the next bytes: a multiple of 256 KiB, except the last ones; they must not change afterwards.

        Returns when the bytes before these were sent.

        Raises:
            SessionLostError: The store forgot the session; the upload has to start again.
        """
        self._sender.start(self._deliver, part)

    def _deliver(self, part: bytes | bytearray | memoryview) -> None:
        start = self._committed
        end = start + len(part)
        view = memoryview(part)
        update_crc32c(self._checksum, view)
        while self._committed < end:
            self._bucket.patience.run(partial(self._send, view, start))
            if self._committed < start:
                raise SessionLostError(f"the store lost bytes of {self._name} that it had confirmed")

    def finish(self) -> StoredObject:
        """Check that the store has what was sent.

        Raises:
            Failure: ``integrity``, if the store's crc32c is another; the object is deleted then.
        """
        self._sender.wait()
        while self._stored is None:
            if self._committed < self._size:
                raise Failure(
                    "integrity", f"{self._name} ended after {self._committed} of {self._size} bytes"
                )
            self._bucket.patience.run(partial(self._send, memoryview(b""), self._size))
        crc32c = encode_crc32c(self._checksum)
        if self._stored.crc32c != crc32c or self._stored.size != str(self._size):
            self._bucket.delete(self._name, self._stored.generation)
            raise Failure(
                "integrity",
                f"{self._bucket.target}/{self._name} has crc32c {self._stored.crc32c or 'unknown'} and "
                f"{self._stored.size} bytes, sent were {crc32c} and {self._size}; the object was deleted",
            )
        return self._stored

    def _send(self, part: memoryview, start: int) -> None:
        """One attempt to send what is missing of ``part``; after a broken one, to learn what is there."""
        before = self._committed
        rest = part[before - start :]
        if self._uncertain:
            self._learn(self._put(b"", f"bytes */{self._size}"))
            return
        span = f"{before}-{before + len(rest) - 1}" if len(rest) else "*"
        self._learn(self._put(rest, f"bytes {span}/{self._size}"))
        if self._stored is None and self._committed <= before:
            raise TransientError(f"Cloud Storage took no bytes of {self._name}")

    def _put(self, body: bytes | memoryview, content_range: str) -> requests.Response:
        self._uncertain = True  # until an answer has come
        headers = {"Content-Range": content_range, "Content-Type": "application/octet-stream"}
        # An empty view would be sent as a chunked stream.
        response = self._bucket.attempt(
            "PUT", self._session, missing=SessionLostError, data=body if len(body) else b"", headers=headers
        )
        self._uncertain = False
        return response

    def _learn(self, response: requests.Response) -> None:
        """Take from an answer how many bytes the store has."""
        if response.status_code == 308:
            known = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("Range", ""))
            self._committed = int(known[1]) + 1 if known else 0
        else:
            self._stored = decode(response.content, StoredObject)
            self._committed = self._size
