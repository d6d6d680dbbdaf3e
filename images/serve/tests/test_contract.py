"""The server does what contract.json says, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import serving
from serve import contract
from serve.settings import Settings

FILE = Path(__file__).resolve().parents[1] / "contract.json"


def test_the_routes_are_those_of_the_contract(t5: Path, settings_for, run) -> None:
    async def describe() -> dict[str, object]:
        async with serving(settings_for(t5)) as (client, _):
            return (await client.get("/openapi.json")).json()

    paths = run(describe())["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    agreed = {(route["method"], route["path"]) for route in json.loads(FILE.read_text())["routes"].values()}
    assert served == agreed


def test_the_settings_are_the_environment_of_the_contract() -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    assert aliases - {"HOST"} == set(json.loads(FILE.read_text())["environment"])


def test_the_description_names_the_request_s_parameters(t5: Path, settings_for, run) -> None:
    async def describe() -> dict[str, object]:
        async with serving(settings_for(t5)) as (client, _):
            return (await client.get("/openapi.json")).json()

    content = run(describe())["paths"]["/generate"]["post"]["requestBody"]["content"]
    names = set(content["application/json"]["schema"]["properties"])
    assert {"prompt", "max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "stream"} <= names


def test_the_contract_is_read_from_its_file() -> None:
    assert contract.load().model_dump() == json.loads(FILE.read_text())


def test_metrics_count_requests_tokens_and_times(t5: Path, settings_for, run) -> None:
    async def use() -> tuple[dict[str, int], str]:
        async with serving(settings_for(t5)) as (client, _):
            answer = await client.post("/generate", json={"prompt": "Tell me a joke"})
            await client.post("/predict", json={"prompt": ""})
            await client.get("/made/up/path")
            return answer.json()["usage"], (await client.get("/metrics")).text

    usage, text = run(use())
    lines = text.splitlines()
    assert 'llm_requests_total{route="generate",status="200"} 1.0' in lines
    assert 'llm_requests_total{route="predict",status="422"} 1.0' in lines
    assert 'llm_requests_total{route="other",status="404"} 1.0' in lines
    assert f'llm_tokens_total{{kind="prompt"}} {float(usage["prompt_tokens"])}' in lines
    assert f'llm_tokens_total{{kind="generated"}} {float(usage["generated_tokens"])}' in lines
    assert 'llm_request_seconds_count{route="generate"} 1.0' in lines
    assert "llm_time_to_first_token_seconds_count 1.0" in lines
    assert "llm_ready 1.0" in lines
    assert "llm_queue_depth 0.0" in lines
    assert "llm_requests_held 0.0" in lines
