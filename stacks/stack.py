"""From a plan to resources: the one place where a stack is put together."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from stacks.components.container_image import ContainerImage, ContainerImageArgs
from stacks.components.foundation import Foundation, FoundationArgs
from stacks.plan.types import StackPlan
from stacks.topologies.cloud_run import CloudRunServing, CloudRunServingArgs


@dataclass(frozen=True)
class Stack:
    """What a stack is made of, by logical name."""

    foundation: Foundation
    images: dict[str, ContainerImage]
    deployments: dict[str, CloudRunServing]


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
        for name, deployment in plan.deployments.items()
    }
    return Stack(foundation, images, deployments)


def export_stack(plan: StackPlan, stack: Stack) -> None:
    """Export what somebody outside needs: where each deployment answers and what it serves."""
    pulumi.export("urls", {name: deployment.url for name, deployment in stack.deployments.items()})
    pulumi.export("models", {name: deployment.model for name, deployment in plan.deployments.items()})
    pulumi.export("bucket", stack.foundation.bucket.name)
    pulumi.export("repository", plan.foundation.repository.url)
