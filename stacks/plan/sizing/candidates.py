"""The choice that every purpose makes in the same way: the smallest machine that fits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stacks.plan.quantity import human
from stacks.plan.sizing.terms import sum_text, total
from stacks.plan.types import SizingLine


@dataclass(frozen=True, slots=True)
class Candidate:
    """A machine, what it would have to hold, and what it has; sizes in bytes.

    `per` says what the sum is for: an instance, a worker, one GPU, one chip.
    """

    machine: str
    lines: tuple[SizingLine, ...]
    have: int
    per: str
    obstacle: str = ""
    """Why it does not do although the sum would fit; empty where nothing stands in the way."""
    remedy: str = ""
    """What helps against the obstacle, where that is no question of size."""
    notes: tuple[str, ...] = ()
    dtype: str = ""
    """Element type, where it depends on the machine."""
    devices: int = 1
    """GPUs or chips that share the model."""

    @property
    def need(self) -> int:
        """The sum, in bytes."""
        return total(self.lines)

    @property
    def fits(self) -> bool:
        """Whether the machine does."""
        return not self.obstacle and self.need <= self.have

    @property
    def reason(self) -> str:
        """Why it does not do; empty where it does."""
        if self.need > self.have:
            return (
                f"needs {human(self.need)} for each {self.per} ({sum_text(self.lines)}) "
                f"and {self.machine} has {human(self.have)}"
            )
        return f"{self.machine} {self.obstacle}" if self.obstacle else ""


def smallest(candidates: Iterable[Candidate]) -> Candidate:
    """Chooses the first that fits, else the one that comes nearest.

    Args:
        candidates: at least one, the smallest first.
    """
    tried = []
    for candidate in candidates:
        if candidate.fits:
            return candidate
        tried.append(candidate)
    return max(tried, key=lambda one: one.have - one.need)
