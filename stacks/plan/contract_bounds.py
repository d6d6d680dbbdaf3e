"""What bounds a server: the platform's times, and the memory that its machine was chosen for."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.config_errors import Problem
from stacks.plan.batching import batch_of
from stacks.plan.limits import cloud_run_limits
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import CloudRunPlan

TOKEN_LIMITS = ("MAX_INPUT_TOKENS", "MAX_NEW_TOKENS")
"""Variables that say how long prompts and answers may be."""


def seconds(path: str, plan: CloudRunPlan) -> Iterator[Problem]:
    """The server must give up before the platform does, or nobody learns why."""
    bounds = (
        ("REQUEST_SECONDS", f"{path}.timeoutSeconds", plan.timeout_seconds),
        ("GRACE_SECONDS", path, cloud_run_limits().grace_seconds.value + 1),
    )
    for name, where, bound in bounds:
        seconds = _number(plan.env.get(name))
        if seconds is None:
            yield Problem(where, plan.env.get(name), f"is no number for {name}", "write seconds")
        elif seconds >= bound:
            yield Problem(where, str(seconds), f"is more in {name} than the platform gives", f"below {bound}")


def batches(path: str, plan: CloudRunPlan) -> Iterator[Problem]:
    """What the server runs at once must be what its machine was chosen for."""
    names = ("MAX_BATCH", "MAX_BATCH_TOKENS", "CACHE_TOKENS", *TOKEN_LIMITS, "MAX_QUEUE")
    read = {name: _number(plan.env.get(name)) for name in names}
    numbers = {name: int(value) for name, value in read.items() if value is not None}
    for name in sorted(set(names) - set(numbers)):
        yield Problem(path, plan.env.get(name), f"is no number for {name}", "write a whole number")
    if len(numbers) < len(names):
        return
    right = batch_of(numbers["MAX_BATCH"], TokenLimits(*(numbers[name] for name in TOKEN_LIMITS)))
    for name, value in right.environment().items():
        if numbers[name] != int(value):
            yield Problem(
                path, str(numbers[name]), f"is not the {name} that the sizing counts", f"be {value}"
            )
    if numbers["MAX_BATCH"] > numbers["MAX_QUEUE"]:
        yield Problem(
            path,
            str(numbers["MAX_BATCH"]),
            f"is above MAX_QUEUE ({numbers['MAX_QUEUE']}) in MAX_BATCH: memory is kept for requests that are "
            "never held",
            f"at most {numbers['MAX_QUEUE']}",
        )


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
