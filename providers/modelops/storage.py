"""Objects of a bucket, by the Cloud Storage JSON API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from providers.modelops.client import Google, NotFound
from providers.modelops.manifest import MANIFEST, MAX_BYTES, Missing, Source, Staged, judge


@dataclass(frozen=True, slots=True)
class Target:
    """A folder of a bucket."""

    bucket: str
    prefix: str
    """Object prefix, with a trailing slash."""

    @staticmethod
    def parse(uri: str) -> Target:
        """The folder of a `gs://BUCKET/PREFIX`."""
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        return Target(bucket, prefix.rstrip("/") + "/")


class Storage:
    """What a staged model needs of Cloud Storage."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def inspect(self, target: Target, source: Source) -> Staged | Missing:
        """Whether a whole model lies at the target.

        Raises:
            NotFound: the bucket does not exist.
            ProviderError: Google refused or cannot be reached.
        """
        sizes = self.sizes(target)
        if MANIFEST not in sizes:
            rest = f", though {len(sizes)} objects are" if sizes else ""
            return Missing(f"{MANIFEST} is not there{rest}", empty=not sizes)
        if sizes[MANIFEST] > MAX_BYTES:
            return Missing(f"{MANIFEST} has {sizes[MANIFEST]} bytes and cannot be one", empty=False)
        try:
            raw = self._call(
                target,
                "reading",
                "Viewer",
                "get_media",
                bucket=target.bucket,
                object=target.prefix + MANIFEST,
            )
        except NotFound:  # Deleted since it was listed.
            return Missing(f"{MANIFEST} is not there", empty=False)
        return judge(raw, sizes, source)

    def sizes(self, target: Target) -> dict[str, int]:
        """The objects below the target, by name relative to it, in bytes; raises as `inspect` does."""
        sizes: dict[str, int] = {}
        page: str | None = None
        while True:
            answer = self._call(
                target,
                "listing",
                "Viewer",
                "list",
                bucket=target.bucket,
                prefix=target.prefix,
                pageToken=page,
                fields="items(name,size),nextPageToken",
            )
            for item in answer.get("items", []):
                sizes[item["name"].removeprefix(target.prefix)] = int(item.get("size", 0))
            page = answer.get("nextPageToken")
            if not page:
                return sizes

    def clear(self, target: Target) -> int:
        """Deletes every object below the target and gives their number; the manifest goes first.

        Without its manifest no reader takes what is left for a model. A bucket that is gone holds nothing.
        """
        try:
            names = sorted(self.sizes(target), key=lambda name: name != MANIFEST)
        except NotFound:
            return 0
        for name in names:
            try:
                self._call(
                    target, "deleting", "User", "delete", bucket=target.bucket, object=target.prefix + name
                )
            except NotFound:
                continue
        return len(names)

    def _call(self, target: Target, verb: str, role: str, method: str, **arguments: Any) -> Any:
        what = f"{verb} gs://{target.bucket}/{target.prefix}"
        objects = self._google.service("storage").objects()
        return self._google.call(
            what,
            f"roles/storage.object{role} on bucket {target.bucket}",
            lambda: getattr(objects, method)(**arguments),
        )
