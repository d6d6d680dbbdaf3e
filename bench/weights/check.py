"""Looks at a staged model with Google's own client: sizes, crc32c, sha256, and every cast element.

The client itself compares the crc32c of what it downloads with the one that the store states, and raises
`DataCorruption` if they differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from google.cloud import storage
from plain import bucket_of  # beside this file, which a script's path holds

TYPES = {"F32": "<f4", "F16": "<f2"}


class Digest:
    """Takes a download and keeps its sha256 alone."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        self.size += len(content)
        return len(content)

    def flush(self) -> None:
        """There is nothing to flush."""


def check(target: str, source: Path, cast: bool) -> dict[str, int]:
    """Compare a staged model with its manifest and source; raises `SystemExit` at the first difference."""
    bucket, prefix = bucket_of(target)
    blobs = {blob.name.removeprefix(f"{prefix}/"): blob for blob in bucket.list_blobs(prefix=f"{prefix}/")}
    manifest = json.loads(blobs.pop("manifest.json").download_as_bytes(checksum="crc32c"))
    listed = {file["name"]: file for file in manifest["files"]}
    expect("names", sorted(blobs), sorted(listed))
    for name, blob in blobs.items():
        digest = Digest()
        blob.download_to_file(digest, checksum="crc32c", timeout=600)
        expect(f"size of {name}", [blob.size, digest.size], [listed[name]["size"]] * 2)
        expect(f"sha256 of {name}", digest.sha256.hexdigest(), listed[name]["sha256"])
        if not cast:
            expect(f"sha256 of {name}", digest.sha256.hexdigest(), sha256_of(source / name))
        elif name.endswith(".safetensors"):
            compare_tensors(blob, source / name)
    return {"objects": len(blobs), "bytes": sum(file["size"] for file in listed.values())}


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compare_tensors(blob: storage.Blob, path: Path) -> None:
    """Every element of the object has to be the source's, cast by numpy."""
    size = struct.unpack("<Q", blob.download_as_bytes(start=0, end=7))[0]
    made = json.loads(blob.download_as_bytes(start=8, end=7 + size))
    with path.open("rb") as file:
        source_size = struct.unpack("<Q", file.read(8))[0]
        given = json.loads(file.read(source_size))
    expect("tensors", sorted(made), sorted(given))
    for name, tensor in made.items():
        if name == "__metadata__":
            continue
        start, end = (8 + size + offset for offset in tensor["data_offsets"])
        result = np.frombuffer(blob.download_as_bytes(start=start, end=end - 1), TYPES[tensor["dtype"]])
        first, last = given[name]["data_offsets"]
        count = (last - first) // 4
        source = np.fromfile(path, "<f4", count, offset=8 + source_size + first)
        expect(f"type and shape of {name}", (tensor["dtype"], tensor["shape"]), ("F16", given[name]["shape"]))
        if not np.array_equal(result, source.astype("<f2")):
            raise SystemExit(f"{blob.name}: tensor {name} is not the cast of its source")


def expect(what: str, found: Any, wanted: Any) -> None:
    """End with one line where two values differ."""
    if found != wanted:
        raise SystemExit(f"{what}: found {found}, wanted {wanted}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--source", type=Path, required=True, help="folder of the revision")
    parser.add_argument("--cast", action="store_true", help="the target is float16, the source float32")
    options = parser.parse_args()
    print(json.dumps(check(options.target, options.source, options.cast)))
