"""The resources of `cloud-run` deployments written flat: no configuration, no plan, no components.

The rival of `bench/preview.py`: what a person would write for one case, every decision made by hand.
"""

import os

import pulumi
import pulumi_docker_build as docker_build
from pulumi_gcp import artifactregistry, cloudrunv2, projects, serviceaccount, storage

from stacks.modelops import StagedModel

PROJECT, REGION, STACK = "llm-bench", "us-central1", "bench"
MODEL, REVISION = "google/flan-t5-small", "0fc9ddf78a1e988dac52e2dac162b0ede4fd74ab"
PREFIX = f"models/google--flan-t5-small/{REVISION}/safetensors-float32"
BUCKET = f"{PROJECT}-{STACK}-models"
URL = f"{REGION}-docker.pkg.dev/{PROJECT}/llm-{STACK}"
LABELS = {"llm-stack": STACK, "llm-environment": "local", "managed-by": "pulumi"}
ROOT = os.environ["BENCH_ROOT"]

APIS = os.environ["BENCH_APIS"].split(",")
apis = {
    api: projects.Service(
        f"foundation-api-{api.removesuffix('.googleapis.com')}",
        service=api,
        disable_on_destroy=False,
        disable_dependent_services=False,
    )
    for api in APIS
}
repository = artifactregistry.Repository(
    "foundation-images",
    repository_id=f"llm-{STACK}",
    location=REGION,
    format="DOCKER",
    description="Images of the language-model stack",
    labels=LABELS,
    cleanup_policy_dry_run=False,
    cleanup_policies=[
        {"id": "keep-recent", "action": "KEEP", "most_recent_versions": {"keep_count": 5}},
        {
            "id": "delete-untagged",
            "action": "DELETE",
            "condition": {"tag_state": "UNTAGGED", "older_than": "604800s"},
        },
    ],
    opts=pulumi.ResourceOptions(depends_on=[apis["artifactregistry.googleapis.com"]]),
)
bucket = storage.Bucket(
    "foundation-models",
    name=BUCKET,
    location=REGION.upper(),
    force_destroy=True,
    uniform_bucket_level_access=True,
    public_access_prevention="enforced",
    labels=LABELS,
    soft_delete_policy={"retention_duration_seconds": 0},
    lifecycle_rules=[{"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 1}}],
    opts=pulumi.ResourceOptions(depends_on=[apis["storage.googleapis.com"]]),
)
images = {}
for image in ("serve", "weights"):
    built = docker_build.Image(
        f"image-{image}-build",
        push=True,
        build_on_preview=False,
        context={"location": f"{ROOT}/images/{image}"},
        dockerfile={"location": f"{ROOT}/images/{image}/Dockerfile"},
        platforms=[docker_build.Platform.LINUX_AMD64],
        build_args={"BASE": "python:3.11.13-slim-bookworm"},
        tags=[f"{URL}/{image}:{STACK}"],
        opts=pulumi.ResourceOptions(depends_on=[repository], retain_on_delete=True),
    )
    images[image] = pulumi.Output.concat(f"{URL}/{image}@", built.digest)

for number in range(int(os.environ["BENCH_DEPLOYMENTS"])):
    name = f"d{number:03d}"
    writer = serviceaccount.Account(
        f"{name}-weights-account",
        account_id=f"{STACK}-{name}-weights",
        display_name="Stages weights",
        opts=pulumi.ResourceOptions(depends_on=[apis["iam.googleapis.com"]]),
    )
    writes = storage.BucketIAMMember(
        f"{name}-weights-writes-bucket",
        bucket=bucket.name,
        role="roles/storage.objectUser",
        member=writer.member,
    )
    job = cloudrunv2.Job(
        f"{name}-weights-job",
        name=f"{STACK}-{name}-weights",
        location=REGION,
        labels=LABELS,
        deletion_protection=False,
        template={
            "labels": {"llm-target": "0123456789abcdef"},
            "task_count": 1,
            "template": {
                "service_account": writer.email,
                "timeout": "3600s",
                "max_retries": 1,
                "containers": [
                    {
                        "image": images["weights"],
                        "args": [
                            "stage",
                            "--repo",
                            MODEL,
                            "--revision",
                            REVISION,
                            "--target",
                            f"gs://{BUCKET}/{PREFIX}",
                            "--format",
                            "safetensors",
                            "--dtype",
                            "float32",
                        ],
                        "envs": [],
                        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
                    }
                ],
            },
        },
        opts=pulumi.ResourceOptions(depends_on=[apis["run.googleapis.com"], writes]),
    )
    staged = StagedModel(
        f"{name}-weights-staged",
        job=job.id,
        target=f"gs://{BUCKET}/{PREFIX}",
        repository=MODEL,
        revision=REVISION,
        format="safetensors",
        dtype="float32",
        target_label="0123456789abcdef",
        retain=True,
        opts=pulumi.ResourceOptions(
            depends_on=[job, writes, bucket],
            custom_timeouts=pulumi.CustomTimeouts(create="7200s", update="7200s"),
        ),
    )
    reader = serviceaccount.Account(
        f"{name}-account",
        account_id=f"{STACK}-{name}-serve",
        display_name="Serves",
        opts=pulumi.ResourceOptions(depends_on=[apis["iam.googleapis.com"]]),
    )
    reads = storage.BucketIAMMember(
        f"{name}-reads-bucket",
        bucket=bucket.name,
        role="roles/storage.objectViewer",
        member=reader.member,
    )
    service = cloudrunv2.Service(
        f"{name}-service",
        name=f"{STACK}-{name}",
        location=REGION,
        labels=LABELS,
        ingress="INGRESS_TRAFFIC_ALL",
        deletion_protection=False,
        template={
            "execution_environment": "EXECUTION_ENVIRONMENT_GEN2",
            "service_account": reader.email,
            "timeout": "300s",
            "max_instance_request_concurrency": 8,
            "scaling": {"min_instance_count": 0, "max_instance_count": 3},
            "volumes": [
                {
                    "name": "models",
                    "gcs": {"bucket": BUCKET, "read_only": True, "mount_options": ["implicit-dirs"]},
                }
            ],
            "containers": [
                {
                    "image": images["serve"],
                    "ports": {"name": "http1", "container_port": 8080},
                    "envs": [
                        {"name": "MODEL_PATH", "value": f"/mnt/models/{PREFIX}"},
                        {"name": "MODEL_NAME", "value": MODEL},
                        {"name": "MAX_INPUT_TOKENS", "value": "512"},
                        {"name": "MAX_NEW_TOKENS", "value": "256"},
                        {"name": "MAX_QUEUE", "value": "8"},
                        {"name": "THREADS", "value": "2"},
                        {"name": "DTYPE", "value": "float32"},
                    ],
                    "resources": {
                        "limits": {"cpu": "2", "memory": "4Gi"},
                        "cpu_idle": True,
                        "startup_cpu_boost": True,
                    },
                    "volume_mounts": [{"name": "models", "mount_path": "/mnt/models"}],
                    "startup_probe": {
                        "http_get": {"path": "/ready", "port": 8080},
                        "period_seconds": 5,
                        "timeout_seconds": 3,
                        "failure_threshold": 24,
                    },
                    "liveness_probe": {
                        "http_get": {"path": "/health", "port": 8080},
                        "period_seconds": 10,
                        "timeout_seconds": 3,
                        "failure_threshold": 3,
                    },
                }
            ],
        },
        opts=pulumi.ResourceOptions(depends_on=[apis["run.googleapis.com"], staged, reads]),
    )
    pulumi.export(name, service.uri)
