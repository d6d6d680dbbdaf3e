"""The job that brings a model from the Hub to the bucket, and where the model then lies.

The job streams: it holds at most 256 MiB whatever the checkpoint's size, and writes to no local disk. A
checkpoint is staged in the element type that it has.
"""

from __future__ import annotations

import hashlib
import math

from stacks.plan import naming
from stacks.plan.architecture import parameters
from stacks.plan.contracts import weights_contract
from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import MIB, memory_text
from stacks.plan.sizing.staging import streaming_lines
from stacks.plan.sizing.terms import total
from stacks.plan.spec import DTYPE_BYTES, ModelSpec
from stacks.plan.types import Sizing, StagedModelPlan

FORMAT = "safetensors"

HUB_BYTES_PER_SECOND = 25 * MIB
"""How fast a checkpoint streams from the Hub through a job to the bucket. Assumed, on the slow side."""

MAX_RETRIES = 1

_MARGIN = 3
_START_SECONDS = 300
_SHORTEST_SECONDS = 900


def checkpoint_bytes(model: ModelSpec) -> int:
    """Gives the size of the files to stage: as stated, else parameters times their size."""
    return model.checkpoint_bytes or parameters(model) * DTYPE_BYTES[model.checkpoint_dtype]


def prefix(model: ModelSpec) -> str:
    """Gives the object prefix of a staged model, with a trailing slash.

    Raises:
        ValueError: the model has no revision; `resolve_model` refuses such a one.
    """
    if not model.revision:
        raise ValueError(f"{model.repository} has no revision")
    folder = naming.model_folder(model.repository)
    return f"models/{folder}/{model.revision}/{FORMAT}-{model.checkpoint_dtype}/"


def staged_model(model: ModelSpec, bucket: str, *, retain: bool) -> StagedModelPlan:
    """Decides where a model lies once it is staged.

    Args:
        model: what to stage.
        bucket: name of the stack's bucket.
        retain: keep the objects when the deployment goes.
    """
    place = prefix(model)
    return StagedModelPlan(
        repository=model.repository,
        revision=str(model.revision),
        format=FORMAT,
        dtype=model.checkpoint_dtype,
        bucket=bucket,
        prefix=place,
        uri=f"gs://{bucket}/{place.rstrip('/')}",
        retain=retain,
        timeout_seconds=(MAX_RETRIES + 1) * task_timeout(model) + _START_SECONDS,
    )


def task_timeout(model: ModelSpec) -> int:
    """Gives the seconds that one attempt may take: three times the estimate, in whole minutes."""
    estimate = _MARGIN * math.ceil(checkpoint_bytes(model) / HUB_BYTES_PER_SECOND) + _START_SECONDS
    longest = cloud_run_limits().job_task_timeout_max.value
    return min(max(math.ceil(estimate / 60) * 60, _SHORTEST_SECONDS), longest)


def job_args(staged: StagedModelPlan) -> tuple[str, ...]:
    """Writes the arguments of the weights image."""
    return (
        weights_contract().command,
        *("--repo", staged.repository),
        *("--revision", staged.revision),
        *("--target", staged.uri),
        *("--format", staged.format),
        *("--dtype", staged.dtype),
    )


def target_label(staged: StagedModelPlan) -> str:
    """Identifies what an execution stages: 16 hex digits of a hash of target and source.

    An interrupted deployment finds its running execution again by this label.
    """
    identity = f"{staged.uri} {staged.repository}@{staged.revision}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def sizing() -> Sizing:
    """Says why the job is the smallest instance there is."""
    limits, lines = cloud_run_limits(), streaming_lines()
    memory = limits.memory_min.value
    return Sizing(
        lines=lines,
        need_bytes=total(lines),
        have_bytes=memory,
        machine=f"{limits.least_cpu(memory)} CPU, {memory_text(memory)}",
    )
