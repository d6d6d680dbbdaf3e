"""The catalog's figures follow from each model's architecture."""

from __future__ import annotations

import pytest

from stacks.plan.architecture import cache_bytes_per_token, count_parameters
from stacks.plan.catalog import catalog, unconfirmed_fields
from stacks.plan.spec import Architecture, ModelSpec


@pytest.mark.parametrize("name", catalog())
def test_stated_parameters_are_those_of_the_architecture(name: str) -> None:
    assert catalog()[name].parameters == count_parameters(catalog()[name].architecture)


@pytest.mark.parametrize("name", catalog())
def test_an_entry_is_named_after_its_repository_and_says_where_it_comes_from(name: str) -> None:
    model = catalog()[name]
    assert model.repository == name
    assert model.sources
    aliases = {field.alias for field in ModelSpec.model_fields.values()}
    assert set(model.certainty) <= aliases


def test_what_nobody_checked_is_marked_unconfirmed() -> None:
    for model in catalog().values():
        assert {"revision", "licence"} <= set(unconfirmed_fields(model))


# Bytes in bfloat16, published with each model or computed from its configuration by hand.
@pytest.mark.parametrize(
    ("name", "bytes_per_token"),
    [
        ("google/flan-t5-small", 12_288),
        ("google/flan-t5-base", 36_864),
        ("google/flan-t5-large", 98_304),
        ("gpt2", 36_864),
    ],
)
def test_the_cache_grows_by_the_known_bytes_per_token(name: str, bytes_per_token: int) -> None:
    assert cache_bytes_per_token(catalog()[name].architecture, 2) == bytes_per_token


def llama(**shape: int | bool) -> Architecture:
    return Architecture.model_validate({"kind": "llama", "tiedEmbeddings": False, **shape})


# Numbers of parameters as the Hub shows them for the published checkpoints.
@pytest.mark.parametrize(
    ("shape", "parameters", "cache"),
    [
        (
            llama(dModel=4096, dFf=11008, decoderLayers=32, heads=32, kvHeads=32, headDim=128, vocab=32000),
            6_738_415_616,
            524_288,
        ),
        (
            llama(dModel=4096, dFf=14336, decoderLayers=32, heads=32, kvHeads=8, headDim=128, vocab=128256),
            8_030_261_248,
            131_072,
        ),
        (
            llama(
                dModel=2048,
                dFf=8192,
                decoderLayers=16,
                heads=32,
                kvHeads=8,
                headDim=64,
                vocab=128256,
                tiedEmbeddings=True,
            ),
            1_235_814_400,
            32_768,
        ),
    ],
    ids=["llama-2-7b", "llama-3-8b", "llama-3.2-1b"],
)
def test_the_llama_formula_gives_published_counts(shape: Architecture, parameters: int, cache: int) -> None:
    assert count_parameters(shape) == parameters
    assert cache_bytes_per_token(shape, 2) == cache


def test_untying_the_embeddings_adds_one_matrix() -> None:
    tied = catalog()["gpt2"].architecture
    untied = tied.model_copy(update={"tied_embeddings": False})
    assert count_parameters(untied) - count_parameters(tied) == tied.vocab * tied.d_model
