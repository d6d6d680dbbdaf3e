"""Vertex AI's endpoints and metadata stores, and who may use an endpoint (`gcp:vertex/…`).

The records are those of the rehearsed cloud's REST face: what the one makes, the other shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.cloud.aiplatform import endpoint_state
from rehearsal.cloud.aiplatform.deployed import ENDPOINT, shown
from rehearsal.standins.gcp.iam import PathIamMember
from rehearsal.standins.model import Cloud, RecordModel, label_outputs, present_only
from rehearsal.world import Record

SERVICE = "aiplatform.googleapis.com"
_SAME = (
    "displayName",
    "description",
    "labels",
    "network",
    "encryptionSpec",
    "dedicatedEndpointEnabled",
    "predictRequestResponseLoggingConfig",
)
_PRIVATE = "privateServiceConnectConfig"
_ALLOWED = {"projectAllowlists": "projectAllowlist"}
"""Members of the private connection whose name in the SDK differs from the API's."""
_DEPLOYED = (
    *("id", "model", "modelVersionId", "displayName", "createTime", "serviceAccount"),
    *("sharedResources", "enableAccessLogging"),
)


def endpoint_name(project: str, location: str, endpoint: str) -> str:
    """Full name of an endpoint, from its id or its path."""
    path = endpoint if "/" in endpoint else f"projects/{project}/locations/{location}/endpoints/{endpoint}"
    return f"{SERVICE}/{path}"


class Endpoint(RecordModel):
    """An endpoint. Its traffic is left alone unless the program gives it."""

    type_name = "gcp:vertex/aiEndpoint:AiEndpoint"
    kind = ENDPOINT
    service = SERVICE
    api = SERVICE
    auto_name = "name"
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE", "region": None}
    unmanaged_maps = ("labels",)

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The endpoint in its location."""
        return endpoint_name(inputs["project"], inputs["location"], inputs["name"])

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As the REST face keeps it."""
        given = present_only({name: inputs.get(name) for name in _SAME})
        if inputs.get("trafficSplit"):
            given["trafficSplit"] = json.loads(inputs["trafficSplit"])
        if inputs.get(_PRIVATE):
            given[_PRIVATE] = {_ALLOWED.get(key, key): value for key, value in inputs[_PRIVATE].items()}
        name = self.address(cloud, inputs)
        if not present:
            return endpoint_state.new_body(cloud.world, name, given)
        fixed = {key: value for key, value in present.items() if key not in _SAME}
        return endpoint_state.touched(cloud.world, {**fixed, **given, _PRIVATE: present.get(_PRIVATE)})

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        _, _, project, _, location, _, name = record.name.split("/")
        body, split = record.body, record.body.get("trafficSplit")
        renamed = {ours: theirs for theirs, ours in _ALLOWED.items()}
        private = {
            renamed.get(key, key): value
            for key, value in (body.get(_PRIVATE) or {}).items()
            if key != "serviceAttachment"
        }
        return present_only(
            {
                "name": name,
                "project": project,
                "location": location,
                "trafficSplit": json.dumps(split, sort_keys=True) if split else None,
                _PRIVATE: private or None,
                **{key: body.get(key) for key in _SAME},
            }
        )

    def computed(self, cloud: Cloud, record: Record) -> Properties:
        """Addresses, times, and what is deployed at it."""
        body = record.body
        return {
            "createTime": body["createTime"],
            "updateTime": body["updateTime"],
            "etag": body["etag"],
            "dedicatedEndpointDns": body.get("dedicatedEndpointDns", ""),
            "deployedModels": [_deployed(model) for model in shown(cloud.world, record.name)],
            "modelDeploymentMonitoringJob": "",
            **label_outputs(body.get("labels")),
        }

    def blocker(self, cloud: Cloud, id: str, state: Properties) -> str | None:
        """An endpoint with models at it cannot go."""
        name = self.name_of(cloud, id)
        ids = endpoint_state.occupants(cloud.world, name)
        if ids:
            return f"googleapi: Error 400: {endpoint_state.not_empty(cloud.world, name, ids)}"
        return super().blocker(cloud, id, state)


class MetadataStore(RecordModel):
    """A metadata store; deleting it deletes what is in it."""

    type_name = "gcp:vertex/aiMetadataStore:AiMetadataStore"
    kind = "aiplatform.metadataStore"
    service = SERVICE
    api = SERVICE
    auto_name = "name"

    def provider_defaults(self, cloud: Cloud) -> Properties:
        """The provider's region, too."""
        return {**super().provider_defaults(cloud), **present_only({"region": cloud.region or None})}

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The store in its region."""
        region, name = inputs["region"], inputs["name"]
        return f"{SERVICE}/projects/{inputs['project']}/locations/{region}/metadataStores/{name}"

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As the REST face keeps it."""
        now = cloud.world.now()
        given = present_only({key: inputs.get(key) for key in ("description", "encryptionSpec")})
        return {"createTime": present.get("createTime", now), "updateTime": now, **given}

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        _, _, project, _, region, _, name = record.name.split("/")
        optional = {key: record.body.get(key) for key in ("description", "encryptionSpec")}
        return present_only({"name": name, "project": project, "region": region, **optional})

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Times and size."""
        times = {key: record.body[key] for key in ("createTime", "updateTime")}
        return {**times, "states": [{"diskUtilizationBytes": "0"}]}


class EndpointIamMember(PathIamMember):
    """A role on an endpoint."""

    type_name = "gcp:vertex/aiEndpointIamMember:AiEndpointIamMember"
    api = SERVICE
    service = SERVICE

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """The provider writes an endpoint as its path."""
        filled, endpoint = super().defaults(cloud, inputs), inputs.get("endpoint")
        parts = (filled.get("project"), filled.get("location"), endpoint)
        if all(isinstance(part, str) for part in parts):
            path = endpoint_name(*parts).partition("/")[2]  # type: ignore[arg-type]
            _, project, _, location, _, _ = path.split("/")
            return {**filled, "project": project, "location": location, "endpoint": path}
        return filled

    def target(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The endpoint."""
        return endpoint_name(inputs["project"], inputs["location"], inputs["endpoint"])

    def target_inputs(self, target: str) -> Properties:
        """Project, location, endpoint."""
        _, _, project, _, location, _, _ = target.split("/")
        return {"project": project, "location": location, "endpoint": self.short(target)}


def _deployed(model: dict[str, Any]) -> Properties:
    """A deployed model in the shape of the SDK, in which single objects are lists."""
    found = {key: model[key] for key in _DEPLOYED if key in model}
    resources = model.get("dedicatedResources")
    if resources:
        machine = {
            key: value
            for key, value in resources["machineSpec"].items()
            if key in ("acceleratorCount", "acceleratorType", "machineType")
        }
        counts = {key: resources[key] for key in ("minReplicaCount", "maxReplicaCount") if key in resources}
        found["dedicatedResources"] = [
            {
                **counts,
                "machineSpecs": [machine],
                "autoscalingMetricSpecs": resources.get("autoscalingMetricSpecs") or [],
            }
        ]
    return found
