"""The metadata store of a stack: one for a project and region, which all deployments share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stacks.plan.types import DeploymentPlan, Profile
from stacks.plan.types_vertex import MetadataStorePlan, VertexPlan

if TYPE_CHECKING:
    from stacks.config_models import StackConfig

_NAME = "default"
"""The only store that Vertex AI's pipelines and experiments write to
(cloud.google.com/vertex-ai/docs/ml-metadata/configure)."""


def metadata_store(
    config: StackConfig, profile: Profile, deployments: Iterable[DeploymentPlan]
) -> MetadataStorePlan | None:
    """Plans the store where some deployment wants one.

    What pipelines of other stacks have written lies in it too, so a lasting environment leaves it in place.
    """
    if not any(isinstance(each, VertexPlan) and each.metadata_store for each in deployments):
        return None
    return MetadataStorePlan(
        name=_NAME,
        region=config.region,
        description=f"Made by stack {config.stack}",
        keep=profile.deletion_protection,
    )
