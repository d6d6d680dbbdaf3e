"""`VertexModel`: a model in Vertex AI's registry, with the container that serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from stacks.modelops.wire import VertexResource


@dataclass(frozen=True, kw_only=True)
class HttpGetArgs:
    """A probe that asks for a page: `path` begins with /, `port` is 1 to 65535."""

    path: pulumi.Input[str] | None = None
    port: pulumi.Input[int] | None = None


@dataclass(frozen=True, kw_only=True)
class TcpSocketArgs:
    """A probe that opens a connection to a port."""

    port: pulumi.Input[int]


@dataclass(frozen=True, kw_only=True)
class ExecArgs:
    """A probe that runs a command in the container."""

    command: pulumi.Input[Sequence[pulumi.Input[str]]]


@dataclass(frozen=True, kw_only=True)
class ProbeArgs:
    """How the container's health is looked at: in one of three ways; times in seconds."""

    http_get: HttpGetArgs | None = None
    tcp_socket: TcpSocketArgs | None = None
    exec: ExecArgs | None = None
    initial_delay_seconds: pulumi.Input[int] | None = None
    period_seconds: pulumi.Input[int] | None = None
    timeout_seconds: pulumi.Input[int] | None = None
    failure_threshold: pulumi.Input[int] | None = None
    success_threshold: pulumi.Input[int] | None = None


@dataclass(frozen=True, kw_only=True)
class ContainerSpecArgs:
    """The container that serves a model. A change of it, or of the artifact, makes another version.

    Args:
        image_uri: reference of the image in Artifact Registry, by digest.
        command: in place of the image's entrypoint.
        args: in place of the image's command.
        env: environment variables; at most 200.
        ports: the first one gets the requests.
        predict_route: path to which predictions are posted.
        health_route: path that is asked whether the container is healthy.
        shared_memory_size_mb: size of /dev/shm, in MB.
        deployment_timeout_seconds: how long a deployment may take; at most two hours.
        startup_probe: whether the container has started.
        health_probe: whether it can serve.
        liveness_probe: whether it must be started anew.
    """

    image_uri: pulumi.Input[str]
    command: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None
    args: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None
    env: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    ports: pulumi.Input[Sequence[pulumi.Input[int]]] | None = None
    predict_route: pulumi.Input[str] | None = None
    health_route: pulumi.Input[str] | None = None
    shared_memory_size_mb: pulumi.Input[int] | None = None
    deployment_timeout_seconds: pulumi.Input[int] | None = None
    startup_probe: ProbeArgs | None = None
    health_probe: ProbeArgs | None = None
    liveness_probe: ProbeArgs | None = None


@dataclass(frozen=True, kw_only=True)
class VertexModelArgs:
    """Inputs of a `VertexModel`.

    Args:
        project: the project's id.
        location: the region.
        model_id: id in the registry; another one replaces the model.
        display_name: what the console shows.
        container_spec: the container, or a mapping with the names on the wire (`imageUri`).
        description: a text for people.
        version_aliases: aliases of the version, beside `default`, which it always gets.
        artifact_uri: `gs://BUCKET/PREFIX` with the model's files; Vertex AI copies them at the upload.
        labels: labels of the version.
        metrics: the trained model's, by name; None where nothing was measured. They become labels.
    """

    project: pulumi.Input[str]
    location: pulumi.Input[str]
    model_id: pulumi.Input[str]
    display_name: pulumi.Input[str]
    container_spec: ContainerSpecArgs | Mapping[str, Any]
    description: pulumi.Input[str] | None = None
    version_aliases: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None
    artifact_uri: pulumi.Input[str] | None = None
    labels: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    metrics: pulumi.Input[Mapping[str, pulumi.Input[float] | None]] | None = None


class VertexModel(VertexResource):
    """A model in the registry; each container and artifact is a version of it.

    Args:
        resource_name: the resource's logical name.
        args: the inputs.
        opts: resource options; custom timeouts bound an upload and a deletion, half an hour by default.
    """

    def __init__(
        self, resource_name: str, args: VertexModelArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(
            "Model", resource_name, args, ("resourceName", "versionId", "versionResourceName"), opts
        )

    @property
    def resource_name(self) -> pulumi.Output[str]:
        """Full name of the model, `projects/P/locations/L/models/MODEL`."""
        return self._output("resourceName")

    @property
    def version_id(self) -> pulumi.Output[str]:
        """Number of the version that the inputs describe."""
        return self._output("versionId")

    @property
    def version_resource_name(self) -> pulumi.Output[str]:
        """Full name of that version, `projects/P/locations/L/models/MODEL@VERSION`: what is deployed."""
        return self._output("versionResourceName")
