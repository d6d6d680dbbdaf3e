"""The catalog's figures follow from each model's architecture."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stacks.plan.architecture import cache_bytes, cache_bytes_per_token, count_parameters, parameters
from stacks.plan.catalog import catalog, resolve_model, unconfirmed_fields
from stacks.plan.report import Report
from stacks.plan.spec import Architecture, ModelSpec

ORIGINALS = [
    *(f"google/flan-t5-{size}" for size in ("small", "base", "large", "xl", "xxl")),
    *(f"google/t5-v1_1-{size}" for size in ("small", "base", "large", "xl", "xxl")),
    *("google/flan-ul2", "t5-small", "facebook/bart-base", "gpt2", "databricks/dolly-v2-3b"),
    *("meta-llama/Llama-2-7b-hf", "meta-llama/Meta-Llama-3-8B", "google/gemma-2b"),
]
LATER = [
    *("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B"),
    *(f"google/gemma-3-{size}-it" for size in ("1b", "4b", "12b", "27b")),
    *(f"Qwen/Qwen3-{size}" for size in ("0.6B", "1.7B", "4B", "8B", "14B", "32B")),
]


def test_the_catalog_holds_every_model_of_the_originals_and_their_successors() -> None:
    assert set(catalog()) == {*ORIGINALS, *LATER}


@pytest.mark.parametrize("name", catalog())
def test_stated_parameters_are_those_of_the_architecture(name: str) -> None:
    model = catalog()[name]
    assert model.parameters == count_parameters(model.architecture) + model.vision_parameters


@pytest.mark.parametrize("name", catalog())
def test_an_entry_is_named_after_its_repository_and_says_where_it_comes_from(name: str) -> None:
    model = catalog()[name]
    assert model.repository == name
    assert model.sources
    assert model.task
    aliases = {field.alias for field in ModelSpec.model_fields.values()}
    assert set(model.certainty) <= aliases
    assert {"architecture", "parameters", "context", "licence", "gated"} <= set(model.certainty)
    assert re.fullmatch(r"[0-9a-f]{40}", model.revision)


def test_what_nobody_checked_is_marked_unconfirmed() -> None:
    assert "licence" in unconfirmed_fields(catalog()["gpt2"])
    assert "revision" not in unconfirmed_fields(catalog()["gpt2"])


@pytest.mark.parametrize("name", [name for name in catalog() if catalog()[name].gated])
def test_that_a_model_is_gated_is_confirmed_so_that_a_missing_token_is_an_error(name: str) -> None:
    assert "gated" not in unconfirmed_fields(catalog()[name])


# As the Hub shows them for the published checkpoints.
PUBLISHED = {
    "google/flan-t5-base": 247_577_856,
    "t5-small": 60_506_624,
    "facebook/bart-base": 139_420_416,
    "gpt2": 124_439_808,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "google/gemma-2b": 2_506_172_416,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-4b-it": 4_300_079_472,
    "google/gemma-3-27b-it": 27_432_406_640,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-32B": 32_762_123_264,
}


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_parameters_are_the_published_ones(name: str, published: int) -> None:
    assert parameters(catalog()[name]) == published


# 2 × layers × key-value heads × head size × 2 bytes, by hand from each configuration.
BYTES_PER_TOKEN = {
    "google/flan-t5-small": 12_288,
    "google/flan-t5-base": 36_864,
    "google/flan-t5-large": 98_304,
    "google/flan-t5-xl": 196_608,
    "google/flan-t5-xxl": 393_216,
    "google/flan-ul2": 524_288,
    "t5-small": 12_288,
    "google/t5-v1_1-small": 12_288,
    "google/t5-v1_1-base": 36_864,
    "google/t5-v1_1-large": 98_304,
    "google/t5-v1_1-xl": 196_608,
    "google/t5-v1_1-xxl": 393_216,
    "facebook/bart-base": 18_432,
    "gpt2": 36_864,
    "databricks/dolly-v2-3b": 327_680,
    "meta-llama/Llama-2-7b-hf": 524_288,
    "meta-llama/Meta-Llama-3-8B": 131_072,
    "meta-llama/Llama-3.1-8B": 131_072,
    "meta-llama/Llama-3.2-1B": 32_768,
    "meta-llama/Llama-3.2-3B": 114_688,
    "google/gemma-2b": 18_432,
    "google/gemma-3-1b-it": 26_624,
    "google/gemma-3-4b-it": 139_264,
    "google/gemma-3-12b-it": 393_216,
    "google/gemma-3-27b-it": 507_904,
    "Qwen/Qwen3-0.6B": 114_688,
    "Qwen/Qwen3-1.7B": 114_688,
    "Qwen/Qwen3-4B": 147_456,
    "Qwen/Qwen3-8B": 147_456,
    "Qwen/Qwen3-14B": 163_840,
    "Qwen/Qwen3-32B": 262_144,
}


@pytest.mark.parametrize("name", catalog())
def test_the_cache_grows_by_the_known_bytes_per_token(name: str) -> None:
    assert cache_bytes_per_token(catalog()[name].architecture, 2) == BYTES_PER_TOKEN[name]


def test_local_layers_cache_no_more_than_their_window() -> None:
    shape = catalog()["google/gemma-3-1b-it"].architecture
    # 26 layers, every sixth global: 4 global, 22 local with a window of 512; 1,024 bytes a layer and token.
    assert cache_bytes(shape, 512, 2) == 512 * 26_624
    assert cache_bytes(shape, 32_768, 2) == 1_024 * (4 * 32_768 + 22 * 512)


@given(st.sampled_from(sorted(catalog())), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_cache_never_shrinks_with_more_tokens_nor_exceeds_full_attention(
    name: str, tokens: int, more: int
) -> None:
    shape = catalog()[name].architecture
    assert cache_bytes(shape, tokens, 2) <= cache_bytes(shape, tokens + more, 2)
    assert cache_bytes(shape, tokens, 2) <= tokens * cache_bytes_per_token(shape, 2)


def test_untying_the_embeddings_adds_one_matrix() -> None:
    tied = catalog()["gpt2"].architecture
    untied = tied.model_copy(update={"tied_embeddings": False})
    assert count_parameters(untied) - count_parameters(tied) == tied.vocab * tied.d_model


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gpt2", {"encoderLayers": 2}, "does not go with kind gpt2"),
        ("t5-small", {"encoderLayers": 0}, "does not go with kind t5"),
        ("facebook/bart-base", {"positions": 0}, "is required for kind bart"),
        ("gpt2", {"kvHeads": 5}, "cannot be shared evenly by 12 heads"),
        ("google/gemma-3-1b-it", {"globalEvery": 1}, "needs globalEvery above 1"),
        ("Qwen/Qwen3-4B", {"globalEvery": 6}, "needs globalEvery above 1"),
    ],
)
def test_an_architecture_that_contradicts_itself_is_refused(
    name: str, change: dict[str, int], message: str
) -> None:
    shape = catalog()[name].architecture.model_dump(by_alias=True)
    with pytest.raises(ValidationError, match=message):
        Architecture.model_validate({**shape, **change})


@pytest.mark.parametrize(
    ("name", "task"), [("gpt2", "text2text-generation"), ("t5-small", "text-generation")]
)
def test_a_task_that_the_family_does_not_do_is_refused(name: str, task: str) -> None:
    entry = catalog()[name].model_dump(by_alias=True)
    with pytest.raises(ValidationError, match="is not what a model of family"):
        ModelSpec.model_validate({**entry, "task": task})


def resolve(name: str, commit: str | None = None, **change: object) -> tuple[ModelSpec | None, Report]:
    """Resolves a changed entry of the catalog; `commit` is the deployment's revision."""
    report = Report()
    model = catalog()[name].model_copy(update=change)
    return resolve_model(model, commit, "llm:deployments.a", report), report


def test_a_model_of_the_catalog_is_found_with_its_revision() -> None:
    report = Report()
    assert resolve_model("gpt2", None, "llm:deployments.a", report) == catalog()["gpt2"]
    assert not report.problems
    assert not report.warnings


def test_a_model_without_a_known_commit_needs_one_in_the_deployment() -> None:
    model, report = resolve("gpt2", revision="")
    assert model is None
    assert [problem.path for problem in report.problems] == ["llm:deployments.a.revision"]
    assert "git ls-remote https://huggingface.co/gpt2 HEAD" in report.problems[0].remedy
    model, report = resolve("gpt2", "a" * 40, revision="")
    assert model is not None
    assert model.revision == "a" * 40
    assert not report.problems


def test_parameters_that_are_not_those_of_the_architecture_are_refused() -> None:
    _, report = resolve("gpt2", parameters=999)
    assert [problem.path for problem in report.problems] == ["llm:deployments.a.model.parameters"]
    assert "write 124439808" in report.problems[0].remedy


@pytest.mark.parametrize("name", ["google/t5-v1_1-xxl", "google/t5-v1_1-base", "google/flan-ul2"])
def test_pickled_weights_are_taken_since_the_job_reads_them_without_unpickling(name: str) -> None:
    model, report = resolve(name)
    assert model is not None
    assert model.checkpoint_format == "pytorch"
    assert (report.problems, report.warnings) == ([], [])


def test_a_checkpoint_of_any_dtype_is_taken() -> None:
    for dtype in ("float32", "bfloat16", "float16"):
        _, report = resolve("gpt2", checkpoint_dtype=dtype)
        assert not report.problems
