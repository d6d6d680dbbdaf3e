"""A deployment on the `gke-tpu` topology, decided from its configuration and its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks.plan import naming, staging, weights
from stacks.plan.gke import cluster, converter, identity, scaling, slices, storage
from stacks.plan.gke.objects import objects
from stacks.plan.gke.server import plan_server
from stacks.plan.gke.serving import Serving, choose
from stacks.plan.gke.workload import Workload
from stacks.plan.images import image_plans
from stacks.plan.report import Report
from stacks.plan.runners import KUBERNETES, choose_runner
from stacks.plan.spec import ModelSpec
from stacks.plan.types import AccountPlan
from stacks.plan.types_gke import GkeTpuPlan, IdentityPlan
from stacks.plan.types_weights import KubernetesJobPlan

if TYPE_CHECKING:
    from stacks.config_gke import GkeTpuDeployment
    from stacks.config_models import StackConfig
    from stacks.plan.cloud_run import Setting

_NODE_SECONDS = 900
"""How long a node with TPUs takes to come where there is capacity, and to pull its image. Assumed."""
_SERVICE = "server"
"""Name of the Service: in a namespace of its own, it needs no other."""
_LOOSE = ("spot", "flex-start")
"""Capacity that comes when there is some."""


def plan_gke_tpu(
    name: str,
    config: GkeTpuDeployment,
    source: ModelSpec,
    stack: StackConfig,
    setting: Setting,
    report: Report,
) -> GkeTpuPlan | None:
    """Plans one deployment; reports what is wrong with it and gives None where no slice can be had.

    Args:
        name: the deployment's.
        config: what a person wrote.
        source: the model, as it is on the Hub.
        stack: the stack's configuration: its zone, its cluster, its images.
        setting: what the deployment is planned in.
        report: receives what is wrong.
    """
    path, shared = f"llm:deployments.{name}", setting.foundation
    model = staging.as_staged(source, weights.checkpoint_dtype(source, config.weights.dtype, path, report))
    runner = choose_runner(config.weights.runner, config.topology, shared.region, path, report)
    serving = choose(config, model, path, report, judged=name not in setting.unsized)
    zone = slices.choose_zone(config.tpu, stack.zone, shared.region, path, report)
    if serving is None or zone is None:
        return None
    published = converter.is_wanted(config, serving, path, report)
    form = converter.SOURCE_FORM if published else serving.form
    weights.check_form(form, serving.engine, config.weights.dtype, path, report)
    origin = config.weights.source
    identified = source if origin is None else staging.from_source(source, origin)
    staged = weights.staged_model(
        identified, form, runner, shared.bucket.name, retain=setting.profile.keep_weights
    )
    labels = {**shared.labels, "deployment": naming.label(name)}
    pool = slices.pool(name, serving.part, config.tpu, config.scaling, zone, labels)
    identities = _Identities(name, config, runner, setting)
    converted = (
        converter.plan_converter(
            model,
            serving,
            staged,
            staging.staged_bytes(model, form),
            identities.converter,
            stack.cluster.cpu_pool.machine,
            path,
            report,
        )
        if published
        else None
    )
    weights_bytes, replicas = serving.weights_bytes, config.scaling.most + config.scaling.surge
    server = plan_server(config.server, model, serving, converted or staged, weights_bytes, path, report)
    disk = (
        storage.plan_disk(name, staged, pool, weights_bytes, replicas, setting)
        if config.weights.volume == "disk"
        else None
    )
    weights_image = image_plans([weights.WEIGHTS_IMAGE], stack.stack, shared.repository, stack.images)
    work = Workload(
        deployment=name,
        config=config,
        engine=serving.engine,
        project=shared.project,
        namespace=identities.namespace,
        service_name=_SERVICE,
        google_labels=labels,
        pool=pool,
        server=server,
        staged=staged,
        weights_bytes=weights_bytes,
        server_identity=identities.server,
        weights_identity=identities.weights,
        disk=disk,
        converter=converted,
        weights_image=weights_image[weights.WEIGHTS_IMAGE],
        cpu_nodes=cluster.CPU_LABELS,
        ready_seconds=_ready_seconds(config, server.startup_seconds),
    )
    scaling.check(work, path, report)
    _note(config, serving, work.ready_seconds, path, report)
    return GkeTpuPlan(
        deployment=name,
        model=model.repository,
        topology=config.topology,
        engine=serving.engine,
        dtype=serving.dtype,
        location=cluster.location(stack),
        namespace=work.namespace,
        service_name=work.service_name,
        server_identity=work.server_identity,
        weights_identity=work.weights_identity,
        pool=pool,
        server=server,
        replicas=config.scaling.min,
        max_replicas=config.scaling.most,
        ready_seconds=work.ready_seconds,
        objects=objects(work),
        disk=disk,
        converter=converted,
        expose=config.access.expose,
        host=config.access.host,
        invokers=tuple(sorted(set(config.access.invokers))),
        labels=labels,
        deletion_protection=setting.profile.deletion_protection,
        weights=weights.weights_job(
            name,
            runner,
            source,
            staged,
            identities.weights_account,
            work.labels if runner == KUBERNETES else labels,
            setting,
            source=origin,
            kubernetes=identities.job,
        ),
        staged=staged,
        sizing=serving.sizing,
    )


class _Identities:
    """Whom the pods of a deployment are, in the cluster and to Google.

    Args:
        name: the deployment's.
        config: what a person wrote.
        runner: where the weights job runs.
        setting: what the deployment is planned in.
    """

    def __init__(self, name: str, config: GkeTpuDeployment, runner: str, setting: Setting) -> None:
        self._name, self._setting = name, setting
        self.namespace = naming.namespace(setting.stack, name)
        borrowed = config.identity == "service-account"
        in_cluster = runner == KUBERNETES
        self.server: IdentityPlan = identity.server(
            self.namespace, self._account("serve", "Serves") if borrowed else None, setting
        )
        self.weights_account = (
            self._account("weights", "Stages weights of") if borrowed or not in_cluster else None
        )
        # It is granted something where there is a converter alone.
        self.converter: IdentityPlan = identity.converter(
            self.namespace, self._account("convert", "Converts weights of") if borrowed else None, setting
        )
        origin = config.weights.source
        self.weights: IdentityPlan | None = None
        self.job: KubernetesJobPlan | None = None
        if in_cluster:
            reads_token = setting.foundation.hub_token is not None and origin is None
            self.weights = identity.weights_job(
                self.namespace, self.weights_account, setting, reads_token=reads_token
            )
            self.job = KubernetesJobPlan(
                self.namespace, self.weights.kubernetes_account, dict(cluster.CPU_LABELS)
            )

    def _account(self, role: str, does: str) -> AccountPlan:
        stack, project = self._setting.stack, self._setting.foundation.project
        account = naming.account_id(stack, self._name, role)
        text = f"{does} {self._name} of stack {stack}"
        return AccountPlan(account, naming.account_email(account, project), text[:100])


def _ready_seconds(config: GkeTpuDeployment, startup: int) -> int:
    """Says how long all replicas may take: an update changes one after the other, with a spare slice too."""
    return _NODE_SECONDS + startup * config.scaling.most


def _note(config: GkeTpuDeployment, serving: Serving, ready_seconds: int, path: str, report: Report) -> None:
    """Says what a number of replicas means in slices, and what an update does without a spare one."""
    part, replicas = serving.part, config.scaling.min
    if replicas > 1:
        report.notes.append(
            f"{path}.scaling.min: {replicas} replicas are {replicas} slices of {part.chips} chips, "
            f"{replicas * part.chips} chips in all"
        )
    if not config.scaling.surge and replicas == 1:
        report.notes.append(
            f"{path}.scaling.surge: an update stops the only replica before the next one starts; "
            "a spare slice (surge: 1) changes that"
        )
    if config.tpu.machine is None and config.tpu.topology is None:
        report.notes.append(
            f"{path}.tpu.machine: {part.machine} is the smallest that holds this model; written down, "
            "another model keeps the node pool"
        )
    if config.tpu.capacity in _LOOSE:
        report.notes.append(
            f"{path}.tpu.capacity: {config.tpu.capacity} nodes come when there are some, and go by "
            f"themselves; `pulumi up` waits {ready_seconds // 60} minutes for replicas, fails without them, "
            "and can be run again"
        )
