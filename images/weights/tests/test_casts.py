"""Casts between floating-point types, against numpy's, against exact arithmetic and against PyTorch's."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import consume
from weights.casts import cast_part

SCRIPT = (Path(__file__).parent / "consumers" / "casts.py").read_text()
_KINDS = {"F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}
_PAIRS = [(source, target) for source in _KINDS for target in _KINDS if source != target]


def value(bits: int, kind: str) -> Fraction | None:
    """A finite number as what it is."""
    if kind == "F16":
        number = float(np.uint16(bits).view(np.float16))
    else:
        number = float(np.uint32(bits << 16 if kind == "BF16" else bits).view(np.float32))
    return Fraction(number) if np.isfinite(number) else None


def cast(bits: int, source: str, target: str) -> tuple[int, int]:
    given_bytes = np.array([bits], _KINDS[source]).tobytes()
    result, overflows = cast_part(given_bytes, source, target)
    return int(np.frombuffer(result, _KINDS[target])[0]), overflows


def all_narrow(kind: str) -> list[tuple[Fraction, int]]:
    numbers = ((value(bits, kind), bits) for bits in range(0x8000))  # the positive ones, in order
    return [(number, bits) for number, bits in numbers if number is not None]


NARROW = {kind: all_narrow(kind) for kind in ("F16", "BF16")}


def nearest(number: Fraction, kind: str) -> set[int]:
    """Bits of the nearest numbers of a type; both neighbours on a tie."""
    low, high = 0, len(NARROW[kind]) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if NARROW[kind][middle][0] <= number else (low, middle)
    distances = {bits: abs(other - number) for other, bits in (NARROW[kind][low], NARROW[kind][high])}
    return {bits for bits, distance in distances.items() if distance == min(distances.values())}


@given(bits=st.integers(0, 0x7F7FFFFF), target=st.sampled_from(["F16", "BF16"]))
def test_a_float32_becomes_the_nearest_number_and_on_a_tie_the_even_one(bits, target):
    number = value(bits, "F32")
    assert number is not None
    result, overflows = cast(bits, "F32", target)
    largest, previous = NARROW[target][-1][0], NARROW[target][-2][0]
    if number >= largest + (largest - previous) / 2:
        assert (value(result, target), overflows) == (None, 1)
        return
    best = nearest(number, target)
    assert result in best
    assert len(best) == 1 or result % 2 == 0
    assert overflows == 0


@given(low=st.integers(0, 0x7F7E), odd=st.booleans())
def test_a_number_half_way_between_two_goes_to_the_even_one(low, odd):
    bits = low - low % 2 + odd
    assert cast(bits << 16 | 0x8000, "F32", "BF16")[0] == bits + bits % 2


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_every_16_bit_number_survives_the_way_to_float32_and_back(kind):
    before = np.arange(0x10000, dtype=np.uint16)
    wide, _ = cast_part(before.tobytes(), kind, "F32")
    after = np.frombuffer(cast_part(wide, "F32", kind)[0], np.uint16)
    quiet = 0x200 if kind == "F16" else 0x40
    missing = np.isnan(np.frombuffer(wide, np.float32))
    assert (after[~missing] == before[~missing]).all()
    assert (after[missing] | quiet == before[missing] | quiet).all()


@given(bits=st.integers(0, 0xFFFFFFFF), target=st.sampled_from(["F16", "BF16"]))
def test_sign_infinity_and_nan_are_kept(bits, target):
    before = np.uint32(bits).view(np.float32)
    result = cast(bits, "F32", target)[0]
    assert result >> 15 == bits >> 31
    if np.isnan(before):
        assert result & 0x7FFF > {"F16": 0x7C00, "BF16": 0x7F80}[target]
    if np.isinf(before):
        assert result & 0x7FFF == {"F16": 0x7C00, "BF16": 0x7F80}[target]


def test_only_finite_elements_that_became_infinite_are_counted():
    given_bytes = np.array([1e5, -1e5, np.inf, -np.inf, np.nan, 65504.0], "<f4").tobytes()
    assert cast_part(given_bytes, "F32", "F16")[1] == 2
    assert cast_part(given_bytes, "F32", "BF16")[1] == 0


@pytest.mark.parametrize(("source", "target"), _PAIRS)
def test_casts_are_bit_for_bit_those_of_pytorch(tmp_path, source, target):
    if source == "F32":
        # Every upper half with lower halves around a tie, and as many at random.
        upper = np.arange(0x10000, dtype=np.uint32)[:, None] << 16
        lower = np.array([0, 1, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
        rest = np.random.default_rng(0).integers(0, 1 << 32, 1 << 19, np.uint32)
        before = np.concatenate([(upper | lower).ravel(), rest])
    else:
        before = np.arange(0x10000, dtype=np.uint16)
    (tmp_path / "before").write_bytes(before.tobytes())
    (tmp_path / "after").write_bytes(cast_part(before.tobytes(), source, target)[0])
    consume(SCRIPT, tmp_path / "before", tmp_path / "after", source, target)
