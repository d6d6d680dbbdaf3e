"""Weights as safetensors: unchanged, or in another floating-point type, in the files that the source has."""

import json
from typing import Any

import msgspec

from weights.companions import beside
from weights.errors import Failure
from weights.files import SourceFile
from weights.formats import repacked
from weights.manifest import Request
from weights.output import OutputFile, copy_file, literal_file
from weights.quantised_file import Entry, arrange, kept
from weights.safetensors import FLOATS
from weights.selection import INDEX
from weights.tensors import CODES, Checkpoint, byte_size
from weights.weights_files import weights_file

_CASTABLE = frozenset({"F32", "F16", "BF16"})


def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]:
    """List the files to write.

    A checkpoint that has the type already is copied byte for byte, and so is one that others have quantised
    for computing in that type. Otherwise floating-point tensors are cast and all others copied; headers,
    index and config.json say so. Pickled weights get the names of safetensors.

    Raises:
        Failure: ``unsupported``, for a floating-point type that cannot be cast, and for a quantised
            checkpoint in another type: kernels expect its scales in the one that they have.
    """
    code = CODES[request.dtype]
    found = {tensor.dtype for tensor in checkpoint.tensors if tensor.floating}
    if not found:
        raise Failure("unsupported", f"{request.repository} has no floating-point tensors: it is no model")
    pickled = any(not tensor.file.name.endswith(".safetensors") for tensor in checkpoint.tensors)
    quantised = "quantization_config" in checkpoint.config
    if quantised and (pickled or code not in found):
        raise Failure(
            "unsupported",
            f"{request.repository} is quantised, and can only be copied as it is, from safetensors with "
            f"{', '.join(FLOATS[each] for each in sorted(found))}; use a repository of the original weights",
        )
    if quantised or (found == {code} and not pickled):
        return [copy_file(file, request) for file in checkpoint.files.values()]
    for tensor in checkpoint.tensors:
        if tensor.floating and tensor.dtype not in _CASTABLE:
            raise Failure(
                "unsupported",
                f"tensor {tensor.name!r} is {FLOATS[tensor.dtype]}: conversions are between float32, float16 "
                "and bfloat16; choose a revision in one of them",
            )
    if pickled:
        return repacked.plan(checkpoint, request)
    weights = {tensor.file.name: tensor.file for tensor in checkpoint.tensors}
    outputs = [_weights_file(checkpoint, file, request) for file in weights.values()]
    if INDEX in checkpoint.files:
        outputs.append(literal_file(INDEX, _new_index(checkpoint, code), request))
    return [*outputs, *beside(checkpoint, request)]


def _weights_file(checkpoint: Checkpoint, file: SourceFile, request: Request) -> OutputFile:
    code = CODES[request.dtype]
    tensors = [tensor for tensor in checkpoint.tensors if tensor.file == file]
    if all(not tensor.floating or tensor.dtype == code for tensor in tensors):
        return copy_file(file, request)
    entries = _aligned(tuple(kept(tensor, code) for tensor in tensors))
    return weights_file(file.name, entries, request, [file])


def _aligned(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The source's order, unless some elements would not begin at a multiple of their size.

    Readers map the file and view it as elements. Another order costs a second reading of what is moved.
    """
    position = 0
    for entry in entries:
        if position % byte_size(entry.dtype, 1):
            return arrange(entries)
        position += entry.content.size
    return entries


def _new_index(checkpoint: Checkpoint, code: str) -> bytes:
    """The source's index with another size: the tensors stay where they are."""
    index: dict[str, Any] = msgspec.json.decode(checkpoint.small(INDEX))
    metadata = index.get("metadata")
    total = sum(kept(tensor, code).content.size for tensor in checkpoint.tensors)
    index["metadata"] = (metadata if isinstance(metadata, dict) else {}) | {"total_size": total}
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()
