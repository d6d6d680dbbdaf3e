"""What every table of facts in `data/` shares: a value's source and certainty, and how a file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import yaml
from pydantic import BeforeValidator

from stacks.plan.quantity import parse_memory
from stacks.plan.spec import Certainty, Strict

DATA = Path(__file__).parent / "data"
"""Where the tables lie."""

# The parser of libyaml where PyYAML has it: ten times as fast, and every preview reads the tables.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

T = TypeVar("T")


def _memory(value: Any) -> int:
    size = parse_memory(str(value))
    if size is None:
        raise ValueError(f"{value} is not a size such as 512Mi or 4Gi")
    return size


Memory = Annotated[int, BeforeValidator(_memory)]
"""Bytes, written as 512Mi or 4Gi."""


class Sourced(Strict):
    """Something read somewhere: where, and how certain it is."""

    source: str
    certainty: Certainty

    @property
    def confirmed(self) -> bool:
        """Whether contradicting it is an error; what is unconfirmed only warns."""
        return self.certainty != "U"


class Fact(Sourced, Generic[T]):
    """A value with its source and certainty."""

    value: T


def read_table(name: str) -> Any:
    """Reads `data/NAME.yaml`."""
    return yaml.load((DATA / f"{name}.yaml").read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - safe
