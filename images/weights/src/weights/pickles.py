"""Pickles of PyTorch checkpoints, read without running them.

A pickle is a program that may call any function it names. This interpreter knows the opcodes that a state
dict is made of, and of functions only those in ``_FUNCTIONS``, which are its own; whatever else a pickle
names is refused, and nothing of it is imported or called. A program is bounded in length, and so is what it
can build. Source: the opcode table of ``pickletools`` in Python's library; ``torch._utils`` of PyTorch 2.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from weights.torch_types import DTYPES

# Some forty are needed for a tensor, so this is a file of ten thousand. An opcode builds 100 bytes or so.
MAX_OPCODES = 500_000
MAX_DIMENSIONS = 64  # PyTorch's own limit


class RefusedPickleError(Exception):
    """It is no pickle of a state dict; the message says why."""


@dataclass(frozen=True)
class Storage:
    """A run of elements that tensors view: record's key, safetensors' name of the type, how many."""

    key: str
    dtype: str
    elements: int


@dataclass(frozen=True)
class View:
    """A tensor: first element in its storage, and length and step of each dimension, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _StorageClass:
    dtype: str


@dataclass(frozen=True)
class _Function:
    call: Callable[..., Any]


def read_pickle(stream: BinaryIO) -> Any:
    """Interpret the pickle that begins where the stream stands; afterwards it stands behind it.

    Returns:
        Dictionaries with text as keys, lists, tuples, text, numbers, ``View`` for a tensor.

    Raises:
        RefusedPickleError: For anything that a state dict does not need.
    """
    machine = _Machine()
    try:
        for _ in range(MAX_OPCODES):
            # One at a time and not by pickletools.genops, which would decode what is then refused.
            opcode = _OPCODES[stream.read(1).decode("latin-1")]
            machine.check(opcode.name)
            machine.step(opcode.name, opcode.arg.reader(stream) if opcode.arg is not None else None)
            if opcode.name == "STOP":
                return machine.result()
        raise RefusedPickleError(f"it has more than {MAX_OPCODES} opcodes")
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error) as error:
        raise RefusedPickleError(f"its pickle is malformed ({type(error).__name__})") from None


def state_dict(content: Any) -> dict[str, View]:
    """Make sure that what a pickle builds is a dictionary of tensors, and nothing but tensors.

    Raises:
        RefusedPickleError: If it is not.
    """
    if not isinstance(content, dict) or not content:
        raise RefusedPickleError("it holds no dictionary of tensors")
    for name, value in content.items():
        if not isinstance(value, View):
            raise RefusedPickleError(f"its entry {name[:100]!r} is no tensor, so it is no plain state dict")
    return content


def storages(views: Mapping[str, View]) -> list[Storage]:
    """The storages that tensors are in, each once."""
    return list(dict.fromkeys(view.storage for view in views.values()))


def _ordered_dict(*items: Any) -> dict[str, Any]:
    if items not in ((), ([],)):
        raise RefusedPickleError("it makes a dictionary in an unusual way")
    return {}


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_rest: Any) -> View:
    """``_rebuild_tensor_v2``; what follows is about gradients, which weights do not need."""
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise RefusedPickleError("it makes a tensor of something else than a storage, a shape and strides")
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise RefusedPickleError("it makes a tensor whose strides do not fit its shape")
    return View(storage, _whole(offset), tuple(map(_whole, shape)), tuple(map(_whole, stride)))


def _parameter(tensor: Any, *_rest: Any) -> View:
    if not isinstance(tensor, View):
        raise RefusedPickleError("it makes a parameter of something else than a tensor")
    return tensor


def _whole(value: Any) -> int:
    """A whole number of 0 or more that PyTorch can have."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise RefusedPickleError("it makes a tensor with a size that is no size")
    return value


_FUNCTIONS = {
    "collections OrderedDict": _Function(_ordered_dict),
    "torch._utils _rebuild_tensor_v2": _Function(_tensor),
    "torch._utils _rebuild_parameter": _Function(_parameter),
}
_GLOBALS: dict[str, _Function | _StorageClass] = {
    **_FUNCTIONS,
    **{f"torch {name}": _StorageClass(dtype) for name, dtype in DTYPES.items()},
    **{f"torch.cuda {name}": _StorageClass(dtype) for name, dtype in DTYPES.items()},
}
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_VALUES = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"}
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_REMEMBER = frozenset({"BINPUT", "LONG_BINPUT"})
_RECALL = frozenset({"BINGET", "LONG_BINGET"})
_KNOWN = _VALUES.union(_CONSTANTS, _SHORT_TUPLES, _REMEMBER, _RECALL, {"GLOBAL"})


class _Machine:
    """The stack, its marks and the memo."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[], None]] = {
            "PROTO": lambda: None,
            "FRAME": lambda: None,
            "STOP": lambda: None,
            "MARK": lambda: self._marks.append(len(self._stack)),
            "EMPTY_DICT": lambda: self._stack.append({}),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "TUPLE": lambda: self._stack.append(tuple(self._since_mark())),
            "MEMOIZE": lambda: self._remember(len(self._memo)),
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._reduce,
            "BINPERSID": self._persistent,
            "APPEND": lambda: self._append([self._stack.pop()]),
            "APPENDS": lambda: self._append(self._since_mark()),
            "SETITEM": lambda: self._set_items([self._stack.pop() for _ in range(2)][::-1]),
            "SETITEMS": lambda: self._set_items(self._since_mark()),
            "BUILD": self._build,
        }

    def check(self, opcode: str) -> None:
        """Refuse an opcode that no state dict needs, before its argument is read."""
        if opcode not in _KNOWN and opcode not in self._steps:
            raise RefusedPickleError(f"it uses the pickle opcode {opcode}, which no state dict needs")

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says that ``check`` has let pass."""
        if opcode in _VALUES:
            self._stack.append(argument)
        elif opcode in _REMEMBER:
            self._remember(argument)
        elif opcode in _RECALL:
            self._stack.append(self._memo[argument])
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif opcode in _SHORT_TUPLES:
            items = [self._stack.pop() for _ in range(_SHORT_TUPLES[opcode])]
            self._stack.append(tuple(reversed(items)))
        elif opcode == "GLOBAL":
            self._global(argument)
        else:
            self._steps[opcode]()

    def result(self) -> Any:
        """What the program leaves."""
        if len(self._stack) != 1 or self._marks:
            raise ValueError("unbalanced")
        return self._stack[0]

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _remember(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError
        self._global(f"{module} {name}")

    def _global(self, name: str) -> None:
        if name not in _GLOBALS:
            raise RefusedPickleError(
                f"its pickle asks for {name[:100].replace(' ', '.')!r}, which no state dict needs and which "
                "may run code; nothing of it was run"
            )
        self._stack.append(_GLOBALS[name])

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Function) or not isinstance(arguments, tuple):
            raise RefusedPickleError("it calls something that is no function")
        self._stack.append(function.call(*arguments))

    def _persistent(self) -> None:
        """``("storage", class, key, device, elements)``; in the old format a part of it follows, or None."""
        identity = self._stack.pop()
        kind, storage, key, _device, elements, *part = identity
        if kind != "storage" or not isinstance(storage, _StorageClass) or not isinstance(key, str):
            raise RefusedPickleError("it refers to something that is no storage of numbers")
        if part not in ([], [None]):
            raise RefusedPickleError("it refers to a part of a storage, as PyTorch before 0.4 wrote it")
        self._stack.append(Storage(key, storage.dtype, _whole(elements)))

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                # An optimizer's state has numbers; a nested tuple would be a trap: hashing it takes time.
                raise RefusedPickleError("it has a dictionary whose keys are no names")
            target[key] = value

    def _build(self) -> None:
        """Attributes of a dictionary: a state dict's ``_metadata``, which loading does not need."""
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise RefusedPickleError("it sets attributes of something else than a state dict")
