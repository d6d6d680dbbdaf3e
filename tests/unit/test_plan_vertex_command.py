"""`llmstack plan` and `llmstack fit` of deployments on Vertex AI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmstack.commands.plan_vertex import deployment_rows
from llmstack.main import app
from stacks.plan.catalog import catalog
from stacks.plan.fit import fit_model, fit_rows
from stacks.plan.tokens import default_tokens
from tests.unit.vertex_stacks import T4, planned, stack


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: llm\nruntime: python\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(folder: Path, **deployment: Any) -> dict[str, str]:
    return dict(deployment_rows(planned(folder, **deployment)))


def test_a_plan_shows_cost_of_idling_quota_and_switch(tmp_path: Path) -> None:
    rows = shown(tmp_path, machine=T4, scaling={"max": 2}, traffic={"steps": [10, 100], "stepSeconds": 30})
    assert rows["replica"].startswith("n1-standard-8 with 1 nvidia-tesla-t4, needs ")
    assert rows["replicas"] == "1 to 2, by the busier of CPU and GPU"
    assert rows["list price while idle"].startswith("$0.84 an hour, $613 a month: 1 × n1-standard-8")
    assert "2 nvidia-tesla-t4, 4 during a switch (CustomModelServingT4GPUs" in rows["quota"]
    assert rows["a switch"] == "10 %, then 100 % of requests, 30 s apart, when the new model serves"
    assert rows["a request"] == "600 s, 10 MB at most"
    assert rows["may ask it"] == "nobody yet"


def test_a_plan_shows_what_else_was_configured(tmp_path: Path) -> None:
    rows = shown(
        tmp_path,
        machine={**T4, "spot": True},
        scaling={"max": 2, "metric": "accelerator-duty-cycle", "target": 80},
        endpoint={"kind": "private-service-connect", "projects": ["acme-apps"]},
        access={"invokers": ["group:ml@example.com"]},
    )
    assert ", spot, needs " in rows["replica"]
    assert rows["replicas"] == "1 to 2, by accelerator/duty_cycle at 80 %"
    assert rows["endpoint"].endswith("from networks of acme-apps")
    assert rows["may ask it"] == "group:ml@example.com as roles/aiplatform.user"
    assert shown(tmp_path, machine={"type": "g4-standard-96"})["list price while idle"] == "not known here"


def test_the_command_prints_it_for_people_and_for_programs(project: Path) -> None:
    (project / "Pulumi.dev.yaml").write_text(json.dumps({"config": stack(engine="torchserve", machine=T4)}))
    text = CliRunner().invoke(app, ["plan", "dev"]).stdout
    assert "chat on vertex" in text
    assert "/predictions/gpt2" in text
    found = json.loads(CliRunner().invoke(app, ["plan", "dev", "--json"]).stdout)
    assert found["deployments"]["chat"]["replica"]["accelerator_type"] == "NVIDIA_TESLA_T4"


def test_a_model_that_one_gpu_does_not_hold_fits_several_and_is_not_deployable_yet() -> None:
    model = catalog()["Qwen/Qwen3-32B"].model_copy(update={"parameters": 100_000_000_000})
    rows = {row.engine: row for row in fit_rows(model, default_tokens(model)) if row.topology == "vertex"}
    assert rows["vllm"].fits
    assert int(rows["vllm"].machine.partition(", ")[2].partition(" ")[0]) > 1
    assert not rows["vllm"].deployable
    for name in catalog():
        assert all(row.deployable for row in fit_model(name, "vertex")), name
