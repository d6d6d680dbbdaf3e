"""A PyTorch checkpoint (``pytorch_model.bin``, ``.pt``) as a list of tensors, without unpickling it.

Its pickle is interpreted by ``weights.pickles``. The tensors' bytes lie uncompressed in the file, in the
format of PyTorch 1.6 and later (a zip archive) as well as in the one before, so they are read in ranges like
those of any other weights file: no disk is needed, and the file's digest is verified as it passes.
"""

from dataclasses import replace
from math import prod

from weights.errors import Failure
from weights.files import Source, SourceFile
from weights.pickles import RefusedPickleError, Storage, View
from weights.safetensors import MAX_ELEMENTS
from weights.strided import StridedFile, nested, simplify, span
from weights.tensors import TensorRef, byte_size
from weights.torch_legacy import read_legacy
from weights.torch_zip import read_zip

SUFFIXES = (".bin", ".pt", ".pth")
# Tensors may be views of the same bytes, but few are. A hostile file could have terabytes made of a megabyte.
MAX_GROWTH = 4
_ZIP = b"PK\x03\x04"
_REMEDY = "use a revision or repository with safetensors, or save it anew with model.save_pretrained()"


def read_torch(source: Source, file: SourceFile) -> list[TensorRef]:
    """Find the tensors of a state dict.

    Equal views of a storage become one tensor with aliases, named as the first in the state dict. A tensor
    that lies in another order than row by row comes as a ``StridedFile``.

    Args:
        source: Where the checkpoint comes from.
        file: One of its files; a sharded checkpoint has several.

    Returns:
        The tensors in the order of their bytes.

    Raises:
        Failure: ``unsupported``, for a file that is no state dict, and for one whose pickle asks for anything
            that no state dict needs.
    """
    try:
        zipped = file.size >= len(_ZIP) and source.read(file, 0, len(_ZIP)) == _ZIP
        views, places = (read_zip if zipped else read_legacy)(source, file)
        return _joined(file, views, places)
    except RefusedPickleError as error:
        raise Failure("unsupported", f"{file.name} is refused: {error}; {_REMEDY}") from None


def _reference(file: SourceFile, name: str, view: View, start: int) -> TensorRef:
    """The tensor of a view whose storage begins at byte ``start`` of the file."""
    dtype, shape = view.storage.dtype, view.shape
    start += byte_size(dtype, view.offset)
    length = byte_size(dtype, prod(shape))
    if view.offset + (span(shape, view.stride) if length else 0) > view.storage.elements:
        raise RefusedPickleError(f"tensor {name[:100]!r} is larger than the storage that it is in")
    if not length:
        if prod(each or 1 for each in shape) > MAX_ELEMENTS:
            raise RefusedPickleError(f"tensor {name[:100]!r} has dimensions that no tensor can have")
        return TensorRef(name, dtype, shape, file, start, 0)
    lengths, strides = simplify(shape, view.stride)
    if strides in ((), (1,)):
        return TensorRef(name, dtype, shape, file, start, length)
    if not nested(lengths, strides):
        raise RefusedPickleError(f"tensor {name[:100]!r} has rows that overlap each other")
    strided = StridedFile(
        file.name,
        length,
        file.sha256,
        file.git_sha1,
        file.crc32c,
        base=file,
        start=start,
        shape=lengths,
        strides=strides,
        width=byte_size(dtype, 1),
    )
    return TensorRef(name, dtype, shape, strided, 0, length)


def _joined(file: SourceFile, views: dict[str, View], places: dict[Storage, int]) -> list[TensorRef]:
    """One tensor for each view, with the names of equal views as its aliases, in the order of their bytes."""
    names: dict[View, list[str]] = {}
    for name, view in views.items():
        names.setdefault(view, []).append(name)
    found = []
    for view, (first, *others) in names.items():
        start = places[view.storage]
        tensor = replace(_reference(file, first, view, start), aliases=tuple(others))
        found.append((start + byte_size(view.storage.dtype, view.offset), tensor))
    if sum(tensor.length for _, tensor in found) > MAX_GROWTH * file.size:
        raise RefusedPickleError(f"its tensors overlap, so that they have over {MAX_GROWTH} times its bytes")
    return [tensor for _, tensor in sorted(found, key=lambda each: each[0])]
