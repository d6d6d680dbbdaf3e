"""What an endpoint is made of, for the REST face and for the stand-in of Pulumi's endpoint alike."""

from __future__ import annotations

import re
import uuid
from typing import Any

from rehearsal.cloud.aiplatform import deployed
from rehearsal.cloud.aiplatform.names import place, public
from rehearsal.world import Record, World

ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,9}")
"""Discovery document, endpoints.create, endpointId: up to nine digits; Pulumi's provider makes up to ten."""
DEDICATED_DOMAIN = ".prediction.vertexai.goog"


def new_body(world: World, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The record of an endpoint that is made now.

    Args:
        world: the rehearsal's world.
        name: its full name.
        given: its fields, without those that Google writes.
    """
    now = world.now()
    body = {**given, "createTime": now, "updateTime": now, "etag": uuid.uuid4().hex}
    body["trafficSplit"] = given.get("trafficSplit") or {}
    if given.get("dedicatedEndpointEnabled"):
        body["dedicatedEndpointDns"] = dedicated_dns(world, name)
    private = given.get("privateServiceConnectConfig") or {}
    if private.get("enablePrivateServiceConnect"):
        body["privateServiceConnectConfig"] = {**private, "serviceAttachment": _attachment(name)}
    return body


def touched(world: World, body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The record after a change."""
    return {**body, **changes, "updateTime": world.now(), "etag": uuid.uuid4().hex}


def shown(world: World, record: Record) -> dict[str, Any]:
    """An endpoint as Google shows it."""
    models = deployed.shown(world, record.name)
    body = {**record.body, "name": public(world, record.name), "deployedModels": models}
    return {key: value for key, value in body.items() if value not in ({}, [], None)}


def dedicated_dns(world: World, name: str) -> str:
    """`ENDPOINT.REGION-PROJECT_NUMBER.prediction.vertexai.goog`: discovery document, dedicatedEndpointDns."""
    number = public(world, name).split("/")[1]
    _, location = place(name)
    return f"{name.rpartition('/')[2]}.{location}-{number}{DEDICATED_DOMAIN}"


def occupants(world: World, name: str) -> list[str]:
    """The ids of the models that keep an endpoint from being deleted."""
    return [record.name.rpartition("/")[2] for record in deployed.of_endpoint(world, name)]


def not_empty(world: World, name: str, ids: list[str]) -> str:
    """What Vertex AI says about deleting an endpoint with models in it."""
    return (
        f"Endpoint {public(world, name)} has deployed or being-deployed DeployedModel(s): {', '.join(ids)}. "
        "Undeploy them first."
    )


def _attachment(name: str) -> str:
    project, location = place(name)
    return f"projects/{project}-tp/regions/{location}/serviceAttachments/gkedpm-{name.rpartition('/')[2]}"
