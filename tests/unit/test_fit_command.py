"""`llmstack fit`: one table, the arithmetic on request, JSON, and one line for a wrong name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from llmstack.main import app
from stacks.plan.hardware import BUILT_TOPOLOGIES, TOPOLOGIES


def fit(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["fit", *words])
    assert done.exit_code == status, done.output
    return done.output


def rows(*words: str) -> list[dict[str, Any]]:
    found = json.loads(fit(*words, "--json"))
    assert isinstance(found, list)
    return found


def test_one_table_shows_every_topology_and_marks_those_that_cannot_be_deployed_yet() -> None:
    text = fit("google/flan-t5-base")
    assert text.count("for each") == 1
    for topology in TOPOLOGIES:
        mark = "" if topology in BUILT_TOPOLOGIES else " (not yet)"
        assert f" {topology}{mark} " in text


def test_what_does_not_fit_is_told_with_its_sum_and_what_would_work() -> None:
    text = fit("google/flan-t5-xxl")
    assert "does not fit: needs 48.01 GiB for each instance (weights 41.48 GiB + " in text
    assert "would work: dtype: bfloat16 (8 CPU, 29Gi), or dtype: int8 (6 CPU, 20Gi)" in text


def test_what_everybody_should_know_of_an_engine_stands_below_the_table_once() -> None:
    text = fit("google/flan-t5-base")
    assert text.count("cloud-run: engine: ctranslate2 is made for such models on a CPU") == 1
    assert text.count("vertex: torchserve is no longer maintained") == 1
    assert "made for such models" not in fit("gpt2")


def test_the_plan_of_a_stack_ends_with_what_a_person_may_want_to_know() -> None:
    done = CliRunner().invoke(app, ["plan", "dev"])
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    assert "note: llm:deployments.assistant: engine: ctranslate2 is made for such models on a CPU" in shown


def test_explain_adds_the_arithmetic_of_every_row() -> None:
    terse, full = fit("gpt2"), fit("gpt2", "--explain")
    assert "124,439,808 parameters × 4 bytes (float32)" not in terse
    assert "124,439,808 parameters × 4 bytes (float32)" in full
    assert "parameters × 12 bytes (float32 weights, momentum, variance)" in full


def test_a_topology_may_be_named() -> None:
    assert {row["topology"] for row in rows("gpt2", "--topology", "vertex")} == {"vertex"}


def test_json_has_what_the_table_has() -> None:
    for row in rows("google/flan-t5-xxl"):
        assert row["margin_bytes"] == row["have_bytes"] - row["need_bytes"]
        assert row["need_bytes"] == sum(line["bytes"] for line in row["lines"])
        assert row["deployable"] == (row["topology"] in BUILT_TOPOLOGIES)
        assert bool(row["remedy"]) != row["fits"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("google/flan-t5-bse",), "there is no model 'google/flan-t5-bse': did you mean google/flan-t5-base"),
        (("gpt2", "--topology", "vertx"), "there is no topology 'vertx': did you mean vertex"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_one(words: tuple[str, ...], message: str) -> None:
    assert message in fit(*words, status=2)


def test_a_slice_comes_with_its_list_price() -> None:
    notes = {
        row["machine"]: row["notes"] for row in rows("meta-llama/Llama-2-7b-hf", "--topology", "gke-tpu")
    }
    found = [each for machine, each in notes.items() if "ct5lp-hightpu-4t" in machine]
    assert "list price of a slice on demand in the United States: $4.80 an hour" in found[0]


def test_the_list_of_models_says_which_run_on_tpus() -> None:
    shown = CliRunner().invoke(app, ["models"]).stdout.splitlines()
    lines = {line.split()[1]: line for line in shown if line.startswith("│")}
    assert "jetstream" in lines["meta-llama/Llama-2-7b-hf"]
    assert "vllm-tpu" in lines["Qwen/Qwen3-8B"]
    assert "jetstream" not in lines["Qwen/Qwen3-8B"]
    assert lines["google/flan-t5-small"].rstrip(" │").endswith(" -")
