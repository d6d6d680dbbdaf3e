"""How the weights are written: one module for each format, with a function ``plan``.

    def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]

A plan lists every file of the target except the manifest, the tokenizer's and the configuration's too, in the
order in which they are written. It refuses with ``Failure("unsupported", …)`` what the format cannot hold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from weights.contract import contract
from weights.manifest import Request
from weights.output import OutputFile
from weights.tensors import Checkpoint

Plan = Callable[[Checkpoint, Request], list[OutputFile]]

_MODULES = {
    "safetensors": "safetensors",
    "safetensors-int8": "int8",
    "torch-state-dict": "torch_state_dict",
    "jetstream": "jetstream",
    "jetstream-int8": "jetstream",
    "mar": "mar",
    "ctranslate2": "ctranslate2",
}


@dataclass(frozen=True)
class Format:
    """A format as the command line knows it.

    Attributes:
        module: Module with its ``plan``, imported only when it is wanted.
        dtypes: Element types that it can be asked for.
        meaning: What it is, for ``--help``.
    """

    module: str
    dtypes: tuple[str, ...]
    meaning: str

    @property
    def plan(self) -> Plan:
        """Its plan."""
        return cast(Plan, import_module(self.module).plan)


FORMATS = {
    name: Format(f"{__name__}.{_MODULES[name]}", tuple(terms.dtypes), terms.meaning)
    for name, terms in contract().formats.items()
}
