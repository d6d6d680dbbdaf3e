"""Topology `vertex`: a model of Vertex AI's registry, deployed to an endpoint."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import serviceaccount, storage, vertex

from stacks.components.foundation import Foundation
from stacks.components.model_weights import ModelWeights, ModelWeightsArgs
from stacks.components.service_account import service_account
from stacks.modelops import (
    ContainerSpecArgs,
    ExecArgs,
    HttpGetArgs,
    ProbeArgs,
    VertexModel,
    VertexModelArgs,
    VertexModelDeployment,
    VertexModelDeploymentArgs,
)
from stacks.plan.types import ProbePlan
from stacks.plan.types_vertex import VertexContainerPlan, VertexEndpointPlan, VertexPlan

_TRAFFIC = "trafficSplit"
"""The deployment moves the traffic, in steps; the endpoint must not put it back."""


@dataclass(frozen=True)
class VertexServingArgs:
    """Inputs of :class:`VertexServing`."""

    plan: VertexPlan
    foundation: Foundation
    weights_image: pulumi.Input[str]
    serve_image: pulumi.Input[str]


class VertexServing(pulumi.ComponentResource):
    """Serves one model behind an endpoint of Vertex AI, whose address stays while models come and go.

    It owns the endpoint and the rights of those who may ask it, the container's own account (which may read
    objects of the model bucket, nothing else), the weights, the registered model and its deployment. A switch
    makes another version of the model, deploys that, moves the traffic, and only then undeploys the one
    before. What is removed goes the other way round: no machine outlives its deployment.
    """

    endpoint: vertex.AiEndpoint
    endpoint_name: str
    """`projects/P/locations/L/endpoints/E`."""
    url: pulumi.Output[str]
    """Where predictions are asked for; of a private endpoint, only its path, since the network decides."""
    weights: ModelWeights
    deployment: VertexModelDeployment

    def __init__(
        self, name: str, args: VertexServingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llm:index:VertexServing", name, None, opts)
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
        self.endpoint = self._endpoint(name, args)
        self._invokers(name, plan)
        model = self._model(name, args)
        self.deployment = self._deployment(name, args, model, account, reader)
        self.endpoint_name = (
            f"projects/{args.foundation.project}/locations/{plan.location}"
            f"/endpoints/{plan.endpoint.endpoint_id}"
        )
        self.url = self._url(plan)
        self.register_outputs({"url": self.url})

    def _endpoint(self, name: str, args: VertexServingArgs) -> vertex.AiEndpoint:
        plan, shown = args.plan, args.plan.endpoint
        return vertex.AiEndpoint(
            f"{name}-endpoint",
            name=shown.endpoint_id,
            display_name=shown.display_name,
            location=plan.location,
            region=plan.location,
            labels=plan.labels,
            dedicated_endpoint_enabled=True if shown.kind == "dedicated" else None,
            private_service_connect_config=_private(shown),
            deletion_policy=shown.deletion_policy,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=args.foundation.api("aiplatform"), ignore_changes=[_TRAFFIC]
            ),
        )

    def _invokers(self, name: str, plan: VertexPlan) -> None:
        """Lets those ask who may, on the endpoint alone."""
        for invoker in plan.invokers:
            vertex.AiEndpointIamMember(
                f"{name}-invoker-{invoker}",
                endpoint=self.endpoint.name,
                location=plan.location,
                role=plan.invoker_role,
                member=invoker,
                opts=pulumi.ResourceOptions(parent=self),
            )

    def _model(self, name: str, args: VertexServingArgs) -> VertexModel:
        plan, shown = args.plan, args.plan.registered
        return VertexModel(
            f"{name}-model",
            VertexModelArgs(
                project=args.foundation.project,
                location=plan.location,
                model_id=shown.model_id,
                display_name=shown.display_name,
                description=shown.description,
                version_aliases=list(shown.version_aliases),
                container_spec=_container(shown.container, args.serve_image),
                artifact_uri=shown.artifact_uri,
                labels=dict(shown.labels),
            ),
            # Vertex AI looks at the files and the image when a model is uploaded.
            pulumi.ResourceOptions(
                parent=self, depends_on=[*args.foundation.api("aiplatform"), self.weights.staged]
            ),
        )

    def _deployment(
        self,
        name: str,
        args: VertexServingArgs,
        model: VertexModel,
        account: serviceaccount.Account,
        reader: pulumi.Resource,
    ) -> VertexModelDeployment:
        plan, replica = args.plan, args.plan.replica
        return VertexModelDeployment(
            f"{name}-deployment",
            VertexModelDeploymentArgs(
                project=args.foundation.project,
                location=plan.location,
                endpoint=self.endpoint.name,
                model=model.version_resource_name,
                display_name=plan.registered.display_name,
                machine_type=replica.machine_type,
                accelerator_type=replica.accelerator_type,
                accelerator_count=replica.accelerator_count or None,
                min_replicas=plan.min_replicas,
                max_replicas=plan.max_replicas,
                autoscaling=dict(plan.metrics),
                service_account=account.email,
                traffic_steps=list(plan.traffic_steps),
                step_seconds=plan.step_seconds,
                spot=replica.spot,
            ),
            # The container reads its model at its very first start.
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[reader],
                custom_timeouts=pulumi.CustomTimeouts(
                    create=f"{plan.create_seconds}s",
                    update=f"{plan.update_seconds}s",
                    delete=f"{plan.delete_seconds}s",
                ),
            ),
        )

    def _url(self, plan: VertexPlan) -> pulumi.Output[str]:
        path = f"/v1/{self.endpoint_name}:predict"
        if plan.endpoint.kind == "public":
            return pulumi.Output.from_input(f"https://{plan.location}-aiplatform.googleapis.com{path}")
        if plan.endpoint.kind == "dedicated":
            return self.endpoint.dedicated_endpoint_dns.apply(lambda host: f"{_https(host)}{path}")
        return pulumi.Output.from_input(path)


def _private(plan: VertexEndpointPlan) -> vertex.AiEndpointPrivateServiceConnectConfigArgs | None:
    if plan.kind != "private-service-connect":
        return None
    return vertex.AiEndpointPrivateServiceConnectConfigArgs(
        enable_private_service_connect=True, project_allowlists=list(plan.projects)
    )


def _container(plan: VertexContainerPlan, image: pulumi.Input[str]) -> ContainerSpecArgs:
    return ContainerSpecArgs(
        image_uri=image,
        env=dict(plan.env),
        ports=[plan.port],
        health_route=plan.health_route,
        predict_route=plan.predict_route,
        startup_probe=_probe(plan.startup_probe),
        deployment_timeout_seconds=plan.deployment_seconds,
    )


def _probe(plan: ProbePlan) -> ProbeArgs:
    return ProbeArgs(
        http_get=None if plan.command else HttpGetArgs(path=plan.path, port=plan.port),
        exec=ExecArgs(command=list(plan.command)) if plan.command else None,
        initial_delay_seconds=plan.initial_delay_seconds,
        period_seconds=plan.period_seconds,
        timeout_seconds=plan.timeout_seconds,
        failure_threshold=plan.failure_threshold,
    )


def _https(host: str) -> str:
    """The address of a host; the provider gives it with its scheme, the API without."""
    return host if host.startswith("https://") else f"https://{host}"
