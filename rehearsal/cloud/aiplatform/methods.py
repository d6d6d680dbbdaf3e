"""All methods of Vertex AI that the rehearsed cloud has."""

from __future__ import annotations

from rehearsal.cloud.aiplatform import (
    custom_jobs,
    deployments,
    endpoints,
    metadata_stores,
    models,
    operation_methods,
    pipeline_jobs,
)
from rehearsal.cloud.aiplatform.operations import Work
from rehearsal.cloud.calls import Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.supervisor import Supervisor
from rehearsal.world import World

_LOCATION = ("projects", "locations")
_RESOURCES = ("customJobs", "endpoints", "metadataStores", "models", "pipelineJobs")
BELOW = [(*_LOCATION, name) for name in (*_RESOURCES, "operations")]
"""The resources of the discovery document that are looked at."""


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""
    prefix = ".".join(("aiplatform", *_LOCATION))
    found: dict[str, Handler] = operation_methods.handlers(f"{prefix}.operations")
    for name in _RESOURCES:
        found |= operation_methods.handlers(f"{prefix}.{name}.operations")
    for module in (custom_jobs, deployments, endpoints, metadata_stores, models, pipeline_jobs):
        found |= module.handlers(api)
    return found


def works(api: Api, world: World, supervisor: Supervisor) -> dict[str, Work]:
    """What the long-running operations of these methods do."""
    return {
        **models.works(world),
        **endpoints.works(api, world),
        **deployments.works(world, supervisor.deployed),
        **metadata_stores.works(api, world),
        **pipeline_jobs.works(world),
    }
