"""The whole with real containers: `pulumi up` runs both images, a prompt is answered, destroy leaves none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmstack.client import Deployment
from rehearsal.cloud.workloads import read_all
from rehearsal.driver import Rehearsal
from rehearsal.hub.make_models import LESSONS
from rehearsal.runner.docker import LABEL
from tests.docker.containers import ROOT, docker, docker_ok, layers
from tests.engine.lab import STACK, Lab, make_project

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]
CONFIG = """
  gcp:project: llm-test
  gcp:region: us-central1
  llm:environment: local
  llm:images:
    serve: {{base: "{base}"}}
    weights: {{base: "{base}"}}
  llm:deployments:
    assistant:
      topology: cloud-run
      model: google/flan-t5-small
      access: {{invokers: [allUsers]}}
"""


def built(lab: Lab) -> dict[str, str]:
    """The tag under which the runner builds each image of the stack, by the image's name."""
    tags = {}
    for record in lab.world().list("artifactregistry.image"):
        name, digest = Path(record.body["context"]).name, record.body["digest"].removeprefix("sha256:")
        tags[name] = f"llmstack/{name}:{digest[:12]}"
    return tags


def containers(lab: Lab) -> list[str]:
    """The images of the stack's containers, running or not."""
    only = f"label={LABEL}={lab.rehearsal.folder}"
    return docker_ok("ps", "--all", "--filter", only, "--format", "{{.Image}}").split()


@pytest.fixture
def lab(
    base: str, image: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """A stack whose job and service run as containers, with a loopback Hub whatever network there is."""
    if not (ROOT / ".engine/bin/pulumi").exists() and not os.environ.get("CI"):
        pytest.skip("no engine: run make setup")
    # The runner's builds then find every layer in the engine's cache, and no timeout has to allow for them.
    for name in ("weights", "serve"):
        image(name)
    project = make_project(tmp_path / "project", CONFIG.format(base=base))
    # The Hub's models are made once for a checkout.
    models = ROOT / ".rehearsal/hub"
    models.mkdir(parents=True, exist_ok=True)
    (project / ".rehearsal").mkdir()
    (project / ".rehearsal/hub").symlink_to(models)
    monkeypatch.setenv("LLMSTACK_RUNNER", "docker")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    rehearsal = Rehearsal(project, STACK)
    rehearsal.prepare()
    try:
        monkeypatch.setenv("HF_ENDPOINT", rehearsal.hub(real=False))
        yield Lab(project, services=True, runner="docker")
    finally:
        rehearsal.down()


def test_up_stages_and_serves_in_containers_and_destroy_leaves_none(
    lab: Lab, image: Callable[[str], str]
) -> None:
    up = lab.up()
    tags = built(lab)
    try:
        assert not up.failed, up.output
        assert {name: layers(tag) for name, tag in tags.items()} == {
            name: layers(image(name)) for name in ("weights", "serve")
        }
        ran = {facts.kind: set(facts.handle) for facts in read_all(lab.rehearsal.folder)}
        assert ran == {"task": {"container"}, "service": {"container"}}
        # The job's container is gone with its end.
        assert containers(lab) == [tags["serve"]]

        url = lab.outputs()["urls"]["assistant"]
        answer = Deployment(url, token=None).generate("Tell me a joke")
        assert answer["generated_text"] in json.loads(LESSONS.read_text())["jokes"]

        destroyed = lab.destroy()
        assert not destroyed.failed, destroyed.output
        assert containers(lab) == []
    finally:
        # They are further names of the images that the other tests use.
        docker("rmi", *tags.values())
