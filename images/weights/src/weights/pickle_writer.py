"""The pickle of a state dict, opcode by opcode: what ``torch.save`` emits, but for the memo.

Source: the opcode table of ``pickletools`` in Python's library; protocol 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

_START = b"\x80\x02"  # PROTO 2
_EMPTY_TUPLE, _MARK, _TUPLE, _REDUCE, _PERSISTENT, _SET_ITEMS, _FALSE, _STOP = (
    b")", b"(", b"t", b"R", b"Q", b"u", b"\x89", b".",
)  # fmt: skip


@dataclass(frozen=True)
class PickledTensor:
    """A tensor that fills a record of the archive.

    Attributes:
        name: Key in the state dict.
        storage: Name of the storage class, such as FloatStorage.
        key: Name of the record below ``data/``; tied tensors have the same.
        shape: Length of each dimension.
    """

    name: str
    storage: str
    key: str
    shape: tuple[int, ...]


def state_dict_pickle(tensors: Iterable[PickledTensor]) -> bytes:
    """Pickle an ``OrderedDict`` of tensors whose elements lie in records.

    Args:
        tensors: Its items, in order.

    Returns:
        The content of ``data.pkl``.
    """
    parts = [_START, _ordered_dict(), _MARK]
    for tensor in tensors:
        parts += [_text(tensor.name), _tensor(tensor)]
    return b"".join([*parts, _SET_ITEMS, _STOP])


def _tensor(tensor: PickledTensor) -> bytes:
    """``_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)``."""
    elements = prod(tensor.shape)
    storage = _tuple(
        _text("storage"),
        _global("torch", tensor.storage),
        _text(tensor.key),
        _text("cpu"),
        _integer(elements),
    )
    arguments = _tuple(
        storage + _PERSISTENT,
        _integer(0),
        _tuple(*map(_integer, tensor.shape)),
        _tuple(*map(_integer, row_major(tensor.shape))),
        _FALSE,
        _ordered_dict(),
    )
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + _REDUCE


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements between neighbours along each dimension of a contiguous tensor, as PyTorch states them."""
    return tuple(prod(max(length, 1) for length in shape[place + 1 :]) for place in range(len(shape)))


def _ordered_dict() -> bytes:
    return _global("collections", "OrderedDict") + _EMPTY_TUPLE + _REDUCE


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("ascii")


def _tuple(*items: bytes) -> bytes:
    return b"".join([_MARK, *items, _TUPLE])


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


def _integer(value: int) -> bytes:
    """A whole number of 0 or more."""
    if value < 1 << 8:
        return b"K" + value.to_bytes(1, "little")
    if value < 1 << 16:
        return b"M" + value.to_bytes(2, "little")
    if value < 1 << 31:
        return b"J" + value.to_bytes(4, "little")
    return b"\x8a\x09" + value.to_bytes(9, "little")  # signed, so with a byte to spare
