"""Casts between float32, float16 and bfloat16, rounded as PyTorch does: to nearest, ties to even."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Elements converted at once: small enough that the temporary arrays stay in a processor's cache.
_BLOCK = 64 * 1024

_QUIET = np.uint32(
    0x0040_0000
)  # the bit that makes a float32 NaN a quiet one; it survives the cut to 16 bits


def cast_part(part: bytes | bytearray | memoryview, source: str, target: str) -> tuple[bytearray, int]:
    """Convert whole elements.

    Signs of zero, subnormal numbers, infinities and NaN are kept; a NaN's payload is cut, and it gets quiet.
    Source of the rounding: IEEE 754, section 4.3.1.

    Args:
        part: Bytes of whole elements, little-endian.
        source: Their type: F32, F16 or BF16.
        target: The type wanted: F32, F16 or BF16.

    Returns:
        The converted bytes, and how many finite elements became infinite because the new type ends sooner.
    """
    read, write = _DTYPES[source], _DTYPES[target]
    given = np.frombuffer(part, read)
    result = bytearray(given.size * write.itemsize)
    into = np.frombuffer(result, write)
    overflows = 0
    for start in range(0, given.size, _BLOCK):
        block = given[start : start + _BLOCK]
        if source == target:
            into[start : start + _BLOCK] = block
            continue
        wide = _widen(block, source)
        narrow = _narrow(wide, target)
        into[start : start + _BLOCK] = narrow
        if target != "F32":
            overflows += _count_overflows(wide, narrow, target)
    return result, overflows


# bfloat16 is the upper half of a float32 and no type of numpy's, so it travels as an integer.
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_INFINITY = {"F16": np.uint16(0x7C00), "BF16": np.uint16(0x7F80)}  # without the sign


def _widen(block: NDArray[Any], source: str) -> NDArray[np.float32]:
    if source == "BF16":
        wide: NDArray[np.float32] = (block.astype("<u4") << np.uint32(16)).view("<f4")
        return wide
    return block.astype(np.float32, copy=False)


def _narrow(wide: NDArray[np.float32], target: str) -> NDArray[Any]:
    if target == "F32":
        return wide
    if target == "F16":
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            half: NDArray[np.float16] = wide.astype(np.float16)
            return half
    bits = wide.view("<u4")
    # Half a unit in the last place that stays, less one if that place is even: a tie then rounds to even.
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    missing = np.isnan(wide)
    if missing.any():
        rounded[missing] = bits[missing] | _QUIET  # the addition could carry a NaN over to a zero
    brain: NDArray[np.uint16] = (rounded >> np.uint32(16)).astype("<u2")
    return brain


def _count_overflows(wide: NDArray[np.float32], narrow: NDArray[Any], target: str) -> int:
    after = (narrow.view("<u2") & np.uint16(0x7FFF)) == _INFINITY[target]  # twice as fast as numpy's isinf
    count = int(np.count_nonzero(after))
    return count - int(np.count_nonzero(np.isinf(wide))) if count else 0
