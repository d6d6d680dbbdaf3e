"""A weights job of a cluster without a control plane: our own runner, and what answers it in a rehearsal."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth.credentials
import pytest

from providers.base.errors import ProviderError
from providers.modelops.client import Google
from providers.modelops.kubernetes_definition import KubernetesDefinition
from providers.modelops.kubernetes_jobs import KubernetesJobs
from providers.modelops.runners import Execution, Work
from rehearsal.cloud.tokens import Tokens
from rehearsal.cloud.workloads import Workloads
from rehearsal.cluster.jobs_only import Jobs, JobsFace
from rehearsal.cluster.pod_run import Site
from rehearsal.runner.stub import StubRunner
from rehearsal.world import DEPLOYER, World
from tests.unit.cloud_world import BUCKET, LOCATION, PROJECT, REGION, Running

CLUSTER = f"{LOCATION}/clusters/llm"
SPACE = f"container.googleapis.com/{CLUSTER}/k8s/namespaces/llm"
DIGEST = "sha256:" + "cd" * 32
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/containers/weights@{DIGEST}"
LONGEST_SECONDS = 60.0


class Owner(google.auth.credentials.Credentials):
    """Credentials of whom the rehearsed cloud takes for the deployer, or of somebody else."""

    def __init__(self, world: World, member: str) -> None:
        super().__init__()
        self.token = Tokens(world.folder).access(member)["access_token"]

    def refresh(self, request: Any) -> None:
        """Never needed."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A rehearsed cloud with an image and the namespace's service account, which may write the bucket."""
    running = Running(tmp_path / "world")
    world = running.world
    (world.folder / "images" / DIGEST.removeprefix("sha256:")).mkdir(parents=True)
    images = f"artifactregistry.googleapis.com/{LOCATION}/repositories/containers/dockerImages"
    body = {"uri": IMAGE, "digest": DIGEST, "context": str(tmp_path), "tags": []}
    world.insert("artifactregistry.image", f"{images}/weights@{DIGEST}", body)
    world.insert("kubernetes.object", f"{SPACE}/ServiceAccount/weights", {"metadata": {"name": "weights"}})
    yield running
    running.stop()


@pytest.fixture
def face(running: Running, tmp_path: Path) -> Iterator[JobsFace]:
    """What runs the cluster's jobs, with stubbed containers."""
    (tmp_path / "certificates").mkdir()
    address = running.base_url.removeprefix("http://")
    site = Site(running.world, Workloads(running.world, StubRunner(), address), PROJECT, CLUSTER)
    face = JobsFace(site, tmp_path / "certificates")
    yield face
    face.stop()


def work(face: JobsFace) -> Work:
    """A job that stages a model."""
    target = f"gs://{BUCKET}/models/m"
    what = ["--repo", "gpt2", "--revision", "a" * 40, "--format", "safetensors", "--dtype", "float32"]
    definition = {
        "image": IMAGE,
        "args": ["stage", "--target", target, *what],
        "env": {},
        "serviceAccount": "weights",
        "timeoutSeconds": 600,
        "labels": {"stack": "test"},
        "cluster": {
            "endpoint": face.endpoint,
            "caCertificate": base64.b64encode(face.authority.pem).decode(),
        },
    }
    name = f"{CLUSTER}/k8s/namespaces/llm/jobs/assistant"
    return Work(name, "0123456789abcdef", KubernetesDefinition.model_validate(definition))


def jobs(world: World, member: str = DEPLOYER) -> KubernetesJobs:
    """The runner, as somebody."""
    return KubernetesJobs(Google(threading.Event(), credentials=Owner(world, member)))


def ended(runner: KubernetesJobs, begun: Execution) -> Execution:
    """The execution at its end."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (found := runner.execution(begun.name)).done:
        assert time.monotonic() < deadline, found.message
        time.sleep(0.1)
    return found


def pods(world: World) -> str:
    """Whom the job's pods are to Google."""
    number = world.ensure_project(PROJECT).body["number"]
    pool = f"projects/{number}/locations/global/workloadIdentityPools/{PROJECT}.svc.id.goog"
    return f"principal://iam.googleapis.com/{pool}/subject/ns/llm/sa/weights"


def test_a_job_stages_as_the_pods_themselves_and_a_second_one_is_another(
    running: Running, face: JobsFace
) -> None:
    bucket = f"storage.googleapis.com/buckets/{BUCKET}"
    running.world.bind(bucket, "roles/storage.objectUser", pods(running.world))
    runner = jobs(running.world)
    first = runner.begin(work(face))
    found = ended(runner, first)
    assert found.succeeded, runner.exit_code(found)
    assert [each.name for each in running.world.objects.list(BUCKET, "models/m/")]
    second = runner.begin(work(face))
    assert second.name != first.name
    assert ended(runner, second).succeeded


def test_a_job_whose_pods_may_not_write_fails_with_its_exit_code(running: Running, face: JobsFace) -> None:
    runner = jobs(running.world)
    found = ended(runner, runner.begin(work(face)))
    code, said = runner.exit_code(found)
    assert not found.succeeded
    assert code
    assert "storage.objects" in said


def test_a_service_account_that_is_not_there_is_named_while_the_job_waits(
    running: Running, face: JobsFace
) -> None:
    running.world.delete(f"{SPACE}/ServiceAccount/weights")
    runner = jobs(running.world)
    begun = runner.begin(work(face))
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (said := runner.execution(begun.name).message):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert said == 'CreateContainerConfigError: serviceaccount "llm/weights" not found'
    runner.cancel(begun.name)
    assert runner.execution(begun.name).done


def test_nobody_but_the_deployer_runs_jobs(running: Running, face: JobsFace) -> None:
    with pytest.raises(ProviderError, match=r"does not know the caller \(401\)"):
        jobs(running.world, "serviceAccount:a@b.iam.gserviceaccount.com").begin(work(face))


def test_a_job_that_fills_a_disk_is_said_to_have_done_so_and_nothing_runs(
    running: Running, tmp_path: Path
) -> None:
    site = Site(running.world, Workloads(running.world, StubRunner(), "127.0.0.1:1"), PROJECT, CLUSTER)
    jobs = Jobs(site)
    volume = {"name": "disk", "persistentVolumeClaim": {"claimName": "weights"}}
    containers = [{"name": "verify", "image": IMAGE}]
    pod = {"serviceAccountName": "weights", "containers": containers, "volumes": [volume]}
    job = {"metadata": {"name": "fill"}, "spec": {"template": {"metadata": {}, "spec": pod}}}
    assert jobs.create("llm", job) is not None
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (conditions := (jobs.get("llm", "fill") or {})["status"].get("conditions")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [each["type"] for each in conditions] == ["Complete"]
    assert site.workloads.all() == []
    jobs.stop()


def test_a_job_that_a_rehearsal_cannot_do_is_said_to_be_done_and_why(running: Running) -> None:
    address = running.base_url.removeprefix("http://")
    known = Jobs(Site(running.world, Workloads(running.world, StubRunner(), address), PROJECT, CLUSTER))
    image = "us-docker.pkg.dev/cloud-tpu-images/inference/inference-checkpoint:v0.2.3"
    spec = {"containers": [{"name": "converter", "image": image}], "serviceAccountName": "converter"}
    job = {"metadata": {"name": "convert-1"}, "spec": {"template": {"metadata": {}, "spec": spec}}}
    made = known.create("llm", job)
    assert made
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (known.get("llm", "convert-1") or {})["status"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found = known.get("llm", "convert-1")
    assert found
    assert found["status"]["conditions"][0]["type"] == "Complete"
    assert "nothing was converted" in str(known.pods(made["metadata"]["uid"]))
    known.stop()
