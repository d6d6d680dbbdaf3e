"""What a plan decides about Google's converter, where that writes a deployment's checkpoint.

Sizes are bytes and times are seconds, unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.plan.types_gke import IdentityPlan


@dataclass(frozen=True, slots=True)
class ConverterPlan:
    """The job that runs Google's converter on what is staged, and where its checkpoint lies."""

    image: str
    job_name: str
    """It follows from all that decides what the job writes, so that it runs once for each."""
    command: tuple[str, ...]
    args: tuple[str, ...]
    format: str
    """What it writes: `jetstream` or `jetstream-int8`."""
    prefix: str
    """Object prefix in the stack's bucket without leading slash, with trailing slash."""
    memory: int
    scratch: int
    """What it writes on its node's disk."""
    deadline_seconds: int
    identity: IdentityPlan
