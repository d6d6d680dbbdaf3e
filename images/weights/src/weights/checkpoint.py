"""Opening a checkpoint: what of a source is needed, and where its tensors lie."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from weights.errors import Failure
from weights.files import Source, SourceFile, read_small
from weights.preview import Preview
from weights.selection import INDEX_SUFFIX, read_index, select
from weights.tensors import MAX_TENSORS, Checkpoint, TensorRef, read_tensors
from weights.torch_file import SUFFIXES, read_torch

_MAX_CONFIG = 1024 * 1024  # bytes of config.json; a few thousand are usual


def open_checkpoint(source: Source) -> Checkpoint:
    """Choose the files, give each a digest, and read the headers.

    Raises:
        Failure: ``unsupported`` or ``integrity``, for a checkpoint that cannot be used.
    """
    files = {file.name: source.identify(file) for file in select(source)}

    def small(name: str) -> bytes:
        return bytes(read_small(source, files[name]))

    preview = Preview(source)
    tensors = read_checkpoint(preview, files.values())
    for listing in files:
        if listing.endswith(INDEX_SUFFIX):
            _check_index(listing, read_index(small(listing), listing), tensors)
    return Checkpoint(tensors, _config(files["config.json"], small), files, small, preview.ranges)


def read_checkpoint(source: Source, files: Iterable[SourceFile]) -> list[TensorRef]:
    """Find the tensors in weights files; other files are passed over.

    Args:
        source: Where the checkpoint comes from.
        files: Its files; a sharded checkpoint has several with weights.

    Returns:
        The tensors in the order of the files, and in each in the order of their bytes.

    Raises:
        Failure: ``unsupported``, for a malformed file, or a name that two files have.
    """
    tensors: list[TensorRef] = []
    for file in files:
        if file.name.endswith(".safetensors"):
            tensors += read_tensors(source, file)
        elif file.name.endswith(SUFFIXES):
            tensors += read_torch(source, file)
        if len(tensors) > MAX_TENSORS:
            raise Failure("unsupported", f"the checkpoint has more than {MAX_TENSORS} tensors")
    places: dict[str, str] = {}
    for tensor in tensors:
        for name in (tensor.name, *tensor.aliases):
            other = places.setdefault(name, tensor.file.name)
            if other != tensor.file.name:
                raise Failure(
                    "unsupported",
                    f"tensor {name!r} is in {other} and in {tensor.file.name}: the checkpoint is ambiguous; "
                    "use a revision with one of them",
                )
    return tensors


def _check_index(listing: str, places: Mapping[str, str], tensors: Iterable[TensorRef]) -> None:
    """An index has to name tensors where they are, or a reader would miss some."""
    has = {name: tensor.file.name for tensor in tensors for name in (tensor.name, *tensor.aliases)}
    for name, place in places.items():
        if has.get(name) != place:
            raise Failure(
                "unsupported",
                f"{listing} places tensor {name!r} in {place}, it is in {has.get(name, 'none')}: the "
                "checkpoint is broken; use another revision",
            )


def _config(file: SourceFile, small: Callable[[str], bytes]) -> dict[str, Any]:
    if file.size > _MAX_CONFIG:
        raise Failure("unsupported", f"{file.name} has {file.size} bytes: it is not what its name says")
    try:
        config = json.loads(small(file.name))
    except (ValueError, RecursionError) as error:
        raise Failure("unsupported", f"config.json cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise Failure("unsupported", "config.json is no JSON object")
    return config


def total_digest(files: Mapping[str, SourceFile]) -> str:
    """One digest over those of all files: the revision of a source that has no other."""
    text = json.dumps(sorted([file.name, file.digest] for file in files.values()))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
