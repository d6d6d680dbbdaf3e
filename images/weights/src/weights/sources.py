"""Sources besides the Hub: a prefix of a bucket, and a folder. Both respect a staged model's manifest."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from weights.contract import contract
from weights.errors import ConflictError, Failure
from weights.files import SourceFile
from weights.folder import file_sha256, read_small_file
from weights.gcs import Bucket, StoredObject
from weights.manifest import Manifest, read_manifest

_SMALLEST = 1024 * 1024  # bytes below which the hashing of a file is not worth a line


class BucketSource:
    """The objects below a prefix; satisfies ``files.Source``.

    Every read names the generation that was listed, so that bytes of two versions are never mixed.

    Args:
        bucket: The prefix.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._stored: dict[str, StoredObject] = bucket.list()
        name = contract().manifest_name
        content = bucket.read(name, self._stored[name]) if name in self._stored else None
        self.manifest = read_manifest(content) if content is not None else None

    @property
    def title(self) -> str:
        """``gs://BUCKET/PREFIX``."""
        return self._bucket.target

    def files(self) -> list[SourceFile]:
        """All objects, or those that the manifest lists.

        Raises:
            Failure: ``not_found`` without any, ``integrity`` if the manifest is of another state.
        """
        found = [
            SourceFile(name, int(stored.size), None, crc32c=stored.crc32c or None)
            for name, stored in self._stored.items()
        ]
        return _as_manifested(self.title, found, self.manifest)

    def identify(self, file: SourceFile) -> SourceFile:
        """The file as it is: the store states a checksum of each.

        Raises:
            Failure: ``integrity``, if it states none and no manifest does.
        """
        if file.sha256 is None and file.crc32c is None:
            raise Failure(
                "integrity",
                f"the store states no crc32c of {self.title}/{file.name}, nor a manifest a sha256: it cannot "
                "be verified; write the object again",
            )
        return file

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        """Exactly ``length`` bytes of an object from byte ``start``, of the generation listed.

        Raises:
            Failure: ``unavailable``, if that generation has gone.
        """
        if not length:
            return bytearray()
        try:
            return self._bucket.read_range(file.name, self._stored[file.name].generation, start, length)
        except ConflictError:
            raise self._changed(file.name) from None

    def settle(self) -> None:
        """Compare the generations with those that were listed.

        Raises:
            Failure: ``unavailable``, if an object was replaced or deleted.
        """
        now = self._bucket.list()
        for name, stored in self._stored.items():
            if name not in now or now[name].generation != stored.generation:
                raise self._changed(name)

    def _changed(self, name: str) -> Failure:
        return Failure("unavailable", f"{self.title}/{name} was changed or deleted meanwhile; run this again")


class FolderSource:
    """The files of a folder; satisfies ``files.Source``. Of subfolders it has what the manifest lists.

    Args:
        folder: The folder.
        say: Told what takes long.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._identified: dict[str, SourceFile] = {}
        try:
            names = {entry.name for entry in os.scandir(folder) if entry.is_file()}
            name = contract().manifest_name
            self.manifest = read_manifest(read_small_file(folder / name)) if name in names else None
            if self.manifest is not None:
                listed = (file.name for file in self.manifest.files)
                names |= {name for name in listed if (folder / name).is_file()}
            self._stats = {name: (folder / name).stat() for name in names}
        except OSError as error:
            raise Failure("not_found", f"{folder} cannot be read: {error.strerror}") from None

    @property
    def title(self) -> str:
        """The folder's path."""
        return str(self._folder)

    def files(self) -> list[SourceFile]:
        """All files, or those that the manifest lists.

        Raises:
            Failure: ``not_found`` without any, ``integrity`` if the manifest is of another state.
        """
        found = [SourceFile(name, stat.st_size, None) for name, stat in self._stats.items()]
        return _as_manifested(self.title, found, self.manifest)

    def identify(self, file: SourceFile) -> SourceFile:
        """The file with its sha256, which has to be computed if no manifest states it."""
        if file.sha256 is not None:
            return file
        if file.name not in self._identified:
            if file.size >= _SMALLEST:
                self._say(f"computing the sha256 of {file.name}")
            try:
                sha256 = file_sha256(self._folder / file.name)
            except OSError as error:
                raise self._unreadable(file.name, error) from None
            self._identified[file.name] = replace(file, sha256=sha256)
        return self._identified[file.name]

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        """Exactly ``length`` bytes of a file from byte ``start``.

        Raises:
            Failure: ``unavailable``, if they are not there (any more).
        """
        buffer = bytearray(length)
        view = memoryview(buffer)
        filled = 0
        try:
            with (self._folder / file.name).open("rb", buffering=0) as stream:
                while filled < length:
                    count = os.preadv(stream.fileno(), [view[filled:]], start + filled)
                    if not count:
                        raise self._changed(file.name)
                    filled += count
        except OSError as error:
            raise self._unreadable(file.name, error) from None
        return buffer

    def settle(self) -> None:
        """Compare sizes and times with those at the start.

        Raises:
            Failure: ``unavailable``, if a file was written or deleted.
        """
        for name in self._identified:
            before = self._stats[name]
            try:
                now = (self._folder / name).stat()
            except OSError:
                raise self._changed(name) from None
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise self._changed(name)

    def _changed(self, name: str) -> Failure:
        return Failure(
            "unavailable", f"{self._folder / name} was changed or deleted meanwhile; run this again"
        )

    def _unreadable(self, name: str, error: OSError) -> Failure:
        return Failure("unavailable", f"{self._folder / name} cannot be read: {error.strerror}")


def _as_manifested(title: str, found: list[SourceFile], manifest: Manifest | None) -> list[SourceFile]:
    """The files that the manifest lists, with the digests that it states; without one, all of them."""
    if not found:
        raise Failure("not_found", f"there is nothing in {title}")
    if manifest is None:
        return found
    by_name: Mapping[str, SourceFile] = {file.name: file for file in found}
    for listed in manifest.files:
        if listed.name not in by_name or by_name[listed.name].size != listed.size:
            raise Failure(
                "integrity",
                f"{title} lacks {listed.name} with {listed.size} bytes, which its manifest lists: "
                "stage it again, or remove the manifest",
            )
    return [replace(by_name[listed.name], sha256=listed.sha256) for listed in manifest.files]
