"""What a job that brings a model from the Hub to the bucket is told, and where the model then lies.

A checkpoint is staged in the element type that it has, unless the deployment names another.
"""

from __future__ import annotations

import hashlib
import math

from stacks.plan import naming
from stacks.plan.architecture import parameters
from stacks.plan.contracts import weights_contract
from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import MIB
from stacks.plan.spec import DTYPE_BYTES, Dtype, ModelSpec
from stacks.plan.types import StagedModelPlan

FORMAT = "safetensors"

HUB_BYTES_PER_SECOND = 25 * MIB
"""How fast a checkpoint streams from the Hub through a job to the bucket. Assumed, on the slow side."""

_MARGIN = 3
_START_SECONDS = 300
_SHORTEST_SECONDS = 900


def as_staged(model: ModelSpec, dtype: Dtype | None) -> ModelSpec:
    """Gives a model as it lies in the bucket: its weights in the element type that they are staged in.

    Args:
        model: as it is on the Hub.
        dtype: element type that the deployment names; None for the checkpoint's own.
    """
    if dtype is None or dtype == model.checkpoint_dtype:
        return model
    return model.model_copy(update={"checkpoint_dtype": dtype, "checkpoint_bytes": None})


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


def staged_model(model: ModelSpec, bucket: str, *, retain: bool, timeout_seconds: int) -> StagedModelPlan:
    """Decides where a model lies once it is staged.

    Args:
        model: what lies there, as `as_staged` gives it.
        bucket: name of the stack's bucket.
        retain: keep the objects when the deployment goes.
        timeout_seconds: how long a deployment waits for it.
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
        timeout_seconds=timeout_seconds,
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
