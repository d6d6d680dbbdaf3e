"""Google's own command line against the rehearsed Vertex AI, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import Request

from tests.unit.aiplatform_world import Vertex, start
from tests.unit.cloud_world import PROJECT, REGION

pytestmark = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")


@pytest.fixture
def vertex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vertex]:
    running = start(tmp_path / "world", monkeypatch)
    yield Vertex(running)
    running.stop()


@pytest.fixture
def gcloud(vertex: Vertex, tmp_path: Path) -> Callable[..., Any]:
    vertex.credentials.refresh(Request())
    (tmp_path / "token").write_text(vertex.credentials.token)
    settings = {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{vertex.running.base_url}/",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
    }

    def run(*arguments: str) -> Any:
        command = ["gcloud", "ai", *arguments, "--region", REGION, "--format", "json"]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return run


def test_gcloud_lists_describes_and_asks_what_was_made(vertex, gcloud, tmp_path):
    name, endpoint = vertex.upload(modelId="tiny", env={"COLOUR": "blue"})["model"], vertex.endpoint()
    operation = vertex.deploy(endpoint, name, {"0": 100})
    id = endpoint.rpartition("/")[2]
    assert [each["name"] for each in gcloud("models", "list")] == [name]
    assert [each["name"] for each in gcloud("endpoints", "list")] == [endpoint]
    described = gcloud("endpoints", "describe", id)
    assert described["deployedModels"][0]["id"] == operation["response"]["deployedModel"]["id"]
    (tmp_path / "request.json").write_text('{"instances": ["hello"]}')
    answer = gcloud("endpoints", "predict", id, "--json-request", str(tmp_path / "request.json"))
    assert answer["predictions"][0]["COLOUR"] == "blue"
