"""Which models a rehearsal makes, and that it can make every kind that the catalog has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rehearsal.driver_hub import EVERYDAY, _entries
from rehearsal.hub.configurations import MODEL_CLASSES
from rehearsal.hub.learning import ENCODER_DECODERS, SHAPES
from stacks.plan.catalog import catalog
from stacks.plan.spec import ENCODER_DECODER_KINDS, LEARNED_POSITION_KINDS


def made(tmp_path: Path, deployments: object) -> dict[str, dict[str, Any]]:
    """What is made for a stack with these deployments beside the everyday models, by repository."""
    file = tmp_path / "Pulumi.test.yaml"
    file.write_text(yaml.safe_dump({"config": {"llm:deployments": deployments}}))
    entries = _entries(file)
    assert [entry["repository"] for entry in entries[: len(EVERYDAY)]] == list(EVERYDAY)
    return {str(entry["repository"]): entry for entry in entries[len(EVERYDAY) :]}


def test_every_kind_of_the_catalog_can_be_made() -> None:
    kinds = {model.architecture.kind for model in catalog().values()}
    assert kinds == set(SHAPES) == set(MODEL_CLASSES)
    assert set(ENCODER_DECODERS) == set(ENCODER_DECODER_KINDS)
    assert {kind for kind in SHAPES if SHAPES[kind].get("positions")} == set(LEARNED_POSITION_KINDS)


def test_a_model_that_a_stack_names_is_made_in_its_dtype_and_gated_as_it_is(tmp_path: Path) -> None:
    name = "meta-llama/Llama-3.2-1B"
    found = made(tmp_path, {"a": {"model": name}, "b": {"model": "Qwen/Qwen3-4B", "revision": "a" * 40}})
    assert found == {
        name: {
            "repository": name,
            "revision": catalog()[name].revision,
            "architecture": "llama",
            "dtype": "bfloat16",
            "gated": True,
        },
        "Qwen/Qwen3-4B": {
            "repository": "Qwen/Qwen3-4B",
            "revision": "a" * 40,
            "architecture": "qwen3",
            "dtype": "bfloat16",
            "gated": False,
        },
    }


def test_a_model_described_inline_is_made(tmp_path: Path) -> None:
    entry = catalog()["gpt2"].model_dump(by_alias=True, mode="json")
    found = made(tmp_path, {"a": {"model": {**entry, "repository": "acme/own"}}})
    assert found["acme/own"]["architecture"] == "gpt2"


def test_what_is_wrong_in_a_stack_file_makes_nothing(tmp_path: Path) -> None:
    wrong = {"a": {"model": "no/such"}, "b": {"model": 7}, "c": "text", "d": {}, "e": {"model": {"x": 1}}}
    assert made(tmp_path, wrong) == {}
    assert made(tmp_path, ["text"]) == {}
    assert made(tmp_path, None) == {}
