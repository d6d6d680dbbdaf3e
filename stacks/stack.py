"""From a plan to resources: the one place where a stack is put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pulumi

from stacks.components.container_image import ContainerImage, ContainerImageArgs
from stacks.components.foundation import Foundation, FoundationArgs
from stacks.plan.types import StackPlan
from stacks.plan.types_gke import ClusterPlan
from stacks.topologies.cloud_run import CloudRunServing, CloudRunServingArgs

if TYPE_CHECKING:
    from stacks.components.tpu_cluster import TpuCluster
    from stacks.topologies.gke_tpu import TpuServing


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
    if plan.cluster is None:
        return Stack(foundation, images, deployments)
    return _with_cluster(plan, plan.cluster, Stack(foundation, images, deployments))


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
    if plan.cluster is not None and stack.cluster is not None:
        # Beside `urls`: these are reached from the cluster, from its network, or past a Gateway's sign-in.
        pulumi.export("addresses", {name: one.url for name, one in stack.on_tpu.items()})
        pulumi.export("cluster", stack.cluster.access)
        pulumi.export("connect", _connect(plan.cluster, plan.foundation.project))


def _connect(cluster: ClusterPlan, project: str) -> str:
    """The command that lets kubectl reach the cluster."""
    return (
        f"gcloud container clusters get-credentials {cluster.name} --location {cluster.location} "
        f"--project {project}" + (" --dns-endpoint" if cluster.dns_endpoint else "")
    )
