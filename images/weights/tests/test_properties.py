"""Headers of any kind: what is well-formed is read exactly, all else is refused in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_reader import Memory
from tool import safetensors
from weights.errors import Failure
from weights.safetensors import BITS, MAX_HEADER, read_header, write_header
from weights.tensors import read_tensors

SHAPES = st.lists(st.integers(0, 5), max_size=4)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter("__metadata__".__ne__)
TENSORS = st.dictionaries(NAMES, st.tuples(st.sampled_from(sorted(BITS)), SHAPES), max_size=6)


def filled(specs: dict[str, tuple[str, list[int]]]) -> dict[str, tuple[str, list[int], bytes]]:
    return {
        name: (dtype, shape, np.random.default_rng(0).bytes(BITS[dtype] // 8 * int(np.prod(shape))))
        for name, (dtype, shape) in specs.items()
    }


def tensors_of(content: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    source = Memory({"model.safetensors": content})
    (file,) = source.files()
    return {
        ref.name: (ref.dtype, list(ref.shape), content[ref.start : ref.start + ref.length])
        for ref in read_tensors(source, file)
    }


def refuse(content: bytes, *words: str) -> None:
    with pytest.raises(Failure) as caught:
        tensors_of(content)
    assert caught.value.kind == "unsupported"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    for word in ("model.safetensors", *words):
        assert word in str(caught.value)


def read_or_refused(content: bytes) -> dict[str, tuple[str, list[int], bytes]] | None:
    """The tensors; None after a refusal, which has to be the one for malformed files."""
    refusal = None
    try:
        return tensors_of(content)
    except Failure as failure:
        refusal = failure
    assert refusal.kind == "unsupported"
    return None


def framed(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: object, end: object, shape: object = (1,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@given(specs=TENSORS, padding=st.integers(0, 9))
def test_any_types_shapes_and_names_are_read_exactly_with_any_padding(specs, padding):
    expected = filled(specs)
    content = safetensors(expected)
    size = int.from_bytes(content[:8], "little")
    padded = framed(content[8 : 8 + size] + b" " * padding, content[8 + size :])
    assert tensors_of(padded) == expected


@given(specs=TENSORS)
def test_what_is_written_is_what_is_read_and_begins_at_a_multiple_of_eight(specs):
    expected = filled(specs)
    content = safetensors(expected)
    source = Memory({"model.safetensors": content})
    header = read_header(source, source.files()[0])
    written = write_header(header.tensors, header.metadata)
    assert len(written) % 8 == 0
    assert tensors_of(written + content[header.size :]) == expected


@given(content=st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(content):
    read_or_refused(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"dtype": JSON | st.just("F32"), "shape": JSON | SHAPES, "data_offsets": JSON | SHAPES}
)


@given(header=st.dictionaries(NAMES, FIELDS | JSON, max_size=4), data=st.binary(max_size=40))
def test_a_header_of_any_json_is_read_or_refused(header, data):
    read_or_refused(framed(json.dumps(header).encode(), data))


@given(specs=TENSORS, at=st.integers(0, 400), replaced=st.integers(0, 255))
def test_a_file_with_one_wrong_byte_in_its_header_is_refused_or_read_inside_its_bounds(specs, at, replaced):
    content = bytearray(safetensors(filled(specs)))
    size = 8 + int.from_bytes(content[:8], "little")
    content[at % size] = replaced
    found = read_or_refused(bytes(content))
    if found is None:
        return
    source = Memory({"a": bytes(content)})
    header = read_header(source, source.files()[0])
    assert sum(len(part) for _, _, part in found.values()) == len(content) - header.size


OVERLAPPING = framed(json.dumps({"a": entry(0, 4), "b": entry(0, 4)}).encode(), bytes(4))
HOSTILE = {
    "overlapping tensors": (OVERLAPPING, "neighbours"),
    "partly overlapping tensors": (
        framed(json.dumps({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}).encode(), bytes(12)),
        "neighbours",
    ),
    "a gap": (framed(json.dumps({"a": entry(0, 4), "b": entry(8, 12)}).encode(), bytes(12)), "neighbours"),
    "a gap at the front": (framed(json.dumps({"a": entry(4, 8)}).encode(), bytes(8)), "neighbours"),
    "bytes left over": (framed(json.dumps({"a": entry(0, 4)}).encode(), bytes(5)), "holds 5"),
    "an end out of range": (framed(json.dumps({"a": entry(0, 4)}).encode(), bytes(3)), "holds 3"),
    "an end before the beginning": (framed(json.dumps({"a": entry(4, 0)}).encode(), bytes(4)), "'a'"),
    "a negative offset": (framed(json.dumps({"a": entry(-4, 0)}).encode()), "header"),
    "a negative length": (framed(json.dumps({"a": entry(0, 4, [-1, -1])}).encode(), bytes(4)), "header"),
    "an offset beyond 64 bits": (framed(json.dumps({"a": entry(0, 1 << 80)}).encode()), "header"),
    "a shape whose product overflows 64 bits": (
        framed(json.dumps({"a": entry(0, 4, [1 << 32, 1 << 32, 1 << 32])}).encode(), bytes(4)),
        "'a'",
    ),
    "an empty tensor whose strides overflow 64 bits": (
        framed(json.dumps({"a": entry(0, 0, [0, 1 << 62, 1 << 62])}).encode()),
        "'a'",
    ),
    "very many dimensions": (framed(json.dumps({"a": entry(0, 4, [1] * 1000)}).encode(), bytes(4)), "header"),
    "a number of many digits": (framed(b'{"a":' + b"9" * 100_000 + b"}"), "header"),
    "fractions": (framed(json.dumps({"a": entry(0.5, 4.5)}).encode(), bytes(5)), "header"),
    "truth values": (framed(json.dumps({"a": entry(False, True, [1], "U8")}).encode(), b"x"), "header"),
    "an unknown type": (framed(json.dumps({"a": entry(0, 4, [1], "F31")}).encode(), bytes(4)), "F31"),
    "a name twice": (
        framed(b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 4)).encode(),) * 2), bytes(4)),
        "twice",
    ),
    "a field twice": (
        framed(b'{"a":{"dtype":"F32","dtype":"I32","shape":[],"data_offsets":[0,4]}}'),
        "twice",
    ),
    "metadata that is no text": (framed(b'{"__metadata__":{"a":1}}'), "header"),
    "no UTF-8": (framed(b'{"\xff":1}'), "header"),
    "UTF-16": (framed(json.dumps({"a": entry(0, 0, [0])}).encode("utf-16-le")), "header"),
    "half a surrogate pair": (framed(b'{"\\ud800":%b}' % json.dumps(entry(0, 0, [0])).encode()), "header"),
    "deep nesting": (framed(b'{"a":' + b"[" * 100_000), "header"),
    "spaces in front": (framed(b"   {}"), "header"),
    "a list": (framed(b"[]"), "header"),
    "nothing": (b"", "0 bytes"),
    "an empty header": (framed(b""), "header"),
    "half a length": (b"\x01\x00\x00", "3 bytes"),
    "a length of 2 to the 63": ((1 << 63).to_bytes(8, "little") + b"{}", str(1 << 63)),
    "a length beyond the file": ((3).to_bytes(8, "little") + b"{}", "claims 3"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_is_refused_with_its_reason(kind):
    refuse(*HOSTILE[kind])


def test_a_name_with_control_characters_reaches_no_terminal():
    name = "\x1b]0;owned\x07\n" * 1000
    with pytest.raises(Failure) as caught:
        tensors_of(framed(json.dumps({name: entry(1, 2)}).encode(), bytes(2)))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000


def test_a_huge_header_is_refused_before_it_is_read():
    class Counting(Memory):
        def read(self, file, start, length):
            assert length == 8
            return super().read(file, start, length)

    source = Counting({"a": (MAX_HEADER + 1).to_bytes(8, "little") + bytes(MAX_HEADER + 100)})
    with pytest.raises(Failure, match=str(MAX_HEADER + 1)):
        read_header(source, source.files()[0])


FULLEST = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from test_reader import Memory
from weights.safetensors import MAX_HEADER
from weights.tensors import read_tensors
one = '"%06x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
text = ("{" + ",".join(one % number for number in range(MAX_HEADER // 64)) + "}").encode()
assert MAX_HEADER * 0.9 < len(text) <= MAX_HEADER
source = Memory({"a": len(text).to_bytes(8, "little") + text})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tensors = read_tensors(source, source.files()[0])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_largest_header_costs_less_than_sixty_four_mib(request):
    done = subprocess.run(
        [sys.executable, "-c", FULLEST, str(request.path.parent)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64 * 1024
