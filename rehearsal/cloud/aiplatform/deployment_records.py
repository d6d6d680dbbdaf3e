"""The record of a deployed model: made when its deployment begins, finished when its container is healthy."""

from __future__ import annotations

from typing import Any

from rehearsal.cloud.aiplatform import artifacts, container, deployed, endpoint_state, model_versions, quotas
from rehearsal.cloud.aiplatform.deployed import DEPLOYED, DEPLOYING, READY
from rehearsal.cloud.aiplatform.models import find_version
from rehearsal.cloud.aiplatform.names import place, public
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.tokens import member_of
from rehearsal.world import AlreadyExists, Record, World

SERVICE_AGENT = "iam.serviceAgent"
"""Accounts that Google makes: no list of the project's accounts shows them."""


def deploying(world: World, operation: Record) -> float:
    """Write down what is being deployed.

    Args:
        world: the rehearsal's world.
        operation: of the deployment; one that began anew finds the record there.

    Returns:
        Seconds that the container may take until it is healthy.

    Raises:
        ApiError: no quota, or the endpoint or the model has gone.
    """
    endpoint, arguments = operation.body["target"], operation.body["arguments"]
    if world.get(endpoint) is None:
        raise ApiError("NOT_FOUND", f"The Endpoint does not exist: {public(world, endpoint)}")
    name = deployed.deployed_name(endpoint, arguments["id"])
    model, version = find_version(world, arguments["deployedModel"]["model"])
    spec = model_versions.shown(model.body, version).get("containerSpec") or {}
    shown = _shown(world, arguments, model, version)
    quotas.require(world, name, shown)
    body = {
        "stage": DEPLOYING,
        "operation": operation.name,
        "model": model.name,
        "deployedModel": shown,
        "template": _template(world, name, shown, model, version),
    }
    try:
        world.insert(DEPLOYED, name, body)
    except AlreadyExists:
        found = world.get(name)
        if found is None or found.body["operation"] != operation.name:
            raise
    return container.deployment_seconds(spec)


def readied(world: World, operation: Record) -> dict[str, Any]:
    """Make a deployment visible, and give it the traffic that was asked for; returns the deployed model.

    Raises:
        ApiError: what the traffic was to be split with has gone meanwhile.
    """
    endpoint, arguments = operation.body["target"], operation.body["arguments"]
    record = world.edit(
        deployed.deployed_name(endpoint, arguments["id"]), lambda body: {**body, "stage": READY}
    )
    split = deployed.with_new(arguments["trafficSplit"], arguments["id"])
    if split:
        deployed.check_split(split, {model["id"] for model in deployed.shown(world, endpoint)})
        split = deployed.without_zeros(split)
        world.edit(endpoint, lambda body: endpoint_state.touched(world, body, trafficSplit=split))
    found: dict[str, Any] = record.body["deployedModel"]
    return found


def _shown(world: World, arguments: dict[str, Any], model: Record, version: str) -> dict[str, Any]:
    given = arguments["deployedModel"]
    resources = given.get("dedicatedResources")
    if resources is not None:
        machine = {"machineType": container.DEFAULT_MACHINE, **resources["machineSpec"]}
        least = resources["minReplicaCount"]
        resources = {"maxReplicaCount": least, **resources, "machineSpec": machine}
        given = {**given, "dedicatedResources": resources}
    now = world.now()
    replicas = (resources or {}).get("minReplicaCount", 1)
    return {
        "displayName": model.body["displayName"],
        **given,
        "id": arguments["id"],
        "model": public(world, model.name),
        "modelVersionId": version,
        "createTime": now,
        "status": {"availableReplicaCount": replicas, "lastUpdateTime": now},
    }


def _template(world: World, name: str, shown: dict[str, Any], model: Record, version: str) -> dict[str, Any]:
    found = model.body["versions"][version]
    machine = (shown.get("dedicatedResources") or {}).get("machineSpec") or {}
    project, _ = place(name)
    _, number, *_ = public(world, name).split("/")
    account = shown.get("serviceAccount") or _agent(world, project, number)
    copy = found.get("artifacts") or ""
    if copy:
        artifacts.allow(world, copy, member_of(account))
    facts = container.aip_variables(
        project_number=number,
        endpoint=name.split("/")[6],
        deployed=shown["id"],
        model=model.name.rpartition("/")[2],
        version=version,
        machine=machine.get("machineType") or container.DEFAULT_MACHINE,
        storage=copy,
    )
    return container.template(
        found.get("containerSpec") or {}, facts, account, machine.get("acceleratorType")
    )


def _agent(world: World, project: str, number: str) -> str:
    """Whom a container runs as when nobody says: an account of Google's, without access to the project."""
    email = f"service-{number}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
    name = f"iam.googleapis.com/projects/{project}/serviceAccounts/{email}"
    if world.get(name) is None:
        world.insert(SERVICE_AGENT, name, {"email": email})
    return email
