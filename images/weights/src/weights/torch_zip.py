"""PyTorch's zip archive: ``NAME/data.pkl`` and the records ``NAME/data/KEY``, all of them stored.

Source: ``caffe2/serialize/inline_container.h`` of PyTorch; PKWARE's APPNOTE.TXT 6.3.10 for the headers.
"""

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from weights.files import CONNECTIONS, Source, SourceFile
from weights.pickles import RefusedPickleError, Storage, View, read_pickle, state_dict, storages
from weights.tensors import byte_size

MAX_DIRECTORY = 4 * 1024 * 1024  # bytes; some eighty are usual for a record
MAX_PICKLE = 8 * 1024 * 1024  # bytes; some two hundred are usual for a tensor
_LOCAL = struct.Struct("<4s22xHH")  # a local header: its signature, the lengths of its name and extra fields
_ENCRYPTED = 0x1


def read_zip(source: Source, file: SourceFile) -> tuple[dict[str, View], dict[Storage, int]]:
    """Interpret the pickle of an archive, and find the records.

    Returns:
        The tensors of the state dict, and for each storage in it the first byte in the file.

    Raises:
        RefusedPickleError: If it is no archive that PyTorch wrote.
    """
    records = _directory(source, file)
    pickles = [name for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise RefusedPickleError("it is a zip archive without one data.pkl, so PyTorch did not write it")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in records:
        raise RefusedPickleError("it is a TorchScript program, no state dict")
    _check_byte_order(source, file, records.get(f"{folder}byteorder"))
    views = state_dict(read_pickle(io.BytesIO(_read(source, file, records[pickles[0]], MAX_PICKLE))))
    found = storages(views)
    with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="header") as pool:
        places = pool.map(
            lambda storage: _place(source, file, records.get(f"{folder}data/{storage.key}"), storage),
            found,
        )
        return views, dict(zip(found, places, strict=True))


def _directory(source: Source, file: SourceFile) -> dict[str, ZipInfo]:
    try:
        with ZipFile(_Window(source, file)) as archive:
            entries = archive.infolist()
    except (BadZipFile, NotImplementedError, struct.error, ValueError, OSError) as error:
        raise RefusedPickleError(f"its zip directory cannot be read ({error})") from None
    records = {entry.filename: entry for entry in entries}
    if len(records) != len(entries):
        raise RefusedPickleError("its zip directory has a name twice")
    return records


def _place(source: Source, file: SourceFile, entry: ZipInfo | None, storage: Storage) -> int:
    if entry is None or entry.file_size != byte_size(storage.dtype, storage.elements):
        raise RefusedPickleError(
            f"its record {storage.key[:20]!r} is missing or not of the size that was stated"
        )
    return _data_start(source, file, entry)


def _data_start(source: Source, file: SourceFile, entry: ZipInfo) -> int:
    """First byte of a record's data: behind the local header, whose length the directory does not state."""
    if (
        entry.compress_type != ZIP_STORED
        or entry.flag_bits & _ENCRYPTED
        or entry.file_size != entry.compress_size
    ):
        raise RefusedPickleError("its records are compressed or encrypted, which PyTorch never does")
    if not 0 <= entry.header_offset <= file.size - _LOCAL.size:
        raise RefusedPickleError("its zip directory points outside the file")
    header = source.read(file, entry.header_offset, _LOCAL.size)
    signature, name, extra = _LOCAL.unpack(header)
    start = int(entry.header_offset) + _LOCAL.size + name + extra
    if signature != b"PK\x03\x04" or start + entry.file_size > file.size:
        raise RefusedPickleError("its zip directory does not fit its records")
    return int(start)


def _read(source: Source, file: SourceFile, entry: ZipInfo, limit: int) -> bytearray:
    if entry.file_size > limit:
        raise RefusedPickleError(
            f"its {entry.filename[-20:]!r} has {entry.file_size} bytes, more than {limit}"
        )
    return source.read(file, _data_start(source, file, entry), entry.file_size)


def _check_byte_order(source: Source, file: SourceFile, entry: ZipInfo | None) -> None:
    if entry is not None and _read(source, file, entry, 16) != b"little":
        raise RefusedPickleError("its numbers are not little-endian")


class _Window(io.RawIOBase):
    """A source's file, as the zip library reads it: only its directory, which is bounded."""

    def __init__(self, source: Source, file: SourceFile) -> None:
        self._source = source
        self._file = file
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise OSError("a seek before its start")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._file.size - self._position, 0)
        length = left if size is None or size < 0 else min(size, left)
        if length > MAX_DIRECTORY:
            raise OSError(f"it has more than {MAX_DIRECTORY} bytes")
        content = bytes(self._source.read(self._file, self._position, length)) if length else b""
        self._position += length
        return content
