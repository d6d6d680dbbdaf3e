"""What a person should know of the engines that were not chosen."""

from __future__ import annotations

from stacks.plan.engines import CTRANSLATE2
from stacks.plan.hardware import engines
from stacks.plan.quantity import human
from stacks.plan.sizing.cloud_run import on_cpu
from stacks.plan.sizing.terms import total
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import TokenLimits


def on_a_cpu(model: ModelSpec, tokens: TokenLimits, engine: str, queue: int) -> str | None:
    """Tells of the engine that is made for encoder-decoders on a CPU, where it could run a model instead.

    Args:
        model: what is served on a CPU.
        tokens: limits of one request.
        engine: what was chosen.
        queue: requests that a container holds.
    """
    other = engines()[CTRANSLATE2]
    if engine == CTRANSLATE2 or not (other.built and other.takes(model)):
        return None
    small = on_cpu(model, tokens, "int8", CTRANSLATE2, queue)
    return (
        f"engine: {CTRANSLATE2} is made for such models on a CPU; with dtype: int8 beside it, an instance "
        f"needs {human(total(small.lines))}, and some answers differ"
    )
