"""PyTorch's format before 1.6: pickles one behind another, then the storages in a row.

The pickles are a magic number, the version, the system, the object, and the list of storages' keys. Each
storage is eight bytes of length, counted in elements, and its elements. Source:
``torch.serialization._legacy_save``.
"""

import io
from typing import Any

from weights.files import Source, SourceFile
from weights.pickles import RefusedPickleError, Storage, View, read_pickle, state_dict, storages
from weights.tensors import byte_size

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_LENGTH = 8
_START = 1024 * 1024  # bytes in which the pickles of most files fit
_MAX_START = 8 * 1024 * 1024


def read_legacy(source: Source, file: SourceFile) -> tuple[dict[str, View], dict[Storage, int]]:
    """Interpret the pickles at the start of a file, and find the storages behind them.

    Returns:
        The tensors of the state dict, and for each storage in it the first byte in the file.

    Raises:
        RefusedPickleError: If the file is not of this format.
    """
    try:
        return _read_start(source, file, min(_START, file.size))
    except RefusedPickleError:
        if file.size <= _START:
            raise
    return _read_start(source, file, min(_MAX_START, file.size))


def _read_start(source: Source, file: SourceFile, length: int) -> tuple[dict[str, View], dict[Storage, int]]:
    stream = io.BytesIO(source.read(file, 0, length))
    if read_pickle(stream) != _MAGIC or read_pickle(stream) != _VERSION:
        raise RefusedPickleError("it is neither a zip archive nor of the format before it, so no checkpoint")
    system = read_pickle(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedPickleError("its numbers are not little-endian")
    views = state_dict(read_pickle(stream))
    keys = read_pickle(stream)
    if not isinstance(keys, list):
        raise RefusedPickleError("it has no list of storages")
    return views, _places(file, storages(views), keys, stream.tell())


def _places(file: SourceFile, found: list[Storage], keys: list[Any], start: int) -> dict[Storage, int]:
    """Walk over the storages: their order is that of the keys, their lengths those that the tensors state."""
    by_key = {storage.key: storage for storage in found}
    places = {}
    for key in keys:
        if not isinstance(key, str) or key not in by_key:
            raise RefusedPickleError("its list of storages is not that of its tensors")
        storage = by_key[key]
        places[storage] = start + _LENGTH
        start += _LENGTH + byte_size(storage.dtype, storage.elements)
    if start != file.size or len(places) != len(found):
        raise RefusedPickleError("its storages do not fill it")
    return places
