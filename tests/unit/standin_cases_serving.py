"""Refusals about models at endpoints of Vertex AI: of requests, and of the resources that the SDK has."""

from __future__ import annotations

from providers.base.values import Properties
from rehearsal.cloud.aiplatform import custom_jobs, deployments, endpoints, models, pipeline_jobs
from tests.unit.standin_cases import Case
from tests.unit.standin_cases_vertex import ACCEPTED_REQUEST
from tests.unit.standin_world import (
    DIGEST,
    EMAIL,
    ENDPOINT,
    IMAGE,
    NOBODY,
    ON_ENDPOINT,
    PROJECT,
    REGION,
    STORE,
)

_PLACE: Properties = {"project": PROJECT, "location": REGION}

ACCEPTED_REQUESTS: dict[str, Properties] = {
    custom_jobs.REQUEST: ACCEPTED_REQUEST,
    pipeline_jobs.REQUEST: {**_PLACE, "displayName": "train", "labels": {"env": "dev"}},
    endpoints.REQUEST: {**_PLACE, "displayName": "assistant", "labels": {"env": "dev"}},
    models.REQUEST: {
        **_PLACE,
        "displayName": "assistant",
        "artifactUri": "gs://models/gpt2",
        "containerSpec": {
            "imageUri": f"{IMAGE}@{DIGEST}",
            "predictRoute": "/predict",
            "deploymentTimeout": "1800s",
        },
    },
    deployments.REQUEST: {
        **_PLACE,
        "displayName": "assistant",
        "serviceAccount": EMAIL,
        "dedicatedResources": {
            "machineSpec": {
                "machineType": "g2-standard-12",
                "acceleratorType": "NVIDIA_L4",
                "acceleratorCount": 1,
            },
            "minReplicaCount": 1,
            "maxReplicaCount": 2,
        },
    },
}
"""What Google accepts, with the place beside it, by request."""

_RESOURCES = "dedicatedResources"
_SPEC = f"{_RESOURCES}.machineSpec"

ENDPOINTS = [
    Case("vertex.display_name.length", ENDPOINT, "129 bytes", {"displayName": "x" * 129}),
    Case("vertex_endpoint.name", ENDPOINT, "'assistant' is no name", {"name": "assistant"}),
    Case("vertex_endpoint.name", ENDPOINT, "'0123' is no name", {"name": "0123"}),
    Case(
        "vertex_endpoint.network_or_connection",
        ENDPOINT,
        "network and privateServiceConnectConfig",
        {
            "network": "projects/12345/global/networks/default",
            "privateServiceConnectConfig": {"enablePrivateServiceConnect": True},
        },
    ),
    Case(
        "vertex_endpoint.network",
        ENDPOINT,
        "with the project's number",
        {"network": f"projects/{PROJECT}/global/networks/default"},
    ),
    Case("vertex_endpoint.traffic", ENDPOINT, "adds up to 90", {"trafficSplit": '{"1": 90}'}),
    Case("vertex_endpoint.traffic", ENDPOINT, "write a JSON object", {"trafficSplit": "all"}),
    Case("vertex_store.name", STORE, "'dev-store' is no name", {"name": "dev-store"}),
    Case("iam.endpoint.exists", ON_ENDPOINT, "endpoints/8", {"endpoint": "8"}),
]

REQUESTS = [
    Case("vertex_model.image", models.REQUEST, "is no image", {"containerSpec.imageUri": "docker.io/x/y"}),
    Case(
        "vertex_model.image.exists",
        models.REQUEST,
        "not found",
        {"containerSpec.imageUri": f"{IMAGE}@sha256:{'b' * 64}"},
    ),
    Case("vertex_model.timeout", models.REQUEST, "7201s", {"containerSpec.deploymentTimeout": "7201s"}),
    Case(
        "vertex_model.routes",
        models.REQUEST,
        "predictRoute and invokeRoutePrefix",
        {"containerSpec.invokeRoutePrefix": "/*"},
    ),
    Case("vertex_deployed.replicas", deployments.REQUEST, "0 replicas", {f"{_RESOURCES}.minReplicaCount": 0}),
    Case(
        "vertex_deployed.replicas.order",
        deployments.REQUEST,
        "fewer than the 3",
        {f"{_RESOURCES}.minReplicaCount": 3},
    ),
    Case(
        "vertex_deployed.machine",
        deployments.REQUEST,
        '"huge" is not supported',
        {f"{_SPEC}.machineType": "huge"},
    ),
    Case(
        "vertex_deployed.accelerator",
        deployments.REQUEST,
        "it takes NVIDIA_L4, 1",
        {f"{_SPEC}.acceleratorType": "NVIDIA_TESLA_T4"},
    ),
    Case(
        "vertex_deployed.accelerator",
        deployments.REQUEST,
        "it takes none",
        {f"{_SPEC}.machineType": "e2-standard-4"},
    ),
    Case("vertex_deployed.account.exists", deployments.REQUEST, NOBODY, {"serviceAccount": NOBODY}),
]
