"""`llmstack ask` and `load-test` reach every kind of endpoint of a rehearsed Vertex AI, each where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmstack.client_vertex import OVERRIDE, VertexTarget
from llmstack.main import app
from tests.unit.aiplatform_world import Vertex, emptied, started
from tests.unit.cloud_world import REGION, Running

KINDS: dict[str, dict[str, Any]] = {
    "public": {},
    "dedicated": {"dedicatedEndpointEnabled": True},
    "private": {"privateServiceConnectConfig": {"enablePrivateServiceConnect": True}},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("vertex")) as cloud:
        yield cloud


@pytest.fixture
def vertex(running: Running) -> Iterator[Vertex]:
    made = Vertex(running)
    yield made
    emptied(running, made.api.projects().locations())


def url_of(vertex: Vertex, kind: str, name: str) -> str:
    """The address that a stack exports for an endpoint."""
    path = f"/v1/{name}:predict"
    if kind == "private":
        return path
    host = vertex.endpoints.get(name=name).execute().get("dedicatedEndpointDns")
    return f"https://{host or f'{REGION}-aiplatform.googleapis.com'}{path}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_endpoint_is_asked_and_measured(
    kind: str, vertex: Vertex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vertex.upload(modelId="tiny", env={"COLOUR": "red"})["model"]
    name = vertex.endpoint(**KINDS[kind])
    vertex.deploy(name, model, {"0": 100})
    variables = {OVERRIDE: f"{vertex.running.base_url}/"}
    target = VertexTarget(name, url_of(vertex, kind, name), "tiny", variables, rehearsed=True)
    for command in ("ask", "load_test"):
        monkeypatch.setattr(f"llmstack.commands.{command}.find_target", lambda *_: target)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: llm\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    monkeypatch.chdir(tmp_path)
    asked = CliRunner().invoke(app, ["ask", "dev", "chat", "Hi"])
    assert asked.exit_code == 0, asked.output
    assert "'COLOUR': 'red'" in asked.stdout
    few = ("--requests", "3", "--warm-up", "0", "--concurrency", "2", "--no-plot", "--json", "figures.json")
    measured = CliRunner().invoke(app, ["load-test", "dev", "chat", *few])
    assert measured.exit_code == 0, measured.output
    assert json.loads(Path("figures.json").read_text())["steps"][0]["answered"] == 3
