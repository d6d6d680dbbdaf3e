"""The engine of a deployment: the one asked for where it can run the model, else the best that is built."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from stacks.plan.catalog import catalog
from stacks.plan.engines import Device, choose_engine
from stacks.plan.hardware import Engine
from stacks.plan.report import Report
from stacks.plan.spec import ModelSpec

T5 = catalog()["google/flan-t5-small"]
GPT2 = catalog()["gpt2"]

USUAL = Engine(
    name="usual",
    families=("encoder-decoder", "decoder"),
    kinds=("t5-gated", "gpt2"),
    devices=("cpu", "gpu"),
    formats=("safetensors",),
    dtypes=("float32", "bfloat16"),
    topologies=("cloud-run",),
    built=True,
    maintained=True,
    note="",
    source="a test",
    certainty="C",
)


def engine(name: str, **changes: object) -> Engine:
    """An engine that differs from the usual one in what is given."""
    return USUAL.model_copy(update={"name": name, **changes})


def choose(
    *known: Engine,
    model: ModelSpec = T5,
    topology: str = "cloud-run",
    wanted: str | None = None,
    device: Device = "cpu",
    dtype: str | None = None,
) -> tuple[str | None, Report]:
    """The choice among some engines, and what is reported."""
    report = Report()
    with patch("stacks.plan.engines.engines", return_value={one.name: one for one in known}):
        return choose_engine(model, topology, wanted, device, "d", report, dtype), report


def only(report: Report) -> tuple[str, str, str]:
    """Path, reason and remedy of the only problem."""
    (problem,) = report.problems
    return problem.path, problem.reason, problem.remedy


def test_the_engine_that_was_asked_for_is_taken_where_it_can_run_the_model() -> None:
    name, report = choose(USUAL, engine("other"), wanted="other")
    assert (name, report.problems, report.warnings) == ("other", [], [])


def test_without_a_wish_a_maintained_engine_that_surely_runs_the_model_is_taken() -> None:
    old = engine("old", maintained=False)
    unsure = engine("unsure", kinds=("gpt2",), certainty="U")
    name, report = choose(old, unsure, USUAL)
    assert (name, report.problems, report.warnings) == ("usual", [], [])


def test_without_a_wish_the_element_type_decides_first() -> None:
    half = engine("half", dtypes=("float16",), maintained=False)
    assert choose(USUAL, half, dtype="float16")[0] == "half"


def test_without_a_wish_the_first_of_those_that_are_as_good_is_taken() -> None:
    other = engine("other")
    assert choose(USUAL, other)[0] == "usual"
    assert choose(other, USUAL)[0] == "other"
    assert choose(engine("decoders", families=("decoder",)), other, USUAL)[0] == "other"


def test_an_engine_for_decoders_is_refused_for_an_encoder_decoder() -> None:
    name, report = choose(engine("decoders", families=("decoder",)), USUAL, wanted="decoders")
    path, reason, remedy = only(report)
    assert (name, path) == (None, "d.engine")
    assert "takes models of family decoder; google/flan-t5-small is of family encoder-decoder" in reason
    assert remedy == "write engine: usual, or leave it out"


def test_what_is_unconfirmed_is_a_warning_and_no_refusal() -> None:
    decoders = engine("decoders", families=("decoder",), kinds=("gpt2",), certainty="U")
    name, report = choose(decoders, USUAL, wanted="decoders")
    assert (name, report.problems) == ("decoders", [])
    (warning,) = report.warnings
    assert "d.engine: decoders may not run google/flan-t5-small" in warning
    assert "unconfirmed" in warning


def test_an_engine_that_nobody_maintains_is_a_warning() -> None:
    name, report = choose(engine("old", maintained=False, note="its last word"), wanted="old")
    assert (name, report.problems) == ("old", [])
    assert report.warnings == ["d.engine: old is no longer maintained (its last word)"]


def test_an_engine_on_a_device_that_nobody_tried_it_on_is_a_warning() -> None:
    untried = engine("untried", untried=("gpu",))
    assert choose(untried)[1].warnings == []
    name, report = choose(untried, device="gpu")
    assert (name, report.problems) == ("untried", [])
    assert report.warnings == ["d.engine: this project has not run untried on a GPU yet"]


def test_vllm_runs_decoders_on_a_gpu_where_it_is_asked_for() -> None:
    report = Report()
    assert choose_engine(GPT2, "cloud-run", "vllm", "gpu", "d", report) == "vllm"
    assert report.problems == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kinds": ("llama",)}, "takes models of kind llama"),
        ({"topologies": ("vertex",)}, "does not run on cloud-run"),
        ({"devices": ("tpu",)}, "does not run on a CPU"),
        ({"built": False}, "is not built yet in this version"),
    ],
)
def test_an_engine_that_cannot_is_refused_with_the_one_that_can(
    changes: dict[str, object], reason: str
) -> None:
    name, report = choose(engine("wish", **changes), USUAL, wanted="wish")
    assert name is None
    assert only(report)[1].startswith(reason)
    assert only(report)[2] == "write engine: usual, or leave it out"


def test_where_no_engine_can_the_model_is_refused_with_where_it_could_run() -> None:
    elsewhere = engine("elsewhere", topologies=("vertex",))
    name, report = choose(elsewhere)
    path, reason, remedy = only(report)
    assert (name, path) == (None, "d.model")
    assert "no engine built in this version" in reason
    assert remedy == "known to run it: elsewhere on vertex"


def test_where_nothing_runs_a_model_at_all_another_is_asked_for() -> None:
    _, report = choose(engine("other", kinds=("llama",)))
    assert "choose another model" in only(report)[2]


def test_an_element_type_that_the_engine_does_not_compute_with_is_refused() -> None:
    name, report = choose(USUAL, wanted="usual", dtype="float16")
    path, reason, remedy = only(report)
    assert (name, path, reason) == (None, "d.dtype", "is not what usual computes with")
    assert remedy == "write float32 or bfloat16, or leave it out"


def test_an_element_type_of_another_engine_is_refused_with_that_engine() -> None:
    half = engine("half", dtypes=("float16",))
    assert only(choose(USUAL, half, wanted="usual", dtype="float16")[1])[2] == (
        "write float32 or bfloat16, or leave it out; float16 needs engine: half"
    )
    elsewhere = engine("half", dtypes=("float16",), devices=("gpu",))
    assert only(choose(USUAL, elsewhere, dtype="float16")[1])[2] == (
        "write float32 or bfloat16, or leave it out; float16 is for half, for kind t5-gated, gpt2 on a GPU"
    )


def test_an_unknown_engine_is_told_with_the_nearest() -> None:
    _, report = choose(USUAL, wanted="usuall")
    assert only(report) == ("d.engine", "is not a known engine", "did you mean usual?")


def test_a_gpu_s_models_and_a_cpu_s_are_run_by_transformers_unless_int8_asks_for_another() -> None:
    report = Report()
    assert choose_engine(GPT2, "cloud-run", None, "gpu", "d", report) == "transformers"
    assert choose_engine(T5, "cloud-run", None, "cpu", "d", report, "int8") == "ctranslate2"
    assert choose_engine(T5, "cloud-run", "ctranslate2", "cpu", "d", report) == "ctranslate2"
    assert (report.problems, report.warnings) == ([], [])


def test_every_model_of_the_catalog_has_an_engine_on_cloud_run() -> None:
    for model in catalog().values():
        report = Report()
        assert choose_engine(model, "cloud-run", None, "cpu", "d", report) == "transformers", report.problems
        assert report.warnings == []
