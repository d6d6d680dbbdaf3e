"""The rehearsed cloud's runner where a container does not come up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.runner import StartError, WorkloadSpec
from rehearsal.runner.docker import DockerRunner, containers
from rehearsal.runner.types import Image
from tests.docker.containers import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
NAME, DIGEST = "runner-test", "sha256:" + "0" * 64


@pytest.fixture
def workload(base: str, tmp_path: Path) -> Iterator[WorkloadSpec]:
    """A workload of an image that is nothing but the base image."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "Dockerfile").write_text('ARG BASE\nFROM ${BASE}\nENTRYPOINT ["/no/such/program"]\n')
    folder = tmp_path / "workloads/w"
    folder.mkdir(parents=True)
    image = Image(NAME, DIGEST, snapshot, tmp_path / "context", {"BASE": base})
    yield WorkloadSpec("runner-test", folder, tmp_path, image, command=(), args=(), env={})
    docker("rmi", f"llmstack/{NAME}:{'0' * 12}")


def test_a_container_that_cannot_start_is_refused_and_not_left_behind(workload: WorkloadSpec) -> None:
    with pytest.raises(StartError, match=r"docker run .*/no/such/program"):
        DockerRunner().start(workload)
    assert containers(workload.world) == []
    assert not (workload.folder / "env").exists()


def test_an_image_that_cannot_be_built_is_refused_with_the_log_that_says_why(workload: WorkloadSpec) -> None:
    dockerfile = workload.image.snapshot / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN echo because-of-this && false\n")
    with pytest.raises(StartError, match=str(workload.log)):
        DockerRunner().start(workload)
    assert "because-of-this" in workload.log.read_text().splitlines()


def test_a_container_that_is_gone_is_not_adopted(workload: WorkloadSpec) -> None:
    assert DockerRunner().adopt(workload.folder, {"container": "llmstack-gone"}) is None
    assert not workload.log.exists()
