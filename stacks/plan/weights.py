"""The job that stages a deployment's weights, decided from its configuration and its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stacks.plan import naming, runners, staging
from stacks.plan.engines import CTRANSLATE2
from stacks.plan.report import Report
from stacks.plan.spec import DTYPE_BYTES, ComputingDtype, Dtype, ModelSpec
from stacks.plan.types import AccountPlan, HubTokenPlan
from stacks.plan.types_weights import KubernetesJobPlan, StagedModelPlan, WeightsJobPlan

if TYPE_CHECKING:
    from stacks.plan.cloud_run import Setting

WEIGHTS_IMAGE = "weights"
TOKEN_REFERENCE = "HF_TOKEN_SECRET"  # noqa: S105 - the name of a variable
"""Variable that names the secret's version, for a platform that hands no secret to a container itself."""


def checkpoint_dtype(
    model: ModelSpec, wanted: ComputingDtype | None, path: str, report: Report
) -> Dtype | None:
    """Gives the element type that safetensors are staged in where a deployment names one.

    Warns of one that only makes the staged weights larger. What no safetensors are staged in is for
    `check_form` to judge.
    """
    if wanted is None or wanted == "int8":
        return None
    if DTYPE_BYTES[wanted] > DTYPE_BYTES[model.checkpoint_dtype]:
        report.warn(
            f"{path}.weights.dtype: {wanted} makes the weights larger and no more exact than "
            f"{model.repository} has them, in {model.checkpoint_dtype}"
        )
    return wanted


def check_form(
    form: staging.Form, engine: str, wanted: ComputingDtype | None, path: str, report: Report
) -> None:
    """Reports a `weights.dtype` that the deployment's engine does not have its weights in."""
    if wanted is None or wanted == form.dtype:
        return
    if form.format == staging.SAFETENSORS:
        report.problem(
            f"{path}.weights.dtype",
            wanted,
            f"is no element type of the weights that {engine} reads",
            f"write {', '.join(DTYPE_BYTES)}, or leave it out; {wanted} needs engine: {CTRANSLATE2} "
            f"and dtype: {wanted}",
        )
    else:
        report.problem(
            f"{path}.weights.dtype",
            wanted,
            f"is not what {engine} computes in here, and its weights are staged in just that",
            f"write {form.dtype} or leave it out, or set dtype: {wanted} if {engine} computes in it",
        )


def staged_model(
    model: ModelSpec, form: staging.Form, runner: str, bucket: str, *, retain: bool
) -> StagedModelPlan:
    """Decides where a deployment's weights lie, and how long it waits for them.

    Args:
        model: as it is on the Hub.
        form: how they lie there.
        runner: where the job runs.
        bucket: name of the stack's bucket.
        retain: keep the objects when the deployment goes.
    """
    wait = runners.wait_seconds(runner, staging.task_timeout(model))
    return staging.staged_model(model, form, bucket, retain=retain, timeout_seconds=wait)


def weights_job(
    name: str,
    runner: str,
    model: ModelSpec,
    staged: StagedModelPlan,
    account: AccountPlan | None,
    labels: Mapping[str, str],
    setting: Setting,
    *,
    source: str | None = None,
    kubernetes: KubernetesJobPlan | None = None,
) -> WeightsJobPlan:
    """Plans the job of one deployment.

    Args:
        name: the deployment's.
        runner: where the job runs.
        model: as it is on the Hub.
        staged: what the job makes.
        account: Google service account that the job runs as; None for a pod that is granted roles itself.
        labels: the deployment's.
        setting: what the deployment is planned in.
        source: `gs://BUCKET/PREFIX` of the checkpoint; None for the Hub's.
        kubernetes: where in a cluster it runs; only there.
    """
    machine, shared = runners.machine(runner), setting.foundation
    # Where nothing is read from the Hub, nobody needs the right to read its token.
    token = shared.hub_token if source is None else None
    return WeightsJobPlan(
        runner=runner,
        job_name=naming.job_name(setting.stack, name),
        vertex=machine.vertex,
        kubernetes=kubernetes,
        account=account,
        image=WEIGHTS_IMAGE,
        args=staging.job_args(staged, source),
        env=_env(runner, shared.project, token),
        hub_token=token is not None,
        source=source,
        source_bucket=_source_bucket(source, staged.bucket),
        cpu=machine.cpu,
        memory=machine.memory,
        task_timeout_seconds=staging.task_timeout(model),
        max_retries=runners.retries(runner),
        labels=labels,
        execution_labels={**labels, "llm-target": staging.target_label(staged)},
        sizing=machine.sizing,
    )


def _source_bucket(source: str | None, own: str) -> str | None:
    bucket = source.removeprefix("gs://").partition("/")[0] if source else own
    return None if bucket == own else bucket


def _env(runner: str, project: str, token: HubTokenPlan | None) -> dict[str, str]:
    """Gives where the job finds the Hub token; Cloud Run reads the secret for it."""
    if token is None or runner == runners.CLOUD_RUN:
        return {}
    secret = token.secret_id
    name = secret if secret.startswith("projects/") else f"projects/{project}/secrets/{secret}"
    return {TOKEN_REFERENCE: f"{name}/versions/latest"}
