"""Pickles that no state dict is, written opcode by opcode, and a watch for what a pickle could do."""

import encodings.cp437
import encodings.raw_unicode_escape  # noqa: F401 - Python's own decoders, else imported under watch
import pickle
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# What a pickle that was run could not do without (docs.python.org/3/library/audit_events.html).
_DEEDS = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "exec", "compile"}
    | {
        "pickle.find_class",
        "import",
        "os.remove",
        "os.mkdir",
        "socket.connect",
        "ctypes.dlopen",
        "marshal.loads",
    }
)
_seen: list[str] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _seen is not None and event in _DEEDS:
        _seen.append(f"{event} {arguments!r}"[:200])


sys.addaudithook(_note)  # it cannot be removed, so it is told when to look


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collects what is done within: processes, code, imports."""
    global _seen
    _seen = deeds = []
    try:
        yield deeds
    finally:
        _seen = None


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self._call


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def program(body: bytes) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + body + b"."


def tensor(name: str, shape: bytes, strides: bytes, *, key: str = "0", count: bytes = b"K\x04") -> bytes:
    """An item of a state dict: its name, and a tensor of float32 from the first element of a storage on."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + count + b"tQ"
    rest = b"K\x00" + shape + strides + b"\x89ccollections\nOrderedDict\n)R"
    return text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def state(shape: bytes, strides: bytes, **more: object) -> bytes:
    """A whole pickle of one tensor."""
    return program(b"}" + tensor("a", b"(" + shape + b"t", b"(" + strides + b"t", **more) + b"s")


ONE = tensor("a", b"(K\x04t", b"(K\x01t")
HUGE = b"\x8a\x08" + struct.pack("<q", 1 << 62)
HOSTILE = {
    "reduce os.system": (pickle.dumps({"a": Call(__import__("os").system, "touch RAN")}, 2), "posix.system"),
    "empty tensor with strides beyond 64 bits": (state(b"K\x00" + HUGE + HUGE, b"K\x01" * 3), "no tensor"),
    "reduce by protocol 4": (pickle.dumps({"a": Call(exec, "open('RAN', 'w')")}, 4), "builtins.exec"),
    "global eval": (program(b"cbuiltins\neval\n" + text("1+1") + b"\x85R"), "builtins.eval"),
    "global of python 2": (program(b"c__builtin__\neval\n" + text("1+1") + b"\x85R"), "__builtin__.eval"),
    "instance": (program(b"(X\x01\x00\x00\x00xios\nsystem\n"), "opcode INST"),
    "object": (program(b"(cos\nsystem\n" + text("x") + b"o"), "os.system"),
    "new object": (program(b"ccollections\nOrderedDict\n)\x81"), "opcode NEWOBJ"),
    "extension": (program(b"\x82\x01"), "opcode EXT1"),
    "text persistent id": (program(b"Pfile\n"), "opcode PERSID"),
    "attribute of a module": (program(b"\x8c\x05torch\x8c\x0bhub.load_st\x93"), "torch.hub.load_st"),
    "name with a blank": (program(b"ccollections OrderedDict\nx\n"), "asks for"),
    "torch.load again": (
        program(b"ctorch.serialization\nload\n" + text("x") + b"\x85R"),
        "torch.serialization",
    ),
    "call of a storage class": (program(b"ctorch\nFloatStorage\n(K\x04tR"), "no function"),
    "call of a tensor": (program(b"}(" + ONE + b"u)R"), "no function"),
    "attributes of a tensor": (program(b"}" + ONE + b"}bs"), "sets attributes"),
    "tensor of a number": (program(b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))tR"), "something else"),
    "parameter of a number": (program(b"ctorch._utils\n_rebuild_parameter\n(K\x01tR"), "something else"),
    "dictionary of pairs": (program(b"ccollections\nOrderedDict\n(](K\x01K\x02e\x85tR"), "unusual way"),
    "unhashable key": (program(b"}]K\x01s"), "no names"),
    "place in the memo": (program(b"h\x07"), "malformed"),
    "far place in the memo": (program(b"}r\xff\xff\xff\xff0"), "opcode POP"),
    "stack underflow": (program(b"\x87"), "malformed"),
    "no mark": (program(b"u"), "malformed"),
    "nothing left": (program(b""), "malformed"),
    "two left": (program(b"}}"), "malformed"),
    "text longer than the file": (b"\x80\x02X\xff\xff\xff\x7fabc.", "malformed"),
    "text of 2**63 bytes": (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "malformed"),
    "number of 2 GiB": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "opcode LONG4"),
    "decimal of a million digits": (program(b"I" + b"9" * 1_000_000 + b"\n"), "opcode INT"),
    "decimal long": (program(b"L" + b"9" * 1_000_000 + b"L\n"), "opcode LONG"),
    "frame of 2**63 bytes": (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.", "no dictionary|malformed"),
    "nested 100,000 deep": (program(b")" + b"\x85" * 100_000), "no dictionary"),
    "lists 100,000 deep": (program(b"]" + b"]" * 100_000 + b"a" * 100_000), "no dictionary"),
    "dictionary in itself": (program(b"}q\x00" + text("a") + b"h\x00s"), "is no tensor"),
    "a million opcodes": (program(b"(" + b"K\x01" * 1_000_000 + b"t"), "more than 500000 opcodes"),
    "shape of 100 dimensions": (state(b"K\x01" * 100, b"K\x01" * 100), "do not fit"),
    "huge shape": (state(HUGE * 64, b"K\x01" * 64), "larger"),
    "huge stride": (state(b"K\x02", HUGE), "larger"),
    "negative size": (state(b"J\xff\xff\xff\xff", b"K\x01"), "no size"),
    "size is true": (state(b"\x88", b"K\x01"), "no size"),
    "a terabyte of one number": (state(b"J\xff\xff\xff\x7f", b"K\x00"), "overlap"),
    "storage of another size": (state(b"K\x04", b"K\x01", count=b"K\x05"), "size"),
    "storage outside": (state(b"K\x04", b"K\x01", key="../x"), "missing"),
}
