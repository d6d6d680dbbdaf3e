"""A deployment on the `cloud-run` topology, decided from its configuration and its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stacks.plan import alternatives, fit, naming, probes, server_times, staging, weights
from stacks.plan.batching import Batch, most_rows
from stacks.plan.contract_data import serve_contract
from stacks.plan.engines import TRANSFORMERS, choose_engine
from stacks.plan.images import SERVE_IMAGES
from stacks.plan.limits import cloud_run_limits
from stacks.plan.machines import Choice, Machine
from stacks.plan.quantity import human, memory_text, parse_memory
from stacks.plan.report import Report
from stacks.plan.runners import choose_runner
from stacks.plan.sizing.cloud_run import Sized, on_cpu, on_gpu
from stacks.plan.sizing.dtypes import choose_dtype
from stacks.plan.sizing.terms import sum_text, total
from stacks.plan.spec import ComputingDtype, ModelSpec
from stacks.plan.tokens import TokenLimits, queue_and_concurrency, token_limits
from stacks.plan.types import AccountPlan, CloudRunPlan, FoundationPlan, GpuPlan, Profile, Sizing, VolumePlan
from stacks.plan.types_weights import StagedModelPlan

if TYPE_CHECKING:
    from stacks.config_models import CloudRunDeployment

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
    unsized: frozenset[str]
    """Deployments whose machine cannot be judged: what decides it is wrong itself."""


@dataclass(frozen=True, slots=True)
class _Service:
    """What a deployment's server runs, and on what."""

    engine: str
    dtype: ComputingDtype
    tokens: TokenLimits
    queue: int
    batch: Batch
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
    model = staging.as_staged(source, weights.checkpoint_dtype(source, config.weights.dtype, path, report))
    runner = choose_runner(config.weights.runner, config.topology, setting.foundation.region, path, report)
    tokens = token_limits(model, config.limits, path, report)
    queue, concurrency = queue_and_concurrency(config, path, report)
    dtype = choose_dtype(model, config.resources.gpu, config.dtype, path, report)
    judged = name not in setting.unsized
    engine = _engine(path, config, model, report) if judged else None
    form = staging.form(model, engine or TRANSFORMERS, dtype)
    weights_bytes = staging.staged_bytes(model, form)
    if engine is not None:
        weights.check_form(form, engine, config.weights.dtype, path, report)
    service = _service(path, config, model, engine, dtype, tokens, queue, report) if judged else None
    _check_region(path, config, setting.foundation.region, report)
    _check_startup(path, config, weights_bytes, report)
    _check_scale(path, config, report)
    if service is None or engine is None:
        return None
    machine, contract = service.machine, serve_contract()
    staged = weights.staged_model(
        source, form, runner, setting.foundation.bucket.name, retain=setting.profile.keep_weights
    )
    labels = deployment_labels(setting, name)
    return CloudRunPlan(
        deployment=name,
        model=model.repository,
        topology=config.topology,
        engine=engine,
        dtype=dtype,
        location=setting.foundation.region,
        service_name=naming.service_name(setting.stack, name),
        account=account_of(setting, name, "serve", f"Serves {name} of stack {setting.stack}"),
        image=SERVE_IMAGES[engine],
        port=contract.port,
        env=_env(staged, service, config.timeout_seconds),
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
            account_of(setting, name, "weights", f"Stages weights of {name} of stack {setting.stack}"),
            labels,
            setting,
        ),
        staged=staged,
        sizing=service.sizing,
    )


def _engine(path: str, config: CloudRunDeployment, model: ModelSpec, report: Report) -> str | None:
    device: Literal["cpu", "gpu"] = "gpu" if config.resources.gpu else "cpu"
    return choose_engine(model, config.topology, config.engine, device, path, report, config.dtype)


def _service(
    path: str,
    config: CloudRunDeployment,
    model: ModelSpec,
    engine: str | None,
    dtype: ComputingDtype,
    tokens: TokenLimits,
    queue: int,
    report: Report,
) -> _Service | None:
    """Chooses the machine; without an engine, as if the usual one would run."""
    chosen, wanted = engine or TRANSFORMERS, config.resources
    memory = parse_memory(wanted.memory) if wanted.memory else None
    if wanted.gpu is None:
        found = on_cpu(model, tokens, dtype, chosen, queue, cpu=wanted.cpu, memory=memory)
        other = alternatives.on_a_cpu(model, tokens, chosen, queue)
        report.notes += [f"{path}: {other}"] if other else []
    else:
        found = on_gpu(model, tokens, dtype, wanted.gpu, chosen, queue, cpu=wanted.cpu, memory=memory)
    machine = _machine(path, config, model, tokens, dtype, found, report)
    if machine is None:
        return None
    most = most_rows(queue, gpu=wanted.gpu is not None)
    _note_batch(path, found.batch, most, report)
    sizing = Sizing(found.lines, total(found.lines), found.have, str(machine))
    return _Service(chosen, dtype, tokens, queue, found.batch, machine, sizing)


def _machine(
    path: str,
    config: CloudRunDeployment,
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: ComputingDtype,
    found: Sized,
    report: Report,
) -> Machine | None:
    """Gives the machine that was found, and reports where there is none, or one that is too small."""
    choice, gpu = found.choice, config.resources.gpu
    if gpu is not None and total(found.lines) > found.have:
        too_big = fit.gpu_refusal(found.lines, gpu)
        report.problem(f"{path}.resources.gpu", gpu, too_big, fit.nearest(model, tokens, dtype, gpu))
        return None
    _report_choice(path, choice, sum_text(found.lines), report)
    if any(not refusal.key for refusal in choice.refusals):
        reason = f"{choice.refusals[0].reason} ({sum_text(found.lines)})"
        remedy = fit.nearest(model, tokens, dtype, gpu)
        report.problem(f"{path}.model", model.repository, reason, remedy)
    return choice.machine


def _note_batch(path: str, batch: Batch, most: int, report: Report) -> None:
    if batch.rows < most:
        report.notes.append(
            f"{path}: memory is for {batch.rows} requests at once, not for {most}, and the others wait; "
            "more memory, or smaller limits.maxInputTokens and limits.maxNewTokens, change that"
        )


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


def _check_startup(path: str, config: CloudRunDeployment, weights_bytes: int, report: Report) -> None:
    gpu = config.resources.gpu is not None
    seconds, longest = probes.load_seconds(weights_bytes), probes.longest_window(gpu=gpu)
    if seconds > longest / 2:
        # The speed of the mount is an assumption, so this is no reason to refuse.
        report.warn(
            f"{path}.model: reading {human(weights_bytes)} takes about {seconds} s (assumed), "
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


def _env(staged: StagedModelPlan, service: _Service, timeout: int) -> dict[str, str]:
    return {
        "ENGINE": service.engine,
        "MODEL_PATH": f"{serve_contract().mount_path}/{staged.prefix.rstrip('/')}",
        "MODEL_NAME": staged.repository,
        "DTYPE": service.dtype,
        "MAX_INPUT_TOKENS": str(service.tokens.max_input),
        "MAX_NEW_TOKENS": str(service.tokens.max_new),
        "MAX_QUEUE": str(service.queue),
        **service.batch.environment(),
        "THREADS": str(service.machine.cpu),
        "REQUEST_SECONDS": f"{server_times.request_seconds(timeout):g}",
        "STALL_SECONDS": f"{server_times.stall_seconds(timeout):g}",
        "GRACE_SECONDS": str(cloud_run_limits().grace_seconds.value),
    }


def deployment_labels(setting: Setting, name: str) -> dict[str, str]:
    """Gives the labels of everything of a deployment."""
    return {**setting.foundation.labels, "deployment": naming.label(name)}


def account_of(setting: Setting, name: str, role: str, display_name: str) -> AccountPlan:
    """Plans the service account that a deployment uses in one role, for instance `serve`."""
    account = naming.account_id(setting.stack, name, role)
    return AccountPlan(account, naming.account_email(account, setting.foundation.project), display_name[:100])
