"""A deployment on the `vertex` topology, decided from its configuration and its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stacks.plan import naming, staging, weights
from stacks.plan.cloud_run import account_of, deployment_labels
from stacks.plan.limits import vertex_limits
from stacks.plan.report import Report
from stacks.plan.runners import choose_runner
from stacks.plan.spec import ModelSpec
from stacks.plan.types_vertex import (
    ReplicaPlan,
    VertexContainerPlan,
    VertexEndpointPlan,
    VertexModelPlan,
    VertexPlan,
)
from stacks.plan.types_weights import StagedModelPlan
from stacks.plan.vertex import cost, machines
from stacks.plan.vertex.container import container
from stacks.plan.vertex.facts import serving_facts
from stacks.plan.vertex.serving import Serving, choose

if TYPE_CHECKING:
    from stacks.config_vertex import VertexDeployment
    from stacks.plan.cloud_run import Setting

CURRENT = "current"
"""Alias of the version that is deployed, or is about to be."""

_USUAL_TARGET = 60
"""Percent: what Vertex AI takes where nothing is said (discovery document, AutoscalingMetricSpec.target)."""

_OWN_CHARACTERS = 9
"""What our provider adds to the name that a deployment shows, by which it finds it again."""

_UNDEPLOY_SECONDS = 900
"""How long a model takes to go, and requests to it to end. Assumed."""


def plan_vertex(
    name: str, config: VertexDeployment, source: ModelSpec, setting: Setting, report: Report
) -> VertexPlan | None:
    """Plans one deployment; reports what is wrong with it and gives None where no machine can be had.

    Args:
        name: the deployment's.
        config: what a person wrote.
        source: the model, as it is on the Hub.
        setting: what the deployment is planned in.
        report: receives what is wrong.
    """
    path, shared = f"llm:deployments.{name}", setting.foundation
    model = staging.as_staged(source, weights.checkpoint_dtype(source, config.weights.dtype, path, report))
    runner = choose_runner(config.weights.runner, config.topology, shared.region, path, report)
    _check_topology(shared.region, path, report)
    serving = choose(config, model, path, report, judged=name not in setting.unsized)
    least, most = _replicas(config, setting)
    _check_scaling(config, most > least, path, report)
    if serving is None:
        return None
    machines.check_region(serving.replica, shared.region, f"{path}.machine", report)
    form = staging.form(model, serving.engine, serving.dtype)
    weights.check_form(form, serving.engine, config.weights.dtype, path, report)
    staged = weights.staged_model(
        source, form, runner, shared.bucket.name, retain=setting.profile.keep_weights
    )
    labels = deployment_labels(setting, name)
    endpoint = _endpoint(name, config, setting)
    box = container(serving, staged, staging.staged_bytes(model, form), endpoint.request_seconds)
    metric = config.scaling.metric
    names = serving_facts().metrics.value
    return VertexPlan(
        deployment=name,
        model=model.repository,
        topology=config.topology,
        engine=serving.engine,
        dtype=serving.dtype,
        location=shared.region,
        account=account_of(setting, name, "serve", f"Serves {name} of stack {setting.stack}"),
        registered=_registered(name, box, staged, labels, setting),
        endpoint=endpoint,
        replica=_replica(serving, config),
        min_replicas=least,
        max_replicas=most,
        metrics={names[metric]: config.scaling.target or _USUAL_TARGET} if metric else {},
        traffic_steps=config.traffic.steps,
        step_seconds=config.traffic.step_seconds,
        create_seconds=box.deployment_seconds + _UNDEPLOY_SECONDS,
        update_seconds=box.deployment_seconds
        + _UNDEPLOY_SECONDS
        + len(config.traffic.steps) * config.traffic.step_seconds,
        delete_seconds=_UNDEPLOY_SECONDS,
        invokers=tuple(sorted(set(config.access.invokers))),
        invoker_role=_invoker_role(config, path, report),
        quotas=cost.quotas(serving.replica, most, spot=config.machine.spot),
        idle_cost=cost.idle_cost(serving.replica, least, spot=config.machine.spot),
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
        sizing=serving.sizing,
        metadata_store=config.metadata_store,
    )


def _replicas(config: VertexDeployment, setting: Setting) -> tuple[int, int]:
    """Decides the fewest and the most replicas; Vertex AI keeps one at least."""
    wanted = config.scaling
    usual = max(setting.profile.min_instances, 1)
    least = min(usual, wanted.max or usual) if wanted.min is None else wanted.min
    return least, wanted.max or least


def _replica(serving: Serving, config: VertexDeployment) -> ReplicaPlan:
    gpu = serving.replica.gpu
    return ReplicaPlan(
        machine_type=serving.replica.machine.name,
        accelerator=gpu.name if gpu else None,
        accelerator_type=gpu.vertex_name if gpu else None,
        accelerator_count=serving.replica.count,
        spot=config.machine.spot,
    )


def _endpoint(name: str, config: VertexDeployment, setting: Setting) -> VertexEndpointPlan:
    kind, project = config.endpoint.kind, setting.foundation.project
    facts = serving_facts().endpoints[kind]
    private = kind == "private-service-connect"
    return VertexEndpointPlan(
        endpoint_id=naming.vertex_endpoint_id(project, setting.stack, name, kind),
        display_name=_display_name(name, setting),
        kind=kind,
        projects=tuple(sorted(set(config.endpoint.projects))) or (project,) if private else (),
        request_seconds=facts.request_seconds.value,
        body_bytes=facts.body_bytes.value,
        deletion_policy="PREVENT" if setting.profile.deletion_protection else "DELETE",
    )


def _invoker_role(config: VertexDeployment, path: str, report: Report) -> str:
    """Gives the role of those who may ask; notes what Google's own lets them do besides."""
    usual = serving_facts().invoker_role.value
    if config.access.invokers and config.access.role is None:
        report.notes.append(
            f"{path}.access: {usual} lets its invokers deploy to this endpoint and undeploy from it, too; to "
            "let them ask alone, name a role of your own with aiplatform.endpoints.predict in access.role"
        )
    return config.access.role or usual


def _registered(
    name: str,
    box: VertexContainerPlan,
    staged: StagedModelPlan,
    labels: Mapping[str, str],
    setting: Setting,
) -> VertexModelPlan:
    return VertexModelPlan(
        model_id=naming.vertex_model_id(setting.stack, name),
        display_name=_display_name(name, setting),
        description=f"{staged.repository} at {staged.revision}, {staged.format} in {staged.dtype}",
        version_aliases=(CURRENT,),
        container=box,
        artifact_uri=staged.uri,
        labels=labels,
    )


def _display_name(name: str, setting: Setting) -> str:
    """Names what people see; other stacks of the project have other names."""
    return naming.fit(f"{setting.stack}-{name}", serving_facts().display_name_max.value - _OWN_CHARACTERS)


def _check_topology(region: str, path: str, report: Report) -> None:
    known = vertex_limits().regions.value
    if region not in known:
        report.problem(
            f"{path}.topology",
            "vertex",
            f"is not possible in {region}, where Vertex AI has no address",
            f"set gcp:region to one of {', '.join(known)}",
        )


def _check_scaling(config: VertexDeployment, decides: bool, path: str, report: Report) -> None:
    """Reports a metric that nothing measures, or that decides nothing."""
    wanted = config.scaling
    gpu = machines.accelerator_of(config.machine)
    if wanted.metric == "accelerator-duty-cycle" and gpu is None:
        report.problem(
            f"{path}.scaling.metric",
            wanted.metric,
            "is of GPUs, and the machine has none",
            "write cpu-utilization, or leave it out",
        )
    if wanted.metric is not None and not decides:
        report.warn(f"{path}.scaling.metric: decides nothing without scaling.max above scaling.min")
