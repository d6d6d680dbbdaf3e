"""What follows from the engine of a deployment: image, weights, memory, and what a person is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from stacks.plan import fit_model, staging
from stacks.plan.architecture import count_parameters, quantised_bytes, quantised_parts
from stacks.plan.catalog import catalog
from stacks.plan.profiles import PROFILES
from stacks.plan.spec import Architecture
from stacks.plan.types import CloudRunPlan, StackPlan
from tests.unit.config_sources import TINY, good, plan

L4 = {"gpu": "nvidia-l4"}
QUANTISED = {"engine": "ctranslate2", "dtype": "int8"}


def assistant(folder: Path, **deployment: Any) -> CloudRunPlan:
    return plan(good(**deployment), folder).deployments["assistant"]


@pytest.mark.parametrize(
    ("deployment", "image", "engine"),
    [
        ({}, "serve", "transformers"),
        ({"engine": "ctranslate2"}, "serve-ctranslate2", "ctranslate2"),
        ({"model": TINY, "engine": "vllm", "resources": L4}, "serve-vllm", "vllm"),
    ],
)
def test_each_engine_has_an_image_of_its_own_built_from_one_folder(
    deployment: dict[str, Any], image: str, engine: str, tmp_path: Path
) -> None:
    decided = plan(good(**deployment), tmp_path)
    found = decided.deployments["assistant"]
    assert (found.image, found.engine, found.env["ENGINE"]) == (image, engine, engine)
    assert set(decided.images) == {image, "weights"}
    assert decided.images[image].context == "images/serve"
    assert decided.images[image].build_args["ENGINE"] == engine
    assert "ENGINE" not in decided.images["weights"].build_args


def test_an_engine_s_image_can_be_given_by_digest(tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    config = {**good(engine="ctranslate2"), "llm:images": {"serve-ctranslate2": {"digest": digest}}}
    decided = plan(config, tmp_path)
    assert decided.images["serve-ctranslate2"].digest == digest


@pytest.mark.parametrize(
    ("deployment", "form"),
    [
        ({"engine": "ctranslate2"}, ("ctranslate2", "float32")),
        (QUANTISED, ("ctranslate2", "int8")),
        ({"dtype": "int8"}, ("ctranslate2", "int8")),
        ({**QUANTISED, "weights": {"dtype": "int8"}}, ("ctranslate2", "int8")),
        ({"model": TINY, "engine": "vllm", "resources": L4}, ("safetensors", "float32")),
    ],
)
def test_weights_are_staged_in_the_form_that_the_engine_reads(
    deployment: dict[str, Any], form: tuple[str, str], tmp_path: Path
) -> None:
    found = assistant(tmp_path, **deployment)
    assert (found.staged.format, found.staged.dtype) == form
    assert found.staged.prefix.endswith(f"/{form[0]}-{form[1]}/")
    args = dict(zip(found.weights.args[1::2], found.weights.args[2::2], strict=True))
    assert (args["--format"], args["--dtype"]) == form
    assert found.env["DTYPE"] == found.dtype == form[1]


def test_a_switch_of_the_engine_renames_nothing_and_stages_elsewhere(tmp_path: Path) -> None:
    before, after = assistant(tmp_path), assistant(tmp_path, **QUANTISED)
    kept = ("service_name", "account", "volume", "location", "deletion_protection")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert after.weights.job_name == before.weights.job_name
    assert after.staged.bucket == before.staged.bucket
    assert after.staged.prefix != before.staged.prefix
    assert after.weights.execution_labels != before.weights.execution_labels


def test_two_deployments_that_serve_the_same_weights_do_not_take_them_from_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROFILES, "dev", dataclasses.replace(PROFILES["dev"], keep_weights=False))

    def retained(second: dict[str, Any]) -> list[bool]:
        base = good(**QUANTISED)["llm:deployments"]["assistant"]
        deployments = {"one": base, "two": {**base, **second}}
        decided: StackPlan = plan({**good(), "llm:deployments": deployments}, tmp_path)
        return [each.staged.retain for each in decided.deployments.values()]

    assert retained({}) == [True, True]
    assert retained({"dtype": "float32"}) == [False, False]


@pytest.mark.parametrize("name", [name for name in catalog() if "t5" in name])
def test_int8_weights_take_a_byte_for_each_element_and_a_scale_for_each_row(name: str) -> None:
    model = catalog()[name]
    if model.architecture.kind not in ("t5", "t5-gated"):
        pytest.skip("no T5")
    rows, vectors = quantised_parts(model.architecture)
    count = count_parameters(model.architecture)
    assert quantised_bytes(model) == (count - vectors) + 4 * rows + 4 * vectors
    assert count < quantised_bytes(model) < 1.02 * count


def test_the_rows_of_a_small_t5_are_counted_as_its_matrices_have_them() -> None:
    shape = Architecture.model_validate(
        {
            "kind": "t5-gated", "dModel": 8, "dFf": 16, "encoderLayers": 1, "decoderLayers": 1, "heads": 2,
            "kvHeads": 2, "headDim": 4, "vocab": 100, "tiedEmbeddings": False,
        }
    )  # fmt: skip
    attention, feed_forward = 8 + 8 + 8 + 8, 16 + 16 + 8
    norms, tables = (2 + 1) * 8 + (3 + 1) * 8, 2 * 32 * 2
    assert quantised_parts(shape) == (3 * attention + 2 * feed_forward + 200, norms + tables)


def test_rows_are_counted_for_no_other_kind() -> None:
    with pytest.raises(ValueError, match="kind gpt2: int8 is counted for the T5 kinds alone"):
        quantised_parts(catalog()["gpt2"].architecture)


def test_int8_makes_the_weights_small_and_leaves_the_cache_as_it_is(tmp_path: Path) -> None:
    full, small = assistant(tmp_path, engine="ctranslate2"), assistant(tmp_path, **QUANTISED)

    def line(found: CloudRunPlan, what: str) -> int:
        return next(line.bytes for line in found.sizing.lines if line.what == what)

    assert line(full, "weights") > 3.9 * line(small, "weights")
    assert line(full, "loading") == 4 * line(small, "loading")
    for what in ("cache", "activations"):
        assert line(full, what) == line(small, what)
    model = catalog()["google/flan-t5-base"]
    assert staging.staged_bytes(model, staging.Form("ctranslate2", "int8")) == line(small, "weights")


def test_a_large_model_in_int8_is_given_less_time_to_start(tmp_path: Path) -> None:
    usual = assistant(tmp_path, model="google/flan-t5-xl", resources={"cpu": 8, "memory": "32Gi"})
    small = assistant(tmp_path, model="google/flan-t5-xl", **QUANTISED)
    assert small.startup_probe.failure_threshold < usual.startup_probe.failure_threshold


def test_a_note_tells_of_the_engine_for_a_t5_on_a_cpu_and_of_none_elsewhere(tmp_path: Path) -> None:
    (note,) = plan(good(), tmp_path).notes
    assert note.startswith("llm:deployments.assistant: engine: ctranslate2 is made for such models on a CPU")
    assert "2.14 GiB" in note
    assert plan(good(engine="ctranslate2"), tmp_path).notes == ()
    assert plan(good(resources=L4), tmp_path).notes == ()
    assert plan(good(model="gpt2"), tmp_path).notes == ()


def test_fit_has_a_row_for_int8_and_says_what_to_write() -> None:
    (small,) = [row for row in fit_model("google/flan-t5-base") if row.engine == "ctranslate2"]
    assert (small.topology, small.dtype, small.fits) == ("cloud-run", "int8", True)
    rows = [row for row in fit_model("google/flan-t5-base", "cloud-run") if row.engine == "transformers"]
    assert [bool(row.advice) for row in rows] == [True, False, False]
    assert "engine: ctranslate2" in rows[0].advice[0]
    assert [row for row in fit_model("gpt2", "cloud-run") if row.advice] == []


def test_fit_says_that_torchserve_is_no_longer_maintained() -> None:
    (row,) = [row for row in fit_model("gpt2", "vertex") if row.engine == "torchserve"]
    assert row.deployable
    assert row.advice == (
        "torchserve is no longer maintained: its repository says so; its image is images/torchserve",
    )
