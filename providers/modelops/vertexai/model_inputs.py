"""The inputs of a Model, and their form in Google's API.

Limits: the discovery document aiplatform.v1, Model, ModelContainerSpec, Probe and UploadModelRequest.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from providers.base.values import Properties
from providers.modelops.vertexai import metrics as metric_labels
from providers.modelops.vertexai.inputs import (
    DisplayName,
    EnvName,
    Folder,
    Image,
    LabelKey,
    LabelValue,
    Port,
    Positive,
    Spec,
    Text,
    VertexInputs,
    refuse,
)
from providers.modelops.vertexai.names import OWN_LABELS, digest

Route = Annotated[str, Field(pattern=r"^/")]
Alias = Annotated[str, Field(pattern=r"^[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]$")]
DEFAULT_ALIAS = "default"
_KINDS_OF_PROBE = ("http_get", "tcp_socket", "grpc", "exec")
_MAX_LABELS = 64


def _metric(value: float | None) -> float | None:
    if not metric_labels.representable(value):
        raise refuse("", "is not a finite number; leave it out or say null where nothing was measured")
    return value


class HttpGet(Spec):
    """A probe that asks for a page."""

    path: Route | None = None
    port: Port | None = None


class TcpSocket(Spec):
    """A probe that opens a connection."""

    port: Port


class Grpc(Spec):
    """A probe by gRPC's health service."""

    port: Port | None = None
    service: str | None = None


class Exec(Spec):
    """A probe by a command in the container."""

    command: Annotated[list[str], Field(min_length=1)]


class Probe(Spec):
    """How the container's health is looked at: exactly one way, and how often."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None
    exec: Exec | None = None
    initial_delay_seconds: Annotated[int, Field(ge=0)] | None = None
    period_seconds: Positive | None = None
    timeout_seconds: Positive | None = None
    failure_threshold: Positive | None = None
    success_threshold: Positive | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Probe:
        if sum(getattr(self, kind) is not None for kind in _KINDS_OF_PROBE) != 1:
            raise refuse("", "needs exactly one of httpGet, tcpSocket, grpc and exec")
        return self


class ContainerSpec(Spec):
    """The container that serves a model."""

    image_uri: Image
    command: list[str] | None = None
    args: list[str] | None = None
    env: Annotated[dict[EnvName, str], Field(max_length=200)] | None = None
    ports: Annotated[list[Port], Field(min_length=1, max_length=100)] | None = None
    predict_route: Route | None = None
    health_route: Route | None = None
    shared_memory_size_mb: Positive | None = None
    deployment_timeout_seconds: Annotated[int, Field(ge=1, le=2 * 60 * 60)] | None = None
    startup_probe: Probe | None = None
    health_probe: Probe | None = None
    liveness_probe: Probe | None = None

    def request(self) -> dict[str, Any]:
        """The ModelContainerSpec of a request."""
        body = self.properties()
        if "env" in body:
            body["env"] = [{"name": name, "value": value} for name, value in body["env"].items()]
        if "ports" in body:
            body["ports"] = [{"containerPort": port} for port in body["ports"]]
        if "sharedMemorySizeMb" in body:
            body["sharedMemorySizeMb"] = str(body["sharedMemorySizeMb"])
        if "deploymentTimeoutSeconds" in body:
            body["deploymentTimeout"] = f"{body.pop('deploymentTimeoutSeconds')}s"
        return body

    @staticmethod
    def shown(body: dict[str, Any]) -> Properties:
        """The inputs that a ModelContainerSpec was made of, as an import needs them."""
        fields = {field.alias or name for name, field in ContainerSpec.model_fields.items()}
        found: Properties = {name: value for name, value in body.items() if name in fields}
        if "env" in body:
            found["env"] = {each["name"]: each.get("value", "") for each in body["env"]}
        if "ports" in body:
            found["ports"] = [each["containerPort"] for each in body["ports"]]
        if "sharedMemorySizeMb" in body:
            found["sharedMemorySizeMb"] = int(body["sharedMemorySizeMb"])
        if "deploymentTimeout" in body:
            found["deploymentTimeoutSeconds"] = int(float(body["deploymentTimeout"].removesuffix("s")))
        return found


class ModelInputs(VertexInputs):
    """Validated, known inputs of a Model."""

    model_id: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,62}$")]
    display_name: DisplayName
    description: str = ""
    version_aliases: list[Alias] = Field(default_factory=list)
    container_spec: ContainerSpec
    artifact_uri: Folder | None = None
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    metrics: dict[Text, Annotated[float | None, AfterValidator(_metric)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _labels_fit(self) -> ModelInputs:
        taken = sorted(OWN_LABELS & self.labels.keys())
        if taken:
            raise refuse("labels", "{names} is set by the provider itself", names=", ".join(taken))
        overlap = sorted(metric_labels.to_labels(self.metrics).keys() & self.labels.keys())
        if overlap:
            raise refuse("labels", "{names} is the label of a metric", names=", ".join(overlap))
        keys = metric_labels.to_labels(self.metrics)
        if len(keys) < len(self.metrics):
            raise refuse("metrics", "two have names that differ only in what a label cannot hold")
        long = sorted(key for key in keys if len(key) > 63)
        if long:
            raise refuse("metrics", "{names} is longer than the 63 of a label's key", names=", ".join(long))
        if len(self.all_labels) + len(OWN_LABELS) > _MAX_LABELS:
            raise refuse("labels", "more than 64, with the metrics and the provider's own two")
        return self

    @property
    def name(self) -> str:
        """Full name of the model."""
        return f"{self.parent}/models/{self.model_id}"

    @property
    def content(self) -> str:
        """Digest of what a version is fixed by: another one needs another version."""
        return digest([self.container_spec.properties(), self.artifact_uri])

    @property
    def all_labels(self) -> dict[str, str]:
        """The labels with those of the metrics."""
        return {**self.labels, **metric_labels.to_labels(self.metrics)}


CONTENT = ("containerSpec", "artifactUri")
"""The inputs that `ModelInputs.content` is made of."""
