"""From a plan to resources: the one place where a stack is put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pulumi

from stacks.components.container_image import ContainerImage, ContainerImageArgs
from stacks.components.foundation import Foundation, FoundationArgs
from stacks.plan.types import StackPlan
from stacks.plan.types_gke import ClusterPlan
from stacks.topologies.cloud_run import CloudRunServing, CloudRunServingArgs

if TYPE_CHECKING:
    from stacks.components.tpu_cluster import TpuCluster
    from stacks.topologies.gke_tpu import TpuServing
    from stacks.topologies.vertex import VertexServing


@dataclass(frozen=True)
class Stack:
    """What a stack is made of, by logical name."""

    foundation: Foundation
    images: Mapping[str, ContainerImage]
    deployments: Mapping[str, CloudRunServing]
    """Those on Cloud Run."""
    cluster: TpuCluster | None = None
    on_tpu: Mapping[str, TpuServing] = field(default_factory=dict)
    """Those in the cluster."""
    on_vertex: Mapping[str, VertexServing] = field(default_factory=dict)
    """Those behind endpoints of Vertex AI."""


def build_stack(plan: StackPlan, hub_token: pulumi.Input[str] | None = None) -> Stack:
    """Create every resource of `plan`.

    Args:
        plan: what to build.
        hub_token: the Hub token, secret, when the plan creates a secret for it.
    """
    foundation = Foundation("foundation", FoundationArgs(plan.foundation, hub_token))
    images = {
        name: ContainerImage(f"image-{name}", ContainerImageArgs(image, foundation.repository))
        for name, image in plan.images.items()
    }
    deployments = {
        name: CloudRunServing(
            name,
            CloudRunServingArgs(
                plan=deployment,
                foundation=foundation,
                weights_image=images[deployment.weights.image].reference,
                serve_image=images[deployment.image].reference,
            ),
        )
        for name, deployment in plan.on_cloud_run.items()
    }
    stack = Stack(foundation, images, deployments)
    if plan.on_vertex:
        stack = _with_vertex(plan, stack)
    return stack if plan.cluster is None else _with_cluster(plan, plan.cluster, stack)


def _with_vertex(plan: StackPlan, stack: Stack) -> Stack:
    """Create what is served by Vertex AI, and the metadata store beside it."""
    # Importing its SDK takes time, which a stack without endpoints need not wait for.
    from stacks.components.metadata_store import MetadataStore, MetadataStoreArgs
    from stacks.topologies.vertex import VertexServing, VertexServingArgs

    if plan.metadata_store is not None:
        MetadataStore("metadata", MetadataStoreArgs(plan.metadata_store, stack.foundation))
    on_vertex = {
        name: VertexServing(
            name,
            VertexServingArgs(
                plan=deployment,
                foundation=stack.foundation,
                weights_image=stack.images[deployment.weights.image].reference,
                serve_image=stack.images[deployment.registered.container.image].reference,
            ),
        )
        for name, deployment in plan.on_vertex.items()
    }
    return replace(stack, on_vertex=on_vertex)


def _with_cluster(plan: StackPlan, shared: ClusterPlan, stack: Stack) -> Stack:
    """Create the cluster and what is in it."""
    # The SDKs that these need take seconds to import, which a stack without a cluster need not wait for.
    from stacks.components.tpu_cluster import TpuCluster, TpuClusterArgs
    from stacks.topologies.gke_tpu import TpuServing, TpuServingArgs

    cluster = TpuCluster("cluster", TpuClusterArgs(shared, stack.foundation))
    on_tpu = {
        name: TpuServing(
            name,
            TpuServingArgs(
                plan=deployment,
                foundation=stack.foundation,
                cluster=cluster,
                images={image: stack.images[image].reference for image in deployment.image_names},
            ),
        )
        for name, deployment in plan.on_tpu.items()
    }
    return replace(stack, cluster=cluster, on_tpu=on_tpu)


def export_stack(plan: StackPlan, stack: Stack) -> None:
    """Export what somebody outside needs: where each deployment answers, what it serves, how to get there."""
    pulumi.export("urls", {name: deployment.url for name, deployment in stack.deployments.items()})
    pulumi.export("models", {name: deployment.model for name, deployment in plan.deployments.items()})
    pulumi.export("bucket", stack.foundation.bucket.name)
    pulumi.export("repository", plan.foundation.repository.url)
    if stack.on_vertex:
        # Beside `urls`: these take Google's access tokens and Vertex AI's form of requests.
        pulumi.export("endpoints", {name: _endpoint(one) for name, one in stack.on_vertex.items()})
    if plan.cluster is not None and stack.cluster is not None:
        # Beside `urls`: these are reached from the cluster, from its network, or past a Gateway's sign-in.
        pulumi.export("addresses", {name: one.url for name, one in stack.on_tpu.items()})
        pulumi.export("cluster", stack.cluster.access)
        pulumi.export("connect", _connect(plan.cluster, plan.foundation.project))


def _endpoint(serving: VertexServing) -> dict[str, Any]:
    """What a client needs: gcloud takes the name, anything else the address."""
    return {"name": serving.endpoint_name, "url": serving.url}


def _connect(cluster: ClusterPlan, project: str) -> str:
    """The command that lets kubectl reach the cluster."""
    return (
        f"gcloud container clusters get-credentials {cluster.name} --location {cluster.location} "
        f"--project {project}" + (" --dns-endpoint" if cluster.dns_endpoint else "")
    )
