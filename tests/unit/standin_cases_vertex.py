"""Refusals of requests to create a custom job of Vertex AI."""

from __future__ import annotations

from providers.base.values import Properties
from rehearsal.cloud.aiplatform.custom_jobs import REQUEST
from tests.unit.standin_cases import Case, disabled
from tests.unit.standin_world import ABSENT, DIGEST, EMAIL, IMAGE, NOBODY, PROJECT, REGION

ACCEPTED_REQUEST: Properties = {
    "project": PROJECT,
    "location": REGION,
    "displayName": "dev-assistant-weights",
    "labels": {"llm-target": "0123456789abcdef"},
    "jobSpec": {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "e2-highmem-2"},
                "replicaCount": "1",
                "diskSpec": {"bootDiskType": "pd-standard", "bootDiskSizeGb": 100},
                "containerSpec": {
                    "imageUri": f"{IMAGE}@{DIGEST}",
                    "args": ["stage"],
                    "env": [{"name": "HF_TOKEN_SECRET", "value": "projects/p/secrets/s/versions/latest"}],
                },
            }
        ],
        "scheduling": {"timeout": "900s"},
        "serviceAccount": EMAIL,
    },
}
"""What Google accepts, with the place beside it."""

_POOL = "jobSpec.workerPoolSpecs[0]"
_ENV = f"{_POOL}.containerSpec.env"

VERTEX = [
    Case("api.aiplatform", REQUEST, "aiplatform.googleapis.com has not", spoil=disabled("aiplatform")),
    Case("vertex_job.region", REQUEST, "no address in mars-north1", {"location": "mars-north1"}),
    Case("vertex_job.display_name", REQUEST, "needs a display name", {"displayName": ABSENT}),
    Case("vertex_job.display_name.length", REQUEST, "129 bytes", {"displayName": "x" * 129}),
    Case("vertex_job.labels", REQUEST, "key 'Env'", {"labels": {"Env": "dev"}}),
    Case("vertex_job.pools", REQUEST, "needs a worker pool", {"jobSpec.workerPoolSpecs": []}),
    Case("vertex_job.pools", REQUEST, "workerPoolSpecs[0]", {f"{_POOL}.containerSpec": ABSENT}),
    Case("vertex_job.image", REQUEST, "needs an image", {f"{_POOL}.containerSpec.imageUri": ABSENT}),
    Case(
        "vertex_job.image.exists",
        REQUEST,
        "not found",
        {f"{_POOL}.containerSpec.imageUri": f"{IMAGE}@sha256:{'b' * 64}"},
    ),
    Case("vertex_job.machine", REQUEST, "needs a machine type", {f"{_POOL}.machineSpec": ABSENT}),
    Case(
        "vertex_job.machine.type",
        REQUEST,
        '"e2-standard-2" is not supported',
        {f"{_POOL}.machineSpec.machineType": "e2-standard-2"},
    ),
    Case("vertex_job.machine.type", REQUEST, '"huge"', {f"{_POOL}.machineSpec.machineType": "huge"}),
    Case("vertex_job.disk.type", REQUEST, "'pd-balanced'", {f"{_POOL}.diskSpec.bootDiskType": "pd-balanced"}),
    Case("vertex_job.disk.size", REQUEST, "50 GB", {f"{_POOL}.diskSpec.bootDiskSizeGb": 50}),
    Case(
        "vertex_job.variables.count",
        REQUEST,
        "101 environment variables",
        {_ENV: [{"name": f"V{i}", "value": ""} for i in range(101)]},
    ),
    Case("vertex_job.variables.name", REQUEST, "'A-B'", {f"{_ENV}[0].name": "A-B"}),
    Case("vertex_job.account.exists", REQUEST, NOBODY, {"jobSpec.serviceAccount": NOBODY}),
    Case(
        "vertex_job.account.elsewhere",
        REQUEST,
        "roles/iam.serviceAccountTokenCreator",
        {"jobSpec.serviceAccount": "serve@another-project.iam.gserviceaccount.com"},
    ),
]
