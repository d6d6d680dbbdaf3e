"""A deployment on the `cloud-run` topology, decided from its configuration and its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stacks.plan import fit, naming, probes, staging, weights
from stacks.plan.architecture import parameters
from stacks.plan.contracts import serve_contract
from stacks.plan.engines import choose_engine
from stacks.plan.limits import cloud_run_limits
from stacks.plan.machines import Choice, Machine, choose, choose_gpu
from stacks.plan.quantity import human, memory_text, parse_memory
from stacks.plan.report import Report
from stacks.plan.runners import choose_runner
from stacks.plan.sizing.dtypes import choose_dtype
from stacks.plan.sizing.serving import gpu_host_lines, gpu_lines, host_lines
from stacks.plan.sizing.terms import sum_text, total
from stacks.plan.spec import DTYPE_BYTES, Dtype, ModelSpec
from stacks.plan.tokens import TokenLimits, queue_and_concurrency, token_limits
from stacks.plan.types import (
    AccountPlan,
    CloudRunPlan,
    FoundationPlan,
    GpuPlan,
    Profile,
    Sizing,
    StagedModelPlan,
    VolumePlan,
)

if TYPE_CHECKING:
    from stacks.config_models import CloudRunDeployment

SERVE_IMAGE = "serve"

# pulumi_gcp 10.2.0, cloudrunv2.Service.ingress.
_INGRESS = {
    "all": "INGRESS_TRAFFIC_ALL",
    "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "internal-and-load-balancer": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}
# Staged objects come without folder markers; gcsfuse shows no folder then unless told to.
_MOUNT_OPTIONS = ("implicit-dirs",)
_VOLUME = "models"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a deployment is planned in."""

    stack: str
    profile: Profile
    foundation: FoundationPlan
    shared_prefixes: frozenset[str]
    """Prefixes of the bucket that more than one deployment uses."""
    unsized: frozenset[str]
    """Deployments whose machine cannot be judged: what decides it is wrong itself."""


@dataclass(frozen=True, slots=True)
class _Sized:
    machine: Machine
    sizing: Sizing


def plan_cloud_run(
    name: str, config: CloudRunDeployment, source: ModelSpec, setting: Setting, report: Report
) -> CloudRunPlan | None:
    """Plans one deployment; reports what is wrong with it and gives None where no machine can be had.

    Args:
        name: the deployment's.
        config: what a person wrote.
        source: the model, as it is on the Hub.
        setting: what the deployment is planned in.
        report: receives what is wrong.
    """
    path = f"llm:deployments.{name}"
    model = staging.as_staged(source, config.weights.dtype)
    weights.check_dtype(source, config.weights.dtype, path, report)
    runner = choose_runner(config.weights.runner, config.topology, setting.foundation.region, path, report)
    tokens = token_limits(model, config, path, report)
    queue, concurrency = queue_and_concurrency(config, path, report)
    dtype = choose_dtype(model, config.resources.gpu, config.dtype, path, report)
    engine, sized = None, None
    if name not in setting.unsized:
        engine = _engine(path, config, model, report)
        sized = _size(path, config, model, tokens, dtype, report)
    _check_region(path, config, setting.foundation.region, report)
    _check_startup(path, config, model, report)
    _check_scale(path, config, report)
    if sized is None or engine is None:
        return None
    machine, contract = sized.machine, serve_contract()
    weights_bytes = _weights_bytes(model)
    staged = _staged(source, config, runner, setting)
    labels = _labels(setting, name)
    return CloudRunPlan(
        deployment=name,
        model=model.repository,
        topology=config.topology,
        engine=engine,
        dtype=dtype,
        location=setting.foundation.region,
        service_name=naming.service_name(setting.stack, name),
        account=_account(setting, name, "serve", f"Serves {name} of stack {setting.stack}"),
        image=SERVE_IMAGE,
        port=contract.port,
        env=_env(model, dtype, staged, tokens, queue, machine.cpu),
        volume=VolumePlan(_VOLUME, staged.bucket, contract.mount_path, _MOUNT_OPTIONS),
        cpu=str(machine.cpu),
        memory=memory_text(machine.memory),
        gpu=GpuPlan(machine.accelerator, 1, zonal_redundancy=False) if machine.accelerator else None,
        concurrency=concurrency,
        timeout_seconds=config.timeout_seconds,
        min_instances=_min_instances(config, setting.profile),
        max_instances=config.scaling.max,
        startup_cpu_boost=True,
        cpu_idle=machine.accelerator is None,
        ingress=_INGRESS[config.access.ingress],
        invokers=tuple(sorted(set(config.access.invokers))),
        startup_probe=probes.startup_probe(
            contract.routes["ready"].path, contract.port, weights_bytes, gpu=machine.accelerator is not None
        ),
        liveness_probe=probes.liveness_probe(contract.routes["health"].path, contract.port),
        labels=labels,
        deletion_protection=setting.profile.deletion_protection,
        weights=weights.weights_job(
            name,
            runner,
            source,
            staged,
            _account(setting, name, "weights", f"Stages weights of {name} of stack {setting.stack}"),
            labels,
            setting,
        ),
        staged=staged,
        sizing=sized.sizing,
    )


def _engine(path: str, config: CloudRunDeployment, model: ModelSpec, report: Report) -> str | None:
    device: Literal["cpu", "gpu"] = "gpu" if config.resources.gpu else "cpu"
    return choose_engine(model, config.topology, config.engine, device, path, report, config.dtype)


def _size(
    path: str,
    config: CloudRunDeployment,
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: Dtype,
    report: Report,
) -> _Sized | None:
    wanted = config.resources
    memory = parse_memory(wanted.memory) if wanted.memory else None
    if wanted.gpu is None:
        lines = host_lines(model, tokens, dtype)
        choice = choose(total(lines), cpu=wanted.cpu, memory=memory)
        have = choice.machine.memory if choice.machine else 0
    else:
        lines, have = gpu_lines(model, tokens, dtype), fit.gpu_memory(wanted.gpu)
        choice = choose_gpu(wanted.gpu, total(gpu_host_lines(model, dtype)), cpu=wanted.cpu, memory=memory)
        too_big = fit.gpu_refusal(model, tokens, wanted.gpu, dtype)
        if too_big:
            remedy = fit.nearest(model, tokens, dtype, wanted.gpu)
            report.problem(f"{path}.resources.gpu", wanted.gpu, too_big, remedy)
            return None
    _report_choice(path, choice, sum_text(lines), report)
    if any(not refusal.key for refusal in choice.refusals):
        remedy = fit.nearest(model, tokens, dtype, wanted.gpu)
        reason = f"{choice.refusals[0].reason} ({sum_text(lines)})"
        report.problem(f"{path}.model", model.repository, reason, remedy)
    if choice.machine is None:
        return None
    return _Sized(choice.machine, Sizing(lines, total(lines), have, str(choice.machine)))


def _report_choice(path: str, choice: Choice, arithmetic: str, report: Report) -> None:
    """Reports what is wrong with resources that were asked for by name, and what is doubtful."""
    for refusal in choice.refusals:
        if refusal.key:
            sums = f" ({arithmetic})" if refusal.key == "resources.memory" else ""
            report.problem(f"{path}.{refusal.key}", refusal.value, f"{refusal.reason}{sums}", refusal.remedy)
    for warning in choice.warnings:
        report.warn(f"{path}.{warning}")


def _check_region(path: str, config: CloudRunDeployment, region: str, report: Report) -> None:
    gpu = config.resources.gpu
    if gpu is None:
        return
    regions = cloud_run_limits().gpus[gpu].regions
    if region in regions.value:
        return
    listed = ", ".join(regions.value)
    if regions.confirmed:
        reason = f"is not offered by Cloud Run in {region}"
        report.problem(f"{path}.resources.gpu", gpu, reason, f"set gcp:region to one of {listed}")
    else:
        report.warn(f"{path}.resources.gpu: {gpu} was seen in {listed} only (unconfirmed), not in {region}")


def _check_startup(path: str, config: CloudRunDeployment, model: ModelSpec, report: Report) -> None:
    gpu = config.resources.gpu is not None
    seconds, longest = probes.load_seconds(_weights_bytes(model)), probes.longest_window(gpu=gpu)
    if seconds > longest / 2:
        # The speed of the mount is an assumption, so this is no reason to refuse.
        report.warn(
            f"{path}.model: reading {human(_weights_bytes(model))} takes about {seconds} s (assumed), "
            f"and Cloud Run stops a container that is not ready after {longest} s"
        )


def _check_scale(path: str, config: CloudRunDeployment, report: Report) -> None:
    most, usual = config.scaling.max, cloud_run_limits().instances_without_quota.value
    if most > usual:
        report.warn(f"{path}.scaling.max: {most} instances may need more quota than the usual {usual}")
    if config.resources.gpu and "allUsers" in config.access.invokers:
        report.warn(f"{path}.access.invokers: anyone can make this service start instances with a GPU")


def _min_instances(config: CloudRunDeployment, profile: Profile) -> int:
    least = config.scaling.min
    return min(profile.min_instances, config.scaling.max) if least is None else least


def _weights_bytes(model: ModelSpec) -> int:
    """Gives the bytes that a start reads: the staged weights, whatever they are converted to."""
    return parameters(model) * DTYPE_BYTES[model.checkpoint_dtype]


def _env(
    model: ModelSpec, dtype: Dtype, staged: StagedModelPlan, tokens: TokenLimits, queue: int, cpu: int
) -> dict[str, str]:
    return {
        "MODEL_PATH": f"{serve_contract().mount_path}/{staged.prefix.rstrip('/')}",
        "MODEL_NAME": model.repository,
        "DTYPE": dtype,
        "MAX_INPUT_TOKENS": str(tokens.max_input),
        "MAX_NEW_TOKENS": str(tokens.max_new),
        "MAX_QUEUE": str(queue),
        "THREADS": str(cpu),
    }


def _staged(source: ModelSpec, config: CloudRunDeployment, runner: str, setting: Setting) -> StagedModelPlan:
    dtype = config.weights.dtype
    shared = staging.prefix(staging.as_staged(source, dtype)) in setting.shared_prefixes
    retain = setting.profile.keep_weights or shared
    return weights.staged_model(source, dtype, runner, setting.foundation.bucket.name, retain=retain)


def _labels(setting: Setting, name: str) -> dict[str, str]:
    return {**setting.foundation.labels, "deployment": naming.label(name)}


def _account(setting: Setting, name: str, role: str, display_name: str) -> AccountPlan:
    account = naming.account_id(setting.stack, name, role)
    return AccountPlan(account, naming.account_email(account, setting.foundation.project), display_name[:100])
