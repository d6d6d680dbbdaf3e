"""The schema for editors: up to date, of the draft that editors take, and of one mind with the parser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stacks.config_schema import DRAFT, stack_file_schema
from stacks.config_yaml import load_yaml
from tests.unit.config_cases import CASES
from tests.unit.config_sources import TINY, good
from tests.unit.test_config_sources import GOOD

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs/schema/stack.schema.json"
STACK_FILES = sorted(path.name for path in ROOT.glob("Pulumi.*.yaml"))
VALIDATOR = jsonschema.Draft7Validator(stack_file_schema())

# What a schema cannot see, since it takes arithmetic, the catalog's facts, or two keys at once.
ONLY_THE_PARSER = {
    "CPUs that do not exist",
    "GPU not in the region",
    "GPU with CPUs that do not exist",
    "GPU with too few CPUs",
    "GPU with too little memory",
    "GPU with too much memory",
    "answer longer than the context",
    "concurrency above the queue",
    "converting engine for other kinds of model",
    "element type quantised for a model that no such engine takes",
    "element type quantised on a GPU",
    "element type quantised with an engine that does not",
    "element type that the converting engine does not compute in",
    "engine for CPUs",
    "engine for GPUs",
    "engine for TPUs",
    "engine for other kinds of model",
    "engine not on the topology",
    "engine of another topology",
    "engine of another topology that nobody maintains",
    "inline encoder of a decoder",
    "inline family wrong",
    "inline gated without token",
    "inline heads uneven",
    "inline model far too large",
    "inline model too large for the GPU",
    "inline parameters wrong",
    "inline positions missing",
    "memory above Cloud Run's",
    "memory below Cloud Run's",
    "memory too small for the model",
    "min above max",
    "namespace misspelt",
    "project misspelt",
    "prompt and answer longer than the context",
    "prompt longer than the context",
    "runner where it has no address",
    "runner without a cluster",
    "sequence-to-sequence model on an engine for decoders",
    "sequence-to-sequence model on an engine for one kind of decoder",
    "token twice",
    "too few CPUs for the memory",
    "too few CPUs for the model",
    "too little memory for the CPUs",
    "two deployments whose accounts would be one",
    "weights in another element type than the converting engine computes in",
    "weights quantised and computed with in full",
    "weights quantised for an engine that does not read them",
    "zone of another region",
}


def refused(config: dict[str, Any]) -> bool:
    return not VALIDATOR.is_valid({"config": config})


def test_the_committed_schema_is_up_to_date() -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert committed == stack_file_schema(), "renew it: llmstack schema > docs/schema/stack.schema.json"


def test_the_schema_is_one_of_draft_7() -> None:
    jsonschema.Draft7Validator.check_schema(stack_file_schema())
    assert stack_file_schema()["$schema"] == DRAFT == jsonschema.Draft7Validator.META_SCHEMA["$schema"]


@pytest.mark.parametrize("name", STACK_FILES)
def test_a_committed_stack_file_names_the_schema_first_and_keeps_to_it(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.splitlines()[0] == "# yaml-language-server: $schema=docs/schema/stack.schema.json"
    assert [error.message for error in VALIDATOR.iter_errors(load_yaml(text))] == []


@pytest.mark.parametrize("case", [case for case in GOOD if case != "object written as JSON text"])
def test_what_the_parser_takes_the_schema_takes(case: str) -> None:
    assert [error.message for error in VALIDATOR.iter_errors({"config": GOOD[case]})] == []


@pytest.mark.parametrize("case", sorted(CASES.keys() - ONLY_THE_PARSER))
def test_what_the_parser_refuses_for_its_shape_the_schema_refuses(case: str) -> None:
    assert refused(CASES[case][0])


def test_the_list_of_what_only_the_parser_sees_is_no_longer_than_it_must_be() -> None:
    assert {case for case in CASES if not refused(CASES[case][0])} == ONLY_THE_PARSER


def test_an_inline_model_may_have_every_key_of_a_catalog_entry() -> None:
    assert not refused(good(model={**TINY, "licence": "MIT", "gated": False, "checkpointDtype": "bfloat16"}))


def test_what_the_engine_keeps_in_a_stack_file_is_taken_and_nothing_else() -> None:
    engine = {"encryptionsalt": "v1:x", "secretsprovider": "gcpkms://key", "encryptedkey": "abc="}
    assert VALIDATOR.is_valid({**engine, "environment": ["shared"], "config": good()})
    assert not VALIDATOR.is_valid({"confgi": {}, "config": good()})
    assert not VALIDATOR.is_valid({})


def test_every_key_that_the_project_file_declares_is_in_the_schema() -> None:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))
    assert set(project["config"]) <= set(stack_file_schema()["properties"]["config"]["properties"])


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that a stack file may have, with what the schema says of it."""
    config = schema["properties"]["config"]
    objects = {"": schema, "config": config, **schema["definitions"]}
    for where, found in objects.items():
        for key, value in found.get("properties", {}).items():
            yield f"{where}.{key}", value


def test_every_key_says_what_it_is_for() -> None:
    silent = [key for key, value in properties(stack_file_schema()) if not value.get("description")]
    assert silent == []
