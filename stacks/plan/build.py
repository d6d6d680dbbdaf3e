"""From a configuration to a plan, or to everything that is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from stacks.config_errors import ConfigError, Problem, nearest
from stacks.plan.catalog import resolve_model, unconfirmed_fields
from stacks.plan.cloud_run import Setting, plan_cloud_run
from stacks.plan.contracts import check_contracts, check_model_contracts
from stacks.plan.foundation import foundation
from stacks.plan.gke.cluster import plan_cluster
from stacks.plan.gke.deployment import plan_gke_tpu
from stacks.plan.hardware import regions
from stacks.plan.images import image_plans
from stacks.plan.limits import cloud_run_limits
from stacks.plan.profiles import PROFILES
from stacks.plan.report import Report
from stacks.plan.rules import examine
from stacks.plan.spec import ModelSpec
from stacks.plan.types import DeploymentPlan, FoundationPlan, StackPlan
from stacks.plan.types_gke import GkeTpuPlan
from stacks.plan.types_vertex import VertexPlan
from stacks.plan.vertex.cost import note_peak
from stacks.plan.vertex.deployment import plan_vertex
from stacks.plan.vertex.metadata import metadata_store

if TYPE_CHECKING:
    from stacks.config_models import StackConfig


def build_plan(config: StackConfig) -> StackPlan:
    """Decides everything that can be decided before the engine runs.

    Raises:
        ConfigError: with every problem found.
    """
    report = Report()
    plan = _plan(config, report)
    if report.problems:
        raise ConfigError(config.stack_file, report.problems)
    return plan


def find_problems(config: StackConfig) -> list[Problem]:
    """Finds what stops a configuration from being planned."""
    report = Report()
    _plan(config, report)
    return report.problems


def _plan(config: StackConfig, report: Report) -> StackPlan:
    profile = PROFILES[config.environment]
    shared = foundation(config, profile)
    models = _models(config, shared, report)
    setting = Setting(config.stack, profile, shared, config.unsized)
    deployments = {}
    for name, model in models.items():
        planned = _deployment(name, config, model, setting, report)
        if planned is not None:
            deployments[name] = planned
    deployments = _shared_weights_kept(deployments)
    on_vertex = [plan for plan in deployments.values() if isinstance(plan, VertexPlan)]
    note_peak(on_vertex, config.region, report)
    on_tpu = {name: plan for name, plan in deployments.items() if isinstance(plan, GkeTpuPlan)}
    cluster = plan_cluster(config, on_tpu, setting, report)
    needed = [image for plan in deployments.values() for image in plan.image_names]
    _warn_unconfirmed(config, models, report)
    plan = StackPlan(
        stack=config.stack,
        profile=profile,
        foundation=shared,
        images=image_plans(needed, config.stack, shared.repository, config.images),
        deployments=deployments,
        cluster=cluster,
        metadata_store=metadata_store(config, profile, deployments.values()),
        warnings=tuple(report.warnings),
        notes=tuple(report.notes),
    )
    report.problems += _collisions(deployments)
    # What follows looks at the plan alone, and would only repeat what a person has just been told.
    return plan if report.problems else _examined(plan, models, report)


def _deployment(
    name: str, config: StackConfig, model: ModelSpec, setting: Setting, report: Report
) -> DeploymentPlan | None:
    """Plans a deployment on the topology that it names."""
    wanted = config.deployments[name]
    if wanted.topology == "gke-tpu":
        return plan_gke_tpu(name, wanted, model, config, setting, report)
    if wanted.topology == "vertex":
        return plan_vertex(name, wanted, model, setting, report)
    return plan_cloud_run(name, wanted, model, setting, report)


def _examined(plan: StackPlan, models: Mapping[str, ModelSpec], report: Report) -> StackPlan:
    """Checks a finished plan as its containers and as Google would; gives it with what that warns of."""
    found = examine(plan)
    report.problems += [*check_contracts(plan), *check_model_contracts(plan, models), *found.problems]
    return replace(plan, warnings=(*plan.warnings, *found.warnings))


def _models(config: StackConfig, shared: FoundationPlan, report: Report) -> dict[str, ModelSpec]:
    """Finds the model of each deployment, sorted by deployment; those without a usable one are left out."""
    found = {}
    for name, deployment in sorted(config.deployments.items()):
        path = f"llm:deployments.{name}"
        model = resolve_model(deployment.model, deployment.revision, path, report)
        if model is None:
            continue
        found[name] = model
        uploaded = deployment.topology == "gke-tpu" and deployment.weights.source is not None
        if model.gated and shared.hub_token is None and not uploaded:
            report.problem(
                f"{path}.model",
                model.repository,
                "is gated and there is no Hub token",
                "accept its licence on the Hub, then: pulumi config set --secret llm:hubToken "
                "(or name an existing secret in llm:hubTokenSecret)",
            )
    return found


def _shared_weights_kept(deployments: Mapping[str, DeploymentPlan]) -> dict[str, DeploymentPlan]:
    """Lets no deployment take weights along, when it goes, that another one serves too."""
    uses = Counter(plan.staged.prefix for plan in deployments.values())
    return {
        name: replace(plan, staged=replace(plan.staged, retain=True))
        if uses[plan.staged.prefix] > 1
        else plan
        for name, plan in deployments.items()
    }


def _collisions(deployments: Mapping[str, DeploymentPlan]) -> Iterator[Problem]:
    """Finds physical names that two deployments would share."""
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, plan in deployments.items():
        for kind, physical in plan.names():
            users[kind, physical].append(name)
    for (kind, physical), names in users.items():
        if len(names) > 1:
            first, *others = names
            yield Problem(
                f"llm:deployments.{others[0]}",
                physical,
                f"would be the {kind} of {first} too",
                "rename one of the two deployments",
            )


def _warn_unconfirmed(config: StackConfig, models: Mapping[str, ModelSpec], report: Report) -> None:
    offered = cloud_run_limits().regions.value
    if config.deployments and config.region not in offered:
        near = nearest(config.region, offered)
        meant = f"; did you mean {near}?" if near else ""
        report.warn(
            f"gcp:region: {config.region} is not in the list of Cloud Run regions known here (unconfirmed)"
            f"{meant}"
        )
    known = regions().get(config.region)
    if config.zone is not None and known is not None and config.zone not in known.zones:
        report.warn(
            f"gcp:zone: {config.zone} is not in the list of zones known here (unconfirmed); "
            f"{config.region} has {', '.join(known.zones)}"
        )
    for model in models.values():
        fields = unconfirmed_fields(model)
        if fields:
            report.warn(f"{model.repository}: not checked on the Hub: {', '.join(fields)}")
