"""What the commands do, given their arguments."""

from pathlib import Path

from weights.bucket import BucketTarget
from weights.checkpoint import open_checkpoint, total_digest
from weights.errors import Failure
from weights.files import Source
from weights.folder import FolderTarget
from weights.gcs import Bucket
from weights.hub import HubRepository
from weights.inspection import list_models, verify_model
from weights.manifest import Request
from weights.progress import Progress
from weights.secret import hub_token
from weights.settings import Settings
from weights.sources import BucketSource, FolderSource
from weights.stage import Staging
from weights.target import Target
from weights.tensors import Checkpoint
from weights.transport import Patience


class Commands:
    """The commands, in one environment.

    Args:
        settings: Addresses and credentials.
        progress: Told what happens.
    """

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self.patience = Patience(settings.retry_seconds, settings.permission_seconds, progress.warn)

    def stage(self, repo: str, revision: str, target: str, format: str, dtype: str) -> None:
        """From the Hub to a target.

        Raises:
            Failure: With the outcome as its kind.
        """

        def source() -> tuple[Source, Checkpoint]:
            token = hub_token(self._settings, self.patience)
            hub = HubRepository(self._settings.hub, token, repo, revision, self.patience)
            return hub, open_checkpoint(hub)

        Staging(Request(repo, revision, format, dtype), source, self._target(target), self._progress).run()

    def convert(self, source: str, target: str, format: str, dtype: str) -> None:
        """From a prefix or folder to another one. A staged model keeps its repository and revision.

        Raises:
            Failure: With the outcome as its kind.
        """
        place, checkpoint = self._opened(source, target)
        if place.manifest is not None:
            request = Request(place.manifest.repository, place.manifest.revision, format, dtype)
        else:
            request = Request(place.title, total_digest(checkpoint.files), format, dtype)
        Staging(request, lambda: (place, checkpoint), self._target(target), self._progress).run()

    def import_checkpoint(
        self, source: str, repo: str, revision: str, target: str, format: str, dtype: str
    ) -> None:
        """From a prefix or folder to another one, as what it is said to be.

        Whoever says it knows the result's place before anything is read; a digest would tell it afterwards.

        Raises:
            Failure: With the outcome as its kind.
        """
        place, checkpoint = self._opened(source, target)
        request = Request(repo, revision, format, dtype)
        Staging(request, lambda: (place, checkpoint), self._target(target), self._progress).run()

    def verify(self, target: str) -> None:
        """Read a staged model and compare it with its manifest.

        Raises:
            Failure: ``not_found`` without a manifest, ``integrity`` if anything differs.
        """
        place = self._source(target)
        if place.manifest is None:
            raise Failure("not_found", f"{target} has no manifest: no model is staged there completely")
        verify_model(place, place.manifest, self._progress)

    def list(self, target: str) -> None:
        """Say which models lie at or below a place, and whether they are complete.

        Raises:
            Failure: ``not_found`` if there is none.
        """
        list_models(self._target(target), self._progress)

    def _target(self, place: str) -> Target:
        if place.startswith("gs://"):
            return BucketTarget(self._bucket(place), self._progress)
        return FolderTarget(Path(place), self._progress, self._settings.retry_seconds, self.patience.pause)

    def _opened(self, source: str, target: str) -> tuple[BucketSource | FolderSource, Checkpoint]:
        if _inside(target, source):
            raise Failure("usage", "--target is --source or lies in it; choose another place")
        place = self._source(source)
        return place, open_checkpoint(place)

    def _source(self, place: str) -> BucketSource | FolderSource:
        if place.startswith("gs://"):
            return BucketSource(self._bucket(place))
        return FolderSource(Path(place), self._progress.say)

    def _bucket(self, place: str) -> Bucket:
        return Bucket(place, self._settings, self.patience)


def _inside(place: str, other: str) -> bool:
    """Whether a place is another one or lies below it, as far as their addresses tell."""
    if place.startswith("gs://") or other.startswith("gs://"):
        return f"{place}/".startswith(f"{other}/")
    return Path(place).resolve().is_relative_to(Path(other).resolve())
