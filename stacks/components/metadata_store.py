"""The metadata store of a stack's project and region."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import vertex

from stacks.components.foundation import Foundation
from stacks.plan.types_vertex import MetadataStorePlan


@dataclass(frozen=True)
class MetadataStoreArgs:
    """Inputs of :class:`MetadataStore`."""

    plan: MetadataStorePlan
    foundation: Foundation


class MetadataStore(pulumi.ComponentResource):
    """Where Vertex AI's pipelines and experiments keep what ran, with what, and what came of it.

    A region has one of that name. It holds what others wrote, too: a lasting environment leaves it in place.
    """

    store: vertex.AiMetadataStore

    def __init__(
        self, name: str, args: MetadataStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llm:index:MetadataStore", name, None, opts)
        plan = args.plan
        self.store = vertex.AiMetadataStore(
            f"{name}-store",
            name=plan.name,
            region=plan.region,
            description=plan.description,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=args.foundation.api("aiplatform"), retain_on_delete=plan.keep
            ),
        )
        self.register_outputs({"name": plan.name})
