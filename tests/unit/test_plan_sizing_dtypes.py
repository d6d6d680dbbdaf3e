"""The element type of serving: what is chosen, what is refused, and what a smaller one saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stacks.plan.catalog import catalog
from stacks.plan.quantity import GIB
from stacks.plan.sizing import serving, terms
from stacks.plan.sizing.dtypes import smaller_dtypes
from stacks.plan.spec import DTYPE_BYTES
from stacks.plan.tokens import default_tokens
from tests.unit.config_sources import TINY, good, plan, problems

L4 = {"gpu": "nvidia-l4"}


def chosen(folder: Path, **deployment: Any) -> tuple[str, str]:
    found = plan(good(**deployment), folder).deployments["assistant"]
    assert found.env["DTYPE"] == found.dtype
    return found.dtype, found.staged.dtype


def test_a_cpu_computes_in_float32_and_a_gpu_in_the_checkpoint_s_element_type(tmp_path: Path) -> None:
    model = {**TINY, "checkpointDtype": "bfloat16"}
    assert chosen(tmp_path, model=model) == ("float32", "bfloat16")
    assert chosen(tmp_path, model=model, resources=L4) == ("bfloat16", "bfloat16")
    assert chosen(tmp_path, resources=L4) == ("float32", "float32")


def test_the_configured_element_type_is_computed_in_and_changes_nothing_that_is_staged(
    tmp_path: Path,
) -> None:
    usual = plan(good(), tmp_path).deployments["assistant"]
    other = plan(good(dtype="bfloat16"), tmp_path).deployments["assistant"]
    assert (other.dtype, other.staged) == ("bfloat16", usual.staged)
    assert other.sizing.need_bytes < usual.sizing.need_bytes


def test_a_bfloat16_checkpoint_is_staged_as_it_is_under_a_prefix_that_says_so(tmp_path: Path) -> None:
    model = {**TINY, "checkpointDtype": "bfloat16"}
    staged = plan(good(model=model), tmp_path).deployments["assistant"]
    assert staged.staged.prefix == f"models/acme--tiny/{'0' * 40}/safetensors-bfloat16/"
    assert staged.weights.args[-2:] == ("--dtype", "bfloat16")


@pytest.mark.parametrize(
    ("deployment", "reason", "remedy"),
    [
        ({"dtype": "float16"}, "T5 kind", "write float32 or bfloat16, or leave it out"),
        ({"dtype": "float16", "resources": L4}, "T5 kind", "write float32 or bfloat16, or leave it out"),
        ({"dtype": "float16", "model": "gpt2"}, "is for GPUs", "write float32 or bfloat16, or leave it out"),
    ],
)
def test_float16_is_refused_where_it_overflows(
    deployment: dict[str, Any], reason: str, remedy: str, tmp_path: Path
) -> None:
    (problem,) = problems(good(**deployment), tmp_path).problems
    assert problem.path == "llm:deployments.assistant.dtype"
    assert "float16" in str(problem.value)
    assert reason in problem.reason
    assert problem.remedy == remedy


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_float16_is_refused_for_gemma_3(engine: str, tmp_path: Path) -> None:
    config = good(dtype="float16", model="google/gemma-3-1b-it", resources=L4, engine=engine)
    (problem,) = problems({**config, "llm:hubTokenSecret": "hub-token"}, tmp_path).problems
    assert (problem.path, problem.reason) == (
        "llm:deployments.assistant.dtype",
        "is numerically unstable in Gemma 3, and vLLM refuses it",
    )
    assert problem.remedy == "write float32 or bfloat16, or leave it out"


def test_float16_is_taken_for_a_decoder_on_a_gpu(tmp_path: Path) -> None:
    assert chosen(tmp_path, model="gpt2", dtype="float16", resources=L4) == ("float16", "float32")


def test_a_smaller_element_type_is_the_first_remedy_for_a_model_that_is_too_large(tmp_path: Path) -> None:
    (problem,) = problems(good(model="google/flan-t5-xxl"), tmp_path).problems
    assert problem.path == "llm:deployments.assistant.model"
    assert problem.remedy == (
        "would work: dtype: bfloat16 (8 CPU, 29Gi), or dtype: int8 (6 CPU, 20Gi), "
        "or the smaller model google/flan-t5-xl"
    )


@pytest.mark.parametrize(("dtype", "machine"), [("bfloat16", ("8", "29Gi")), ("int8", ("6", "20Gi"))])
def test_that_remedy_is_right(dtype: str, machine: tuple[str, str], tmp_path: Path) -> None:
    found = plan(good(model="google/flan-t5-xxl", dtype=dtype), tmp_path).deployments["assistant"]
    assert (found.cpu, found.memory) == machine


@pytest.mark.parametrize("name", catalog())
@pytest.mark.parametrize("accelerator", [None, "nvidia-l4", "nvidia-tesla-t4"])
def test_smaller_element_types_take_less_memory(name: str, accelerator: str | None) -> None:
    model = catalog()[name]
    need = {
        dtype: terms.total(serving.gpu_lines(model, default_tokens(model), dtype)) for dtype in DTYPE_BYTES
    }
    for dtype in smaller_dtypes(model, "float32", accelerator):
        assert need[dtype] < need["float32"]


def test_loading_holds_one_tensor_beside_the_weights_in_the_file_s_own_element_type() -> None:
    """Measured: neither the weights in their own element type nor converted ones are held twice."""
    model = catalog()["google/flan-t5-xxl"]
    for dtype in ("float32", "bfloat16"):
        assert terms.loading(model, dtype).bytes == 32128 * 4096 * 4
    assert terms.loading(model, "float32").bytes < GIB


def test_gpus_share_weights_evenly_and_a_cache_by_its_heads() -> None:
    model = catalog()["meta-llama/Llama-3.1-8B"]
    tokens = default_tokens(model)
    one = {line.what: line.bytes for line in serving.gpu_lines(model, tokens, "bfloat16")}
    for shards in (2, 4, 8, 16):
        part = {line.what: line.bytes for line in serving.gpu_lines(model, tokens, "bfloat16", shards=shards)}
        assert part["weights"] == -(-one["weights"] // shards)
        assert part["cache"] == one["cache"] // min(shards, 8)


def test_only_an_engine_that_shares_a_model_among_gpus_gets_several() -> None:
    model = catalog()["meta-llama/Llama-3.1-8B"]
    alone = serving.vertex_gpu(model, default_tokens(model), "transformers")
    assert (alone.machine, alone.dtype) == ("g2-standard-8, 1 nvidia-l4", "bfloat16")
    assert serving.vertex_gpu(model, default_tokens(model), "vllm").devices == 1
    large = model.model_copy(update={"parameters": 100_000_000_000})
    assert serving.vertex_gpu(large, default_tokens(large), "vllm").devices > 1
    assert not serving.vertex_gpu(large, default_tokens(large), "transformers").fits
