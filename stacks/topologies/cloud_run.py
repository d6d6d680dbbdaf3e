"""Topology `cloud-run`: a Cloud Run service that reads its weights from a mounted bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import pulumi
from pulumi_gcp import cloudrunv2, serviceaccount, storage

from stacks.components.foundation import Foundation
from stacks.components.model_weights import ModelWeights, ModelWeightsArgs
from stacks.components.service_account import service_account
from stacks.plan.types import CloudRunPlan, ProbePlan


@dataclass(frozen=True)
class CloudRunServingArgs:
    """Inputs of :class:`CloudRunServing`."""

    plan: CloudRunPlan
    foundation: Foundation
    weights_image: pulumi.Input[str]
    serve_image: pulumi.Input[str]


class CloudRunServing(pulumi.ComponentResource):
    """Serves one model on Cloud Run, second generation, weights mounted read-only.

    It owns the service, the service's own account (which may read objects of the model bucket, nothing
    else), the grants of those who may call it, and the weights. It opens nothing to the public unless the
    configuration names `allUsers`, and it never copies weights at start-up: the staged model is there before
    the service is.
    """

    url: pulumi.Output[str]
    weights: ModelWeights
    service: cloudrunv2.Service

    def __init__(
        self, name: str, args: CloudRunServingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llm:index:CloudRunServing", name, None, opts)
        plan = args.plan
        self.weights = ModelWeights(
            f"{name}-weights",
            ModelWeightsArgs(plan.weights, plan.staged, args.foundation, args.weights_image, plan.location),
            pulumi.ResourceOptions(parent=self),
        )
        account = service_account(f"{name}-account", plan.account, args.foundation, self)
        reader = storage.BucketIAMMember(
            f"{name}-reads-bucket",
            bucket=args.foundation.bucket.name,
            role="roles/storage.objectViewer",
            member=account.member,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.service = self._service(name, args, account, reader)
        for invoker in plan.invokers:
            cloudrunv2.ServiceIamMember(
                f"{name}-invoker-{invoker}",
                name=self.service.name,
                location=plan.location,
                role="roles/run.invoker",
                member=invoker,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.url = self.service.uri
        self.register_outputs({"url": self.url})

    def _service(
        self,
        name: str,
        args: CloudRunServingArgs,
        account: serviceaccount.Account,
        reader: pulumi.Resource,
    ) -> cloudrunv2.Service:
        plan = args.plan
        return cloudrunv2.Service(
            f"{name}-service",
            name=plan.service_name,
            location=plan.location,
            labels=plan.labels,
            ingress=plan.ingress,
            deletion_protection=plan.deletion_protection,
            template=cloudrunv2.ServiceTemplateArgs(
                execution_environment="EXECUTION_ENVIRONMENT_GEN2",
                service_account=account.email,
                timeout=f"{plan.timeout_seconds}s",
                max_instance_request_concurrency=plan.concurrency,
                scaling=cloudrunv2.ServiceTemplateScalingArgs(
                    min_instance_count=plan.min_instances, max_instance_count=plan.max_instances
                ),
                volumes=[_volume(plan)],
                containers=[_container(plan, args.serve_image)],
                node_selector=_node_selector(plan),
                gpu_zonal_redundancy_disabled=None if plan.gpu is None else not plan.gpu.zonal_redundancy,
            ),
            # A revision must find its files and be allowed to read them at its very first start.
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[*args.foundation.api("run"), self.weights.staged, reader]
            ),
        )


def _volume(plan: CloudRunPlan) -> cloudrunv2.ServiceTemplateVolumeArgs:
    return cloudrunv2.ServiceTemplateVolumeArgs(
        name=plan.volume.name,
        gcs=cloudrunv2.ServiceTemplateVolumeGcsArgs(
            bucket=plan.volume.bucket, read_only=True, mount_options=list(plan.volume.mount_options)
        ),
    )


def _container(plan: CloudRunPlan, image: pulumi.Input[str]) -> cloudrunv2.ServiceTemplateContainerArgs:
    limits = {"cpu": plan.cpu, "memory": plan.memory}
    if plan.gpu is not None:
        limits["nvidia.com/gpu"] = str(plan.gpu.count)
    startup, liveness = plan.startup_probe, plan.liveness_probe
    return cloudrunv2.ServiceTemplateContainerArgs(
        image=image,
        ports=cloudrunv2.ServiceTemplateContainerPortsArgs(name="http1", container_port=plan.port),
        envs=[
            cloudrunv2.ServiceTemplateContainerEnvArgs(name=key, value=value)
            for key, value in plan.env.items()
        ],
        resources=cloudrunv2.ServiceTemplateContainerResourcesArgs(
            limits=limits, cpu_idle=plan.cpu_idle, startup_cpu_boost=plan.startup_cpu_boost
        ),
        volume_mounts=[
            cloudrunv2.ServiceTemplateContainerVolumeMountArgs(
                name=plan.volume.name, mount_path=plan.volume.mount_path
            )
        ],
        startup_probe=cloudrunv2.ServiceTemplateContainerStartupProbeArgs(
            http_get=cloudrunv2.ServiceTemplateContainerStartupProbeHttpGetArgs(
                path=startup.path, port=startup.port
            ),
            **_timings(startup),
        ),
        liveness_probe=cloudrunv2.ServiceTemplateContainerLivenessProbeArgs(
            http_get=cloudrunv2.ServiceTemplateContainerLivenessProbeHttpGetArgs(
                path=liveness.path, port=liveness.port
            ),
            **_timings(liveness),
        ),
    )


class _Timings(TypedDict):
    initial_delay_seconds: int
    period_seconds: int
    timeout_seconds: int
    failure_threshold: int


def _timings(probe: ProbePlan) -> _Timings:
    return {
        "initial_delay_seconds": probe.initial_delay_seconds,
        "period_seconds": probe.period_seconds,
        "timeout_seconds": probe.timeout_seconds,
        "failure_threshold": probe.failure_threshold,
    }


def _node_selector(plan: CloudRunPlan) -> cloudrunv2.ServiceTemplateNodeSelectorArgs | None:
    if plan.gpu is None:
        return None
    return cloudrunv2.ServiceTemplateNodeSelectorArgs(accelerator=plan.gpu.accelerator)
