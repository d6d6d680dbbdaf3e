"""The server does what contract.json says, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import serving
from serve import contract, manifest, server
from serve.app import engine_settings
from serve.errors import Exit, StartupError
from serve.settings import EngineName, Settings, from_environment

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


GIVEN = {
    "MODEL_PATH": "/mnt/models/a",
    "MODEL_NAME": "owner/tiny",
    "ENGINE": "transformers",
    "DTYPE": "float32",
    "MAX_INPUT_TOKENS": "512",
    "MAX_NEW_TOKENS": "256",
    "MAX_QUEUE": "64",
    "THREADS": "2",
}


@pytest.mark.parametrize(
    ("more", "bounds"),
    [
        ({}, (32, 16_384, 16_384)),
        ({"MAX_QUEUE": "8"}, (8, 16_384, 16_384)),
        ({"MAX_INPUT_TOKENS": "20000", "MAX_NEW_TOKENS": "1000"}, (32, 20_000, 21_000)),
        ({"MAX_BATCH": "100", "MAX_BATCH_TOKENS": "600", "CACHE_TOKENS": "4096"}, (64, 600, 4096)),
    ],
)
def test_the_engine_gets_bounds_that_agree_with_the_server_s(
    more: dict[str, str], bounds: tuple[int, int, int]
) -> None:
    settings = from_environment(GIVEN | more)
    engine = engine_settings(settings)
    assert (engine.max_batch, engine.max_batch_tokens, engine.cache_tokens) == bounds
    assert engine.max_waiting > settings.max_queue, "the gate is the bound that clients meet"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"DTYPE": "int8"}, "only ENGINE=ctranslate2"),
        ({"ENGINE": "tensorrt"}, "ENGINE is 'tensorrt'"),
        ({"CACHE_TOKENS": "500"}, "CACHE_TOKENS is 500, less than one prompt"),
        ({"MAX_BATCH": "0"}, "MAX_BATCH is '0'"),
        ({"MAX_QUEUE": "many", "CACHE_TOKENS": "500"}, "MAX_QUEUE is 'many'"),
        ({"MODEL_PATH": "", "AIP_STORAGE_URI": "https://host/model"}, "MODEL_PATH is not set"),
        ({"ENGINE": ""}, "ENGINE is not set (what runs the model"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused_with_their_names(
    more: dict[str, str], words: str
) -> None:
    with pytest.raises(StartupError) as refused:
        from_environment(GIVEN | more)
    assert refused.value.code == Exit.SETTINGS
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_int8_is_for_ctranslate2() -> None:
    settings = from_environment(GIVEN | {"DTYPE": "int8", "ENGINE": "ctranslate2"})
    assert (settings.dtype, settings.engine) == ("int8", "ctranslate2")


def test_an_engine_that_this_image_lacks_is_refused_with_the_image_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "vllm" else object())
    server.check_engine("transformers")
    with pytest.raises(StartupError, match="lacks vllm: use the image serve-vllm") as refused:
        server.check_engine("vllm")
    assert refused.value.code == Exit.SETTINGS


def test_an_engine_s_module_is_imported_only_when_it_is_made() -> None:
    program = (
        "import sys; from serve import server\n"
        "heavy = {'torch', 'transformers', 'ctranslate2', 'vllm', 'google.cloud.storage'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("staged_as", "engine", "wanted"),
    [("safetensors", "ctranslate2", "ctranslate2"), ("ctranslate2", "transformers", "safetensors")],
)
def test_a_model_staged_for_another_engine_is_refused_with_the_format_to_stage(
    t5: Path, tmp_path: Path, staged_as: str, engine: EngineName, wanted: str
) -> None:
    text = (t5 / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"safetensors"', f'"{staged_as}"'))
    with pytest.raises(StartupError, match=f"does not read; stage it in the format {wanted}") as refused:
        manifest.check(tmp_path, engine)
    assert refused.value.code == Exit.MODEL_FILES


def test_the_description_names_the_request_s_parameters(t5: Path, settings_for, run) -> None:
    async def describe() -> dict[str, object]:
        async with serving(settings_for(t5)) as (client, _):
            return (await client.get("/openapi.json")).json()

    page = run(describe())
    content = page["paths"]["/generate"]["post"]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    names = set(page["components"]["schemas"][name]["properties"])
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
    assert "llm_batch_size 0.0" in lines
    rows = next(line for line in lines if line.startswith('llm_engine_batch_rows_bucket{le="1.0"} '))
    assert float(rows.split()[1]) >= usage["generated_tokens"], "each of its steps carried one answer"
    # The tokens of the first prompt, which makes the server ready, are the engine's but no client's.
    engine_tokens = next(line for line in lines if line.startswith("llm_engine_tokens_total "))
    assert float(engine_tokens.split()[1]) > usage["generated_tokens"]
    gaps = next(line for line in lines if line.startswith("llm_inter_token_seconds_count "))
    assert float(gaps.split()[1]) == usage["generated_tokens"] - 1
