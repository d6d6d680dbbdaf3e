"""The inputs of a ModelDeployment, and their form in Google's API.

Limits: the discovery document aiplatform.v1, DeployedModel, DedicatedResources and MachineSpec.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from providers.base.values import Properties
from providers.modelops.vertexai.inputs import Account, Positive, Text, VertexInputs, refuse
from providers.modelops.vertexai.names import deployed_id, given_name, same_resource, shown_name

AcceleratorType = Literal[
    "NVIDIA_TESLA_P100",
    "NVIDIA_TESLA_V100",
    "NVIDIA_TESLA_P4",
    "NVIDIA_TESLA_T4",
    "NVIDIA_TESLA_A100",
    "NVIDIA_A100_80GB",
    "NVIDIA_L4",
    "NVIDIA_H100_80GB",
    "NVIDIA_H100_MEGA_80GB",
    "NVIDIA_H200_141GB",
    "NVIDIA_B200",
    "NVIDIA_GB200",
    "NVIDIA_RTX_PRO_6000",
    "TPU_V2",
    "TPU_V3",
    "TPU_V4_POD",
    "TPU_V5_LITEPOD",
]
"""Discovery document aiplatform.v1, MachineSpec.acceleratorType; the K80 is no longer offered."""

SCALING: Final = ("minReplicas", "maxReplicas", "autoscaling")
"""Inputs that can be changed of a model that is deployed: MutateDeployedModelRequest."""
ROUTING: Final = ("trafficSteps", "stepSeconds")
"""Inputs that say how traffic moves, and change nothing of what is deployed."""

_ENDPOINT = r"^(projects/[^/]+/locations/[^/]+/endpoints/)?[a-zA-Z0-9][a-zA-Z0-9-]{0,62}$"
_MODEL = r"^projects/[^/]+/locations/[^/]+/models/[^/@]+(@[^/@]+)?$"
_TPU_MACHINE = re.compile(r"^(ct5lp|ct6e|tpu7x)-")
_UTILISATION = ("/cpu/utilization", "/accelerator/duty_cycle")


class DeploymentInputs(VertexInputs):
    """Validated, known inputs of a ModelDeployment."""

    endpoint: Annotated[str, Field(pattern=_ENDPOINT)]
    model: Annotated[str, Field(pattern=_MODEL)]
    display_name: Annotated[str, Field(min_length=1, max_length=119)]
    """Vertex AI shows it with nine characters more, by which the resource knows its own."""
    machine_type: Text
    accelerator_type: AcceleratorType | None = None
    accelerator_count: Positive | None = None
    min_replicas: Positive = 1
    max_replicas: Positive | None = None
    autoscaling: dict[Text, Positive] = Field(default_factory=dict)
    service_account: Account | None = None
    spot: bool = False
    traffic_steps: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1)] = Field(
        default_factory=lambda: [100]
    )
    step_seconds: Annotated[int, Field(ge=0, le=24 * 60 * 60)] = 60

    @model_validator(mode="after")
    def _fits(self) -> DeploymentInputs:
        steps = self.traffic_steps
        if steps[-1] != 100 or steps != sorted(set(steps)):
            raise refuse("trafficSteps", "the steps grow, and the last is 100, for instance [10, 50, 100]")
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise refuse("maxReplicas", "is less than minReplicas")
        if (self.accelerator_type is None) != (self.accelerator_count is None):
            raise refuse("acceleratorCount", "goes with acceleratorType; give both or neither")
        if _TPU_MACHINE.match(self.machine_type) and self.accelerator_type is not None:
            raise refuse("acceleratorType", "a TPU machine has its chips in its name; leave it out")
        for metric, target in self.autoscaling.items():
            if metric.endswith(_UTILISATION) and target > 100:
                raise refuse("autoscaling", "the target of {metric} is a percentage, 1 to 100", metric=metric)
        return self

    @property
    def endpoint_name(self) -> str:
        """Full name of the endpoint."""
        return full_endpoint(self.endpoint, self.project, self.location)

    def machine(self) -> dict[str, Any]:
        """The MachineSpec."""
        spec = {
            "machineType": self.machine_type,
            "acceleratorType": self.accelerator_type,
            "acceleratorCount": self.accelerator_count,
        }
        return {name: value for name, value in spec.items() if value is not None}

    def scaling(self) -> dict[str, Any]:
        """What can be changed of the DedicatedResources."""
        return {
            "minReplicaCount": self.min_replicas,
            "maxReplicaCount": self.max_replicas or self.min_replicas,
            "autoscalingMetricSpecs": [
                {"metricName": metric, "target": target}
                for metric, target in sorted(self.autoscaling.items())
            ],
        }

    def request(self, urn: str, version: str) -> dict[str, Any]:
        """The DeployedModel of a request, under an id that follows from the resource and from what is fixed.

        Args:
            urn: of the resource.
            version: id of the model's version, for `model` may name an alias of it.
        """
        fixed = {
            "model": f"{self.model.partition('@')[0]}@{version}",
            "displayName": shown_name(self.display_name, urn),
            **({"serviceAccount": self.service_account} if self.service_account else {}),
        }
        machine = {"machineSpec": self.machine(), **({"spot": True} if self.spot else {})}
        return {
            **fixed,
            "id": deployed_id(urn, [fixed, machine]),
            "dedicatedResources": {**machine, **self.scaling()},
        }

    def fits(self, deployed: dict[str, Any], version: str) -> bool:
        """Whether what is deployed is what the inputs say, but for what can be changed of it."""
        found = observed(deployed)
        wanted = {**self.properties(), "model": f"{self.model.partition('@')[0]}@{version}"}
        return all(
            found.get(name) == wanted.get(name)
            for name in (
                "displayName",
                "machineType",
                "acceleratorType",
                "acceleratorCount",
                "serviceAccount",
                "spot",
            )
        ) and same_resource(found["model"], wanted["model"])


def full_endpoint(endpoint: str, project: str, location: str) -> str:
    """The full name of an endpoint that is given by its id or by its full name."""
    return endpoint if "/" in endpoint else f"projects/{project}/locations/{location}/endpoints/{endpoint}"


def observed(deployed: dict[str, Any]) -> Properties:
    """The inputs that a DeployedModel was made of, without those that only say how traffic moves."""
    resources = deployed.get("dedicatedResources") or {}
    machine = resources.get("machineSpec") or {}
    least = int(resources.get("minReplicaCount", 1))
    specs = resources.get("autoscalingMetricSpecs") or []
    found: Properties = {
        "model": f"{deployed['model'].partition('@')[0]}@{deployed.get('modelVersionId', '')}",
        "displayName": given_name(deployed.get("displayName", "")),
        "machineType": machine.get("machineType", ""),
        "minReplicas": least,
        "maxReplicas": int(resources.get("maxReplicaCount", least)),
        "autoscaling": {spec["metricName"]: int(spec.get("target", 60)) for spec in specs},
        "spot": bool(resources.get("spot", False)),
    }
    if machine.get("acceleratorType") and machine.get("acceleratorCount"):
        found["acceleratorType"] = machine["acceleratorType"]
        found["acceleratorCount"] = int(machine["acceleratorCount"])
    if deployed.get("serviceAccount"):
        found["serviceAccount"] = deployed["serviceAccount"]
    return found
