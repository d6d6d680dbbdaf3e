"""What bringing a checkpoint from the Hub to a bucket needs."""

from __future__ import annotations

from stacks.plan.architecture import parameters
from stacks.plan.hardware import ComputeMachine
from stacks.plan.limits import vertex_limits
from stacks.plan.quantity import MIB, human
from stacks.plan.sizing import terms
from stacks.plan.spec import DTYPE_BYTES, ModelSpec
from stacks.plan.types import SizingLine

PIPELINE_BYTES = 256 * MIB
"""Limit that the weights image keeps for its whole process, which a test of the image holds it to."""


def streaming_lines() -> tuple[SizingLine, ...]:
    """Lists what the weights job needs: it streams, so the checkpoint's size is no part of it."""
    text = f"{human(PIPELINE_BYTES)} for the whole process, whatever the checkpoint's size"
    return (SizingLine("pipeline", PIPELINE_BYTES, text),)


def vertex_lines(machine: ComputeMachine) -> tuple[SizingLine, ...]:
    """Lists what the weights job needs on a machine that Vertex AI's agents run on, too."""
    share, have = vertex_limits().system_share.value, machine.memory_bytes
    text = f"{share} % of {human(have)}, which Vertex AI's agents can take on a small machine"
    return (*streaming_lines(), SizingLine("system", have * share // 100, text))


def whole_model_lines(model: ModelSpec, dtype: str) -> tuple[SizingLine, ...]:
    """Lists what a loader needs that reads a model with `from_pretrained` and writes it with `torch.save`.

    The checkpoint's tensors and the model that they are converted into are in memory at once.

    Args:
        model: what is loaded.
        dtype: element type it is converted to.
    """
    count, stored = parameters(model), DTYPE_BYTES[model.checkpoint_dtype]
    read = SizingLine(
        "checkpoint", count * stored, f"{count:,} parameters × {stored} bytes ({model.checkpoint_dtype})"
    )
    return terms.with_headroom([terms.weights(model, dtype), read, terms.runtime()])
