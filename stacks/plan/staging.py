"""What a job that brings a model from the Hub to the bucket is told, and where the model then lies.

A checkpoint is staged as safetensors in the element type that it has, unless the deployment names another
one, or an engine that reads a format of its own.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from stacks.plan import naming
from stacks.plan.architecture import parameters, quantised_bytes
from stacks.plan.contract_data import weights_contract
from stacks.plan.hardware import engines
from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import MIB
from stacks.plan.spec import DTYPE_BYTES, Dtype, ModelSpec
from stacks.plan.types_weights import StagedModelPlan

IMPORT = "import"
"""The weights image's command for a checkpoint that is in a bucket already."""

SAFETENSORS = "safetensors"
"""The format that keeps a checkpoint as it is; any other is converted to what its engine computes in."""

JETSTREAM = "jetstream"
JETSTREAM_INT8 = "jetstream-int8"
"""The format whose matrices have eight bits; what else is in it has the element type of computing."""

SCALE_PERCENT = 1
"""Scales beside weights in int8, one for each row of a matrix, in percent of the weights. Assumed."""

HUB_BYTES_PER_SECOND = 25 * MIB
"""How fast a checkpoint streams from the Hub through a job to the bucket. Assumed, on the slow side."""

_MARGIN = 3
_START_SECONDS = 300
_SHORTEST_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Form:
    """How weights lie in the bucket."""

    format: str
    dtype: str


def form(model: ModelSpec, engine: str, dtype: str) -> Form:
    """Gives the form that an engine reads.

    Args:
        model: as its weights are staged where that is as safetensors, by `as_staged`.
        engine: its name.
        dtype: element type of computing.
    """
    staged = engines()[engine].formats[0]
    if staged == JETSTREAM:
        return Form(JETSTREAM_INT8 if dtype == "int8" else JETSTREAM, "bfloat16")
    return Form(staged, model.checkpoint_dtype if staged == SAFETENSORS else dtype)


def staged_bytes(model: ModelSpec, form: Form) -> int:
    """Gives the bytes of weights that lie in the bucket, which is what a start reads."""
    if form.format == JETSTREAM_INT8:
        return parameters(model) * (100 + SCALE_PERCENT) // 100
    if form.dtype in DTYPE_BYTES:
        return parameters(model) * DTYPE_BYTES[form.dtype]
    return quantised_bytes(model)


def as_staged(model: ModelSpec, dtype: Dtype | None) -> ModelSpec:
    """Gives a model as safetensors of it lie in the bucket: in the element type that they are staged in.

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


def prefix(model: ModelSpec, form: Form) -> str:
    """Gives the object prefix of a model that is staged in a form, with a trailing slash.

    Raises:
        ValueError: the model has no revision; `resolve_model` refuses such a one.
    """
    if not model.revision:
        raise ValueError(f"{model.repository} has no revision")
    folder = naming.model_folder(model.repository)
    return f"models/{folder}/{model.revision}/{form.format}-{form.dtype}/"


def from_source(model: ModelSpec, source: str) -> ModelSpec:
    """Gives a model whose checkpoint comes from a bucket: with a revision that says from where.

    The revision is a digest of the address, so that what is staged from another upload lies elsewhere.

    Args:
        model: what the checkpoint is of.
        source: `gs://BUCKET/PREFIX`.
    """
    identity = f"{source} {model.repository}@{model.revision}"
    return model.model_copy(update={"revision": hashlib.sha256(identity.encode()).hexdigest()[:40]})


def staged_model(
    model: ModelSpec, form: Form, bucket: str, *, retain: bool, timeout_seconds: int
) -> StagedModelPlan:
    """Decides where a model lies once it is staged.

    Args:
        model: what lies there.
        form: how.
        bucket: name of the stack's bucket.
        retain: keep the objects when the deployment goes.
        timeout_seconds: how long a deployment waits for it.
    """
    place = prefix(model, form)
    return StagedModelPlan(
        repository=model.repository,
        revision=str(model.revision),
        format=form.format,
        dtype=form.dtype,
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


def job_args(staged: StagedModelPlan, source: str | None = None) -> tuple[str, ...]:
    """Writes the arguments of the weights image.

    Args:
        staged: what it makes.
        source: `gs://BUCKET/PREFIX` of a checkpoint; None for the Hub's.
    """
    return (
        *((IMPORT, "--source", source) if source else (weights_contract().command,)),
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
