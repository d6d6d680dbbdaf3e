"""A prefix of a bucket as a target: resumable uploads with a generation precondition on every one."""

import hashlib
import mimetypes
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_attempt
from tenacity.wait import wait_fixed

from weights.body import Body
from weights.errors import ConflictError, Failure, SessionLostError
from weights.gcs import Bucket, StoredObject
from weights.output import PART, OutputFile
from weights.progress import Progress
from weights.upload import Upload

_UPLOADS = 3  # times that a file's upload is begun, if the store forgets the session
_ABSENT = StoredObject(name="", generation="0")  # what a generation precondition calls no object
_MARK_SECONDS = 5  # how long another run may take from completing an object to noting its sha256


class BucketTarget:
    """Satisfies ``target.Target``.

    Each object carries its ``recipe`` from the start. It carries its ``sha256`` from the start, too, or, if
    that is known only when all bytes were made, from a moment after its completion; without it it is not
    finished.

    Args:
        bucket: The prefix.
        progress: Told of bytes that the store has.
    """

    def __init__(self, bucket: Bucket, progress: Progress) -> None:
        self._bucket = bucket
        self._progress = progress
        self._stored: dict[str, StoredObject] = {}

    @property
    def title(self) -> str:
        """``gs://BUCKET/PREFIX``."""
        return self._bucket.target

    def exclusive(self) -> AbstractContextManager[None]:
        """Nothing: the preconditions keep runs apart."""
        return nullcontext()

    def tidy(self) -> None:
        """Nothing: a run keeps no notes beside the objects."""

    def sizes(self) -> dict[str, int]:
        """All objects below the prefix; what is done to them from now on supposes these generations."""
        self._stored = self._bucket.list()
        return {name: int(stored.size) for name, stored in self._stored.items()}

    def read(self, name: str) -> bytes | None:
        """Content of a small object, at the generation that was listed."""
        if name not in self._stored:
            return None
        try:
            return self._bucket.read(name, self._stored[name])
        except ConflictError:
            return None

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects, of the generations that were listed."""
        for name in names:
            if name in self._stored:
                self._bucket.delete(name, self._stored.pop(name).generation)

    def leftovers(self, names: Collection[str]) -> list[str]:
        """By their metadata; what lies deeper may be of another model, whose prefix begins with this one."""
        return [
            name
            for name, stored in self._stored.items()
            if name not in names and "/" not in name and "recipe" in stored.metadata
        ]

    def finished(self, output: OutputFile) -> str | None:
        """By the object's own metadata."""
        return _finished(self._stored.get(output.name, _ABSENT), output)

    def holds(self, output: OutputFile, sha256: str, /) -> bool:
        """By the object's own metadata."""
        stored = self._stored.get(output.name, _ABSENT)
        return stored.size == str(output.size) and stored.metadata.get("sha256") == sha256

    def write(self, body: Body) -> str:
        """Upload, again if the store forgets the session; accept that another run was faster."""
        name = body.output.name
        retrying = Retrying(
            retry=retry_if_exception_type(SessionLostError), stop=stop_after_attempt(_UPLOADS), reraise=True
        )
        try:
            return retrying(partial(self._upload, body))
        except SessionLostError as error:
            raise Failure("unavailable", f"{error} ({name} was begun {_UPLOADS} times)") from None
        except ConflictError:
            sha256 = self._finished_by_another(body.output)
            if sha256 is None:
                raise Failure(
                    "unavailable", f"another run put other content into {self.title}/{name}; run this again"
                ) from None
            self._progress.add(body.output.size)
            self._progress.say(f"another run has staged {name}")
            return sha256

    def publish(self, name: str, content: bytes) -> bool:
        """Upload the manifest where there is none."""
        digest = {"sha256": hashlib.sha256(content).hexdigest()}
        try:
            with Upload(self._bucket, name, len(content), "application/json", digest, "0") as upload:
                upload.write(content)
                upload.finish()
        except ConflictError:
            return False
        return True

    def _upload(self, body: Body) -> str:
        output = body.output
        before = self._stored.get(output.name, _ABSENT)
        kind = mimetypes.guess_type(output.name)[0] or "application/octet-stream"
        # A small file is made before its upload begins, so that its sha256 is known then.
        small = list(body.parts()) if output.size <= PART else None
        metadata = {"recipe": output.recipe} | ({"sha256": body.sha256} if body.sha256 else {})
        sent = 0
        try:
            with Upload(self._bucket, output.name, output.size, kind, metadata, before.generation) as upload:
                for part in small if small is not None else body.parts():
                    upload.write(part)
                    sent += len(part)
                    self._progress.add(len(part))
                stored = upload.finish()
        except (SessionLostError, ConflictError):
            self._progress.add(-sent)
            raise
        sha256 = str(body.sha256)
        if "sha256" not in metadata:
            self._bucket.annotate(output.name, stored.generation, {"sha256": sha256})
        return sha256

    def _finished_by_another(self, output: OutputFile) -> str | None:
        """The sha256 that another run noted, or will within moments, with an object of this recipe."""
        retrying = Retrying(
            retry=retry_if_result(lambda found: found == ""),
            wait=wait_fixed(1),
            stop=stop_after_attempt(_MARK_SECONDS),
            sleep=self._bucket.patience.pause,
        )
        try:
            return retrying(self._look, output)
        except RetryError:
            return None

    def _look(self, output: OutputFile) -> str | None:
        """The noted sha256, empty if it is still to come, None if the object is another one."""
        self._stored = self._bucket.list()
        now = self._stored.get(output.name, _ABSENT)
        unfinished = now.metadata.get("recipe") == output.recipe and "sha256" not in now.metadata
        return "" if unfinished else _finished(now, output)


def _finished(stored: StoredObject, output: OutputFile) -> str | None:
    sha256 = stored.metadata.get("sha256")
    same = stored.metadata.get("recipe") == output.recipe or (sha256 and sha256 == output.sha256)
    return sha256 if same and sha256 and stored.size == str(output.size) else None
