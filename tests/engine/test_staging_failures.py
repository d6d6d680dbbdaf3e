"""Staging that fails: the message names what happened and the remedy, and the next `up` goes on from it."""

from __future__ import annotations

from tests.engine.background import executions, the_line
from tests.engine.lab import Lab
from tests.engine.troubled_hub import TroubledHub

MODEL = "google/flan-t5-small"
BUCKET = "llm-test-test-models"
STAGED = {"config.json", "manifest.json", "model.safetensors", "tokenizer.json"}


def staged(lab: Lab) -> set[str]:
    return {found.name.rpartition("/")[2] for found in lab.world().objects.list(BUCKET, "")}


def failed_up(lab: Lab, part: str) -> str:
    """The line that says why an `up` failed."""
    result = lab.up()
    assert result.failed, result.output
    assert "Traceback" not in result.output
    return the_line(result.output, part)


def test_an_up_whose_staging_failed_succeeds_once_the_hub_is_right(lab: Lab, troubled: TroubledHub) -> None:
    troubled.forget_revision(MODEL)
    unknown = failed_up(lab, "exit code 11 (not_found)")
    assert "has no revision" in unknown
    assert "check the model's repository and revision" in unknown
    assert staged(lab) == set()

    troubled.put_right(MODEL)
    troubled.serve_wrong_bytes(MODEL)
    wrong = failed_up(lab, "exit code 13 (integrity)")
    assert "model.safetensors has sha256" in wrong
    assert "run `pulumi up` again" in wrong
    assert staged(lab) <= STAGED - {"manifest.json", "model.safetensors"}

    troubled.put_right(MODEL)
    repaired = lab.up()
    assert not repaired.failed, repaired.output
    assert repaired.changed()["assistant-weights-staged"] == "update"
    assert repaired.changed()["assistant-service"] == "create"
    assert staged(lab) == STAGED
    assert sorted(executions(lab).values()) == ["CONDITION_FAILED", "CONDITION_FAILED", "CONDITION_SUCCEEDED"]


def test_a_gated_model_asks_for_the_token_and_is_staged_with_it(lab: Lab, troubled: TroubledHub) -> None:
    troubled.gate(MODEL, "hf_planted_token")
    refused = failed_up(lab, "exit code 10 (gated)")
    assert "llm:hubToken" in refused
    assert "accept the model's" in refused
    assert staged(lab) == set()

    lab.pulumi("config", "set", "--secret", "llm:hubToken", "hf_planted_token")
    allowed = lab.up()
    assert not allowed.failed, allowed.output
    assert staged(lab) == STAGED
    assert list(executions(lab).values()).count("CONDITION_SUCCEEDED") == 1
