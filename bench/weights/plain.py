"""A plain copy: ranges of the files over several connections, and Google's own client for the upload.

Nothing is verified and nothing converted. `download` writes the files to a folder, `upload` puts files into a
bucket, `relay` does both at once without a disk.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

RANGE = 8 * 1024 * 1024  # bytes of one request: as staging asks for them
CONNECTIONS = 4  # at once: as many as staging has


class Files:
    """The files of one revision on the Hub.

    Args:
        hub: The Hub's address.
        repository: OWNER/NAME.
        revision: Commit.
    """

    def __init__(self, hub: str, repository: str, revision: str) -> None:
        with urlopen(f"{hub}/api/models/{repository}/tree/{revision}?recursive=true") as answer:
            self.sizes = {entry["path"]: int(entry["size"]) for entry in json.load(answer)}
        self.places = {name: _place(f"{hub}/{repository}/resolve/{revision}/{name}") for name in self.sizes}
        self._threads = threading.local()

    def ranges(self, name: str) -> Iterator[tuple[int, int]]:
        """Start and length of each range of a file."""
        for start in range(0, self.sizes[name], RANGE):
            yield start, min(RANGE, self.sizes[name] - start)

    def read(self, name: str, start: int, length: int) -> bytearray:
        """One range, over this thread's own connection."""
        place = urlsplit(self.places[name])
        connections = self._threads.__dict__
        if place.netloc not in connections:
            connections[place.netloc] = http.client.HTTPConnection(place.netloc, timeout=60)
        connection = connections[place.netloc]
        connection.request("GET", place.path, headers={"Range": f"bytes={start}-{start + length - 1}"})
        answer = connection.getresponse()
        content = bytearray(length)
        view = memoryview(content)
        filled = 0
        while count := answer.readinto(view[filled:]):
            filled += count
        if answer.status not in (200, 206) or filled != length:
            raise OSError(f"{name}: answer {answer.status} with {filled} of {length} bytes")
        answer.read()
        return content


def _place(url: str) -> str:
    """Where the bytes are: the Hub redirects large files."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("HEAD", parts.path)
    answer = connection.getresponse()
    connection.close()
    return urljoin(url, answer.headers.get("Location", url))


class Stream(io.RawIOBase):
    """A file's bytes one after another, while the next ranges are under way."""

    def __init__(self, files: Files, name: str, pool: ThreadPoolExecutor) -> None:
        self._ranges = files.ranges(name)
        self._ask = lambda place: pool.submit(files.read, name, *place)
        self._waiting: list[Future[bytearray]] = []
        self._rest = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        while len(self._waiting) < CONNECTIONS and (place := next(self._ranges, None)):
            self._waiting.append(self._ask(place))
        if not len(self._rest) and self._waiting:
            self._rest = memoryview(self._waiting.pop(0).result())
        count = min(len(into), len(self._rest))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count


def download(files: Files, folder: Path, sync: bool) -> None:
    """Write all files into a folder, as ranges arrive; with `sync` the disk has to confirm them."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        targets = {}
        for name, size in files.sizes.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            targets[name] = os.open(folder / name, os.O_CREAT | os.O_WRONLY)
            os.truncate(targets[name], size)

        def copy(name: str, start: int, length: int) -> None:
            os.pwrite(targets[name], files.read(name, start, length), start)

        for done in [pool.submit(copy, name, *place) for name in targets for place in files.ranges(name)]:
            done.result()
    began = time.monotonic()
    for target in targets.values():
        if sync:
            os.fsync(target)
        os.close(target)
    print(json.dumps({"sync_seconds": round(time.monotonic() - began, 3)}))


def bucket_of(target: str):  # type: ignore[no-untyped-def]
    """Google's client for the bucket of gs://BUCKET/PREFIX, and the prefix."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    name, _, prefix = target.removeprefix("gs://").partition("/")
    return storage.Client(project="bench", credentials=AnonymousCredentials()).bucket(name), prefix


def upload(paths: list[Path], target: str) -> None:
    """Upload files one after another, as the client does by default."""
    bucket, prefix = bucket_of(target)
    for path in paths:
        bucket.blob(f"{prefix}/{path.name}").upload_from_filename(path, timeout=600)


def relay(files: Files, target: str) -> None:
    """Upload each file while it arrives."""
    bucket, prefix = bucket_of(target)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for name, size in files.sizes.items():
            stream = io.BufferedReader(Stream(files, name, pool), RANGE)
            bucket.blob(f"{prefix}/{name}", chunk_size=RANGE).upload_from_file(stream, size=size, timeout=600)


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("download", "upload", "relay"))
    parser.add_argument("--repo")
    parser.add_argument("--revision")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--sync", action="store_true", help="of a download: until it is on the disk")
    options = parser.parse_args()
    if options.what == "upload":
        paths = [options.folder] if options.folder.is_file() else sorted(options.folder.iterdir())
        return upload([path for path in paths if path.is_file()], options.target)
    files = Files(os.environ["HF_ENDPOINT"], options.repo, options.revision)
    if options.what == "download":
        return download(files, options.folder, options.sync)
    return relay(files, options.target)


if __name__ == "__main__":
    main()
