"""One container image, built from its folder or given by digest."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker_build as docker_build
from pulumi_gcp import artifactregistry

from stacks.plan.types import ImagePlan


@dataclass(frozen=True)
class ContainerImageArgs:
    """Inputs of :class:`ContainerImage`."""

    plan: ImagePlan
    repository: artifactregistry.Repository
    """Repository that receives the image; it must exist before the push."""


class ContainerImage(pulumi.ComponentResource):
    """An image that is deployed by digest and by nothing else.

    With a digest from the configuration it builds nothing. Otherwise it builds the image's own folder (the
    context ends there) and pushes it. It holds no registry password: the ambient Docker credential helper
    logs in. A preview does not build, so it needs no Docker engine.
    """

    reference: pulumi.Output[str]
    """`URL@sha256:…`, what a container runs."""

    def __init__(
        self, name: str, args: ContainerImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llm:index:ContainerImage", name, None, opts)
        plan = args.plan
        if plan.digest is not None:
            self.reference = pulumi.Output.from_input(f"{plan.url}@{plan.digest}")
        else:
            self.reference = pulumi.Output.concat(plan.url, "@", self._build(name, args).digest)
        self.register_outputs({"reference": self.reference})

    def _build(self, name: str, args: ContainerImageArgs) -> docker_build.Image:
        plan = args.plan
        return docker_build.Image(
            f"{name}-build",
            push=True,
            build_on_preview=False,
            context={"location": plan.context},
            dockerfile={"location": f"{plan.context}/Dockerfile"},
            platforms=[docker_build.Platform(plan.platform)],
            build_args=plan.build_args,
            tags=[f"{plan.url}:{plan.tag}"],
            # The push fails unless the repository is there, and the address is text from the plan. An image
            # that a service still runs must survive a rebuild, so clean-up is the repository's policy.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.repository], retain_on_delete=True),
        )
