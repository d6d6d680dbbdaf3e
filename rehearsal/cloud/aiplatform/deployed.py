"""Deployed models as records below their endpoint, and the endpoint's traffic split."""

from __future__ import annotations

import re
from typing import Any

from rehearsal.cloud.aiplatform.names import public
from rehearsal.cloud.errors import ApiError
from rehearsal.world import Record, World

ENDPOINT = "aiplatform.endpoint"
DEPLOYED = "aiplatform.deployedModel"
DEPLOYING, READY, UNDEPLOYING = "deploying", "ready", "undeploying"
NEW = "0"
"""In a traffic split, what is being deployed: discovery document, DeployModelRequest.trafficSplit."""
_ID = re.compile(r"[0-9]{1,10}")

Split = dict[str, int]


def deployed_name(endpoint: str, id: str) -> str:
    """The full name of a deployed model."""
    return f"{endpoint}/deployedModels/{id}"


def of_endpoint(world: World, endpoint: str) -> list[Record]:
    """Every deployed model of an endpoint, also those that are coming and going."""
    return world.list(DEPLOYED, f"{endpoint}/deployedModels/")


def shown(world: World, endpoint: str) -> list[dict[str, Any]]:
    """The deployed models that an endpoint shows, the oldest first."""
    ready = [record for record in of_endpoint(world, endpoint) if record.body["stage"] != DEPLOYING]
    return [record.body["deployedModel"] for record in sorted(ready, key=lambda record: record.created)]


def references(world: World, model: str, version: str | None) -> list[dict[str, Any]]:
    """Where a model, or one version of it, is deployed or about to be: its DeployedModelRefs."""
    return [
        {
            "endpoint": public(world, record.name.partition("/deployedModels/")[0]),
            "deployedModelId": record.name.rpartition("/")[2],
        }
        for record in world.list(DEPLOYED)
        if record.body["model"] == model and version in (None, record.body["deployedModel"]["modelVersionId"])
    ]


def new_id(world: World, endpoint: str, wanted: str | None, generated: str) -> str:
    """The id of a model that is to be deployed.

    Raises:
        ApiError: the wanted one is malformed or taken.
    """
    if not wanted:
        return generated
    if not _ID.fullmatch(wanted) or wanted == NEW:
        raise ApiError("INVALID_ARGUMENT", f"deployedModel.id {wanted!r} does not have 1 to 10 digits")
    if world.get(deployed_name(endpoint, wanted)) is not None:
        where = public(world, endpoint)
        raise ApiError("ALREADY_EXISTS", f"DeployedModel {wanted} already exists in {where}.")
    return wanted


def check_split(split: Split, known: set[str]) -> None:
    """Refuse a split that does not add up, or sends traffic to what is not deployed.

    The discovery document, Endpoint.trafficSplit: the values add up to 100, or the map is empty.

    Raises:
        ApiError: why.
    """
    unknown = sorted(set(split) - known)
    if unknown:
        raise ApiError(
            "INVALID_ARGUMENT", f"traffic_split: no DeployedModel {', '.join(unknown)} in this Endpoint"
        )
    if any(percent < 0 for percent in split.values()):
        raise ApiError("INVALID_ARGUMENT", "traffic_split: a percentage is negative")
    if split and sum(split.values()) != 100:
        raise ApiError("INVALID_ARGUMENT", f"traffic_split adds up to {sum(split.values())}, not to 100")


def without_zeros(split: Split) -> Split:
    """A split as Vertex AI keeps it: who gets nothing is not in it."""
    return {id: percent for id, percent in split.items() if percent}


def with_new(split: Split, id: str) -> Split:
    """A split with the id of the model that was being deployed in place of `NEW`."""
    return {id if key == NEW else key: percent for key, percent in split.items()}
