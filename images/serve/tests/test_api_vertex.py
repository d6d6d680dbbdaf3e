"""What Vertex AI expects of a container."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from conftest import serving
from test_process import server

PREDICT = "/v1/endpoints/1/deployedModels/2:predict"
HEALTH = "/v1/endpoints/1/deployedModels/2"


def test_a_process_with_vertex_s_variables_answers_at_vertex_s_port_and_paths(
    environment: dict[str, str], t5: Path, tmp_path: Path
) -> None:
    """The variables that Vertex AI sets, and no MODEL_PATH: the model is where AIP_STORAGE_URI says."""
    given = {
        name: value for name, value in environment.items() if name not in ("MODEL_PATH", "MAX_NEW_TOKENS")
    }
    vertex = {
        "AIP_HTTP_PORT": "@PORT@",
        "AIP_HEALTH_ROUTE": HEALTH,
        "AIP_PREDICT_ROUTE": PREDICT,
        "AIP_STORAGE_URI": str(t5),
        "MAX_NEW_TOKENS": "24",
    }
    with server(given | vertex, tmp_path / "log") as (_, client):
        prompts = ["Tell me a joke", {"prompt": "Wie alt sind Sie?"}]
        answer = client.post(PREDICT, json={"instances": prompts, "parameters": {"max_new_tokens": 8}})
        alone = [
            client.post("/predict", json={"prompt": prompt, "max_new_tokens": 8}).json()["generated_text"]
            for prompt in ("Tell me a joke", "Wie alt sind Sie?")
        ]
        wrong = client.post(PREDICT, json={"instances": []})
        health = client.get(HEALTH)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": alone}
    assert health.status_code == 200
    assert set(wrong.json()["error"]) == {"code", "message"}, "OpenAI's form is for OpenAI's routes"


def test_vertex_s_health_route_says_no_until_the_model_answers_even_where_it_is_ours(
    t5: Path, settings_for, run
) -> None:
    async def ask(route: str) -> list[httpx.Response]:
        settings = settings_for(t5, vertex_health_route=route)
        async with serving(settings, wait_ready=False) as (client, service):
            early = await client.get(route)
            while service.host.status.value != "ready":
                await asyncio.sleep(0.01)
            return [early, await client.get(route)]

    for route in ("/health", HEALTH):
        early, later = run(ask(route))
        assert (early.status_code, later.status_code) == (503, 200)


@pytest.mark.parametrize(
    ("health", "predict"),
    [
        ("/", "/"),
        ("/predict", "/predict"),
        ("/v1/models/flan", "/v1/models/flan:predict"),
        ("/v1/x", "/v1/y/"),
    ],
)
def test_any_two_paths_may_be_vertex_s(t5: Path, settings_for, run, health: str, predict: str) -> None:
    async def ask() -> list[httpx.Response]:
        settings = settings_for(t5, vertex_health_route=health, vertex_predict_route=predict)
        async with serving(settings) as (client, _):
            answer = await client.post(predict, json={"instances": ["Tell me"]})
            wrong = await client.post(predict, json={"instances": []})
            return [await client.get(health), answer, wrong, await client.get("/v1/models/owner/tiny")]

    state, answer, wrong, model = run(ask())
    assert (state.status_code, state.json()["status"]) == (200, "ready")
    assert (answer.status_code, set(answer.json())) == (200, {"predictions"})
    assert (wrong.status_code, set(wrong.json()["error"])) == (422, {"code", "message"})
    assert model.json()["id"] == "owner/tiny"


def test_a_route_of_openai_s_that_vertex_predicts_at_stays_openai_s(t5: Path, settings_for, run) -> None:
    async def ask() -> list[httpx.Response]:
        async with serving(settings_for(t5, vertex_predict_route="/v1/completions")) as (client, _):
            bodies: list[dict[str, object]] = [{"model": "owner/tiny", "prompt": "Tell me"}, {"prompt": 5}]
            return [await client.post("/v1/completions", json=body) for body in bodies]

    answer, wrong = run(ask())
    assert answer.json()["object"] == "text_completion"
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"instances": []}, "instances"),
        ({"instances": ["a", " "]}, "instances.1 is empty"),
        ({"instances": [{"text": "a"}]}, "instances.0"),
        ({"instances": ["a"], "parameters": {"max_tokens": 4}}, "parameters.max_tokens"),
        ({"instances": ["a"], "parameters": {"temperature": 0, "top_k": 3}}, "top_p and top_k"),
    ],
)
def test_wrong_instances_and_parameters_are_named(
    t5: Path, settings_for, run, body: dict[str, object], words: str
) -> None:
    async def ask() -> httpx.Response:
        async with serving(settings_for(t5)) as (client, _):
            return await client.post("/predict", json=body)

    response = run(ask())
    assert response.status_code == 422
    assert words in response.json()["error"]["message"]


def test_a_prompt_is_cut_only_where_the_request_says_so_and_keeps_its_special_tokens(
    t5: Path, settings_for, run
) -> None:
    words = " ".join(["Tell me a joke"] * 30)

    async def ask() -> list[httpx.Response]:
        async with serving(settings_for(t5)) as (client, _):
            cuts = ("never", "start", "end")
            return [await client.post("/generate", json={"prompt": words, "truncate": cut}) for cut in cuts]

    refused, *cut = run(ask())
    assert refused.json()["error"]["code"] == "prompt_too_long"
    for response in cut:
        usage = response.json()["usage"]
        assert usage["prompt_tokens"] == 40
        assert usage["truncated_tokens"] > 0, json.dumps(usage)
