"""Staging: from a repository into a bucket, file by file, the manifest last."""

import hashlib
import mimetypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from weights.contract import contract
from weights.errors import ConflictError, Failure, SessionLostError
from weights.files import CONNECTIONS, Source, SourceFile, chunks, read_small, verified
from weights.gcs import Bucket, StoredObject
from weights.manifest import Manifest, ManifestFile, Request, new_manifest, read_manifest
from weights.progress import Progress
from weights.safetensors import float_dtypes, read_header
from weights.selection import select
from weights.upload import Upload

_UPLOADS = 3  # times that a file's upload is begun, if the store forgets the session
_ABSENT = StoredObject(name="", generation="0")  # what a generation precondition calls no object


class Staging:
    """One run.

    Args:
        request: What is to be staged.
        source: Where it comes from; opened only if something has to be fetched.
        bucket: Where it goes.
        progress: Told what happens.
    """

    def __init__(
        self, request: Request, source: Callable[[], Source], bucket: Bucket, progress: Progress
    ) -> None:
        self._request = request
        self._open_source = source
        self._bucket = bucket
        self._progress = progress
        self._manifest = contract().manifest_name

    def run(self) -> None:
        """Stage the model, or find that it is staged.

        Raises:
            Failure: With the outcome as its kind.
        """
        stored = self._bucket.list()
        found = self._read_manifest(stored)
        if found is not None and found.answers(self._request) and found.fits(stored):
            self._progress.say(f"{self._bucket.target} is staged already: nothing to do")
            return
        source = self._open_source()
        files = select(source, self._request.repository)
        self._check_dtype(source, files)
        self._withdraw(found, stored, files)
        pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="read")
        try:
            staged = self._stage_files(source, files, stored, pool)
        finally:
            # Without waiting: on SIGTERM a thread may sit in a read from a silent server.
            pool.shutdown(wait=False, cancel_futures=True)
        self._publish(staged)

    def _read_manifest(self, stored: dict[str, StoredObject]) -> Manifest | None:
        if self._manifest not in stored:
            return None
        try:
            return read_manifest(self._bucket.read(self._manifest, stored[self._manifest]))
        except ConflictError:
            return None

    def _check_dtype(self, source: Source, files: Iterable[SourceFile]) -> None:
        dtypes: set[str] = set()
        for file in files:
            if file.name.endswith(".safetensors"):
                dtypes |= float_dtypes(read_header(source, file))
        if dtypes != {self._request.dtype}:
            has = " and ".join(sorted(dtypes)) or "without floating-point tensors"
            raise Failure(
                "unsupported",
                f"the checkpoint of {self._request.repository} is {has}, not {self._request.dtype}: "
                "weights are staged in the dtype that they have",
            )

    def _withdraw(
        self, found: Manifest | None, stored: dict[str, StoredObject], files: list[SourceFile]
    ) -> None:
        """Take a stale manifest away before anything that it lists changes, then what only it listed."""
        if self._manifest not in stored:
            return
        self._progress.warn(
            f"the manifest in {self._bucket.target} does not describe what is there: staging again"
        )
        self._bucket.delete(self._manifest, stored[self._manifest].generation)
        wanted = {file.name for file in files}
        for listed in found.files if found else []:
            if listed.name in stored and listed.name not in wanted:
                self._bucket.delete(listed.name, stored[listed.name].generation)

    def _stage_files(
        self,
        source: Source,
        files: list[SourceFile],
        stored: dict[str, StoredObject],
        pool: ThreadPoolExecutor,
    ) -> list[ManifestFile]:
        total = sum(file.size for file in files)
        self._progress.say(
            f"staging {len(files)} files of {self._request.repository} into {self._bucket.target}",
            total=total,
        )
        self._progress.expect(total)
        return [self._stage_file(source, file, stored.get(file.name, _ABSENT), pool) for file in files]

    def _stage_file(
        self, source: Source, file: SourceFile, before: StoredObject, pool: ThreadPoolExecutor
    ) -> ManifestFile:
        """Bring one file into the bucket, unless it is there complete."""
        content = None if file.sha256 else read_small(source, file)
        sha256 = hashlib.sha256(content).hexdigest() if content is not None else str(file.sha256)
        if before.holds(file.size, sha256):
            self._progress.drop(file.size)
            self._progress.say(f"{file.name} is there already")
            return ManifestFile(file.name, file.size, sha256)

        def parts() -> Iterable[bytes | bytearray]:
            return verified(chunks(source, file, pool), file) if content is None else [content]

        self._upload(file.name, file.size, sha256, before, parts)
        return ManifestFile(file.name, file.size, sha256)

    def _upload(
        self,
        name: str,
        size: int,
        sha256: str,
        before: StoredObject,
        parts: Callable[[], Iterable[bytes | bytearray]],
    ) -> None:
        """Upload, again if the store forgets the session; accept that another run was faster."""
        retrying = Retrying(
            retry=retry_if_exception_type(SessionLostError), stop=stop_after_attempt(_UPLOADS), reraise=True
        )
        try:
            retrying(partial(self._upload_once, name, size, sha256, before, parts))
        except SessionLostError as error:
            raise Failure("unavailable", f"{error} ({name} was begun {_UPLOADS} times)") from None
        except ConflictError:
            now = self._bucket.list().get(name, _ABSENT)
            if not now.holds(size, sha256):
                raise Failure(
                    "unavailable",
                    f"another run put other content into {self._bucket.target}/{name}; run this again",
                ) from None
            self._progress.say(f"another run has staged {name}")

    def _upload_once(
        self,
        name: str,
        size: int,
        sha256: str,
        before: StoredObject,
        parts: Callable[[], Iterable[bytes | bytearray]],
    ) -> None:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        sent = 0
        try:
            with Upload(self._bucket, name, size, kind, sha256, before.generation) as upload:
                for part in parts():
                    upload.write(part)
                    sent += len(part)
                    self._progress.add(len(part))
                upload.finish()
        except (SessionLostError, ConflictError):
            self._progress.add(-sent)
            raise

    def _publish(self, staged: list[ManifestFile]) -> None:
        """Write the manifest, after a last look at everything that it lists."""
        manifest = new_manifest(self._request, staged)
        stored = self._bucket.list()
        for file in manifest.files:
            if not stored.get(file.name, _ABSENT).holds(file.size, file.sha256):
                raise Failure(
                    "unavailable",
                    f"{self._bucket.target}/{file.name} was changed or deleted meanwhile; run this again",
                )
        content = manifest.encode()
        digest = hashlib.sha256(content).hexdigest()
        try:
            with Upload(
                self._bucket, self._manifest, len(content), "application/json", digest, "0"
            ) as upload:
                upload.write(content)
                upload.finish()
        except ConflictError:
            found = self._read_manifest(stored := self._bucket.list())
            if found is None or not found.answers(self._request) or not found.fits(stored):
                raise Failure(
                    "unavailable", f"another run is staging something else into {self._bucket.target}"
                ) from None
        size = sum(file.size for file in staged)
        self._progress.say(
            f"{self._request.repository} is staged in {self._bucket.target}", "NOTICE", bytes=size, total=size
        )
