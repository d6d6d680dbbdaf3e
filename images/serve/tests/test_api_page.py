"""The server's description of itself, its log lines and its request ids."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import serving
from scripted import ScriptedEngine
from serve import logs
from serve.api import pages


def going() -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.go.set()
    return engine


@pytest.fixture
def page(t5: Path, settings_for, run) -> dict[str, Any]:
    """The server's OpenAPI description."""

    async def read() -> dict[str, Any]:
        async with serving(settings_for(t5), going) as (client, _):
            return (await client.get("/openapi.json")).json()

    return run(read())


def refs_of(value: object) -> list[str]:
    """All references below a value."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for each in value.values() for ref in refs_of(each)]
    return [ref for each in value for ref in refs_of(each)] if isinstance(value, list) else []


def test_every_reference_of_the_description_leads_somewhere(page: dict[str, Any]) -> None:
    found = set(refs_of(page))
    known = {f"#/components/schemas/{name}" for name in page["components"]["schemas"]}
    assert found <= known
    assert {f"#/components/schemas/{model.__name__}" for model in pages.BODIES} <= found


def test_every_route_that_generates_describes_each_refusal_with_its_body(page: dict[str, Any]) -> None:
    for path in ("/predict", "/generate", "/v1/completions", "/v1/chat/completions"):
        responses = page["paths"][path]["post"]["responses"]
        assert {"200", "400", "413", "415", "429", "500", "503", "504"} <= set(responses)
        assert "Retry-After" in responses["429"]["headers"]
        example = responses["429"]["content"]["application/json"]["example"]["error"]
        assert ("type" in example) == path.startswith("/v1/")


def test_the_examples_of_bodies_are_what_the_server_takes(t5: Path, settings_for, run) -> None:
    async def ask() -> list[tuple[str, int, str]]:
        async with serving(settings_for(t5, max_new_tokens=64, max_input_tokens=99), going) as (client, _):
            page = (await client.get("/openapi.json")).json()
            results = []
            for path, methods in page["paths"].items():
                for ref in refs_of(methods.get("post", {}).get("requestBody", {})):
                    schema = page["components"]["schemas"][ref.rpartition("/")[2]]
                    for example in schema["examples"]:
                        body = example | ({"model": "owner/tiny"} if "model" in example else {})
                        response = await client.post(path, json=body)
                        results.append((path, response.status_code, response.text))
            return results

    results = run(ask())
    assert len(results) >= 5
    assert [each for each in results if each[1] != 200] == []


def test_a_request_s_log_line_has_figures_and_its_id_but_no_text(
    t5: Path, settings_for, run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def ask() -> list[str]:
        async with serving(settings_for(t5), going) as (client, _):
            asked = {"json": {"prompt": "zebra", "max_new_tokens": 3}}
            given = await client.post("/generate", headers={"X-Request-Id": "abc-1"}, **asked)
            made = await client.post("/generate", headers={"X-Request-Id": "no\tgood {}"}, **asked)
            return [given.headers["X-Request-Id"], made.headers["X-Request-Id"]]

    given, made = run(ask())
    lines = [
        logs.JsonFormatter().format(record) for record in caplog.records if record.name == "serve.request"
    ]
    assert (given, len(made)) == ("abc-1", 32)
    assert len(lines) == 2
    assert '"request_id": "abc-1"' in lines[0]
    assert '"generated_tokens": 3' in lines[0]
    assert '"prompt_tokens": 5' in lines[0]
    assert not [record for record in caplog.records if "zebra" in logs.JsonFormatter().format(record)]
