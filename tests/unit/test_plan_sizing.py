"""The memory a model needs, the machine it gets, and what is said where none will do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.plan import fit_model, probes, staging
from stacks.plan.catalog import catalog
from stacks.plan.limits import cloud_run_limits
from stacks.plan.machines import choose, choose_gpu
from stacks.plan.quantity import GIB, MIB, human, memory_text, parse_memory
from stacks.plan.sizing import serving
from stacks.plan.tokens import TokenLimits, default_tokens

# need in bytes, machine
GOLDENS = {
    "google/flan-t5-small": (1_826_202_470, "1 CPU, 2Gi"),
    "google/flan-t5-base": (3_194_435_481, "1 CPU, 3Gi"),
    "google/flan-t5-large": (6_597_550_080, "2 CPU, 7Gi"),
    "gpt2": (2_721_571_177, "1 CPU, 3Gi"),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_each_model_needs_the_recorded_memory_and_gets_the_recorded_machine(name: str) -> None:
    row = next(row for row in fit_model(name) if row.purpose == "serving")
    assert (row.topology, row.dtype, row.fits, row.reason) == ("cloud-run", "float32", True, "")
    assert (row.need_bytes, row.machine) == GOLDENS[name]
    assert row.need_bytes <= row.have_bytes


@pytest.mark.parametrize("name", catalog())
def test_a_sum_is_the_sum_of_its_lines_and_each_line_shows_its_arithmetic(name: str) -> None:
    for row in fit_model(name):
        assert sum(line.bytes for line in row.lines) == row.need_bytes
        assert row.margin_bytes == row.have_bytes - row.need_bytes
        assert row.margin_bytes >= 0 or not row.fits
        assert bool(row.reason) == bool(row.remedy) == (not row.fits)
        assert all(line.arithmetic and line.bytes > 0 for line in row.lines)


def test_weights_are_parameters_times_four_bytes() -> None:
    model = catalog()["gpt2"]
    line = serving.host_lines(model, default_tokens(model), "float32")[0]
    assert (line.what, line.bytes) == ("weights", 124_439_808 * 4)
    assert "124,439,808 parameters × 4 bytes" in line.arithmetic


def test_the_cache_of_an_encoder_decoder_counts_prompt_and_answer() -> None:
    model = catalog()["google/flan-t5-small"]
    (line,) = [
        line for line in serving.host_lines(model, TokenLimits(100, 50), "float32") if line.what == "cache"
    ]
    assert line.bytes == 150 * 2 * 8 * 6 * 64 * 4


@given(st.integers(1, 32 * GIB))
def test_the_chosen_instance_holds_the_need_and_keeps_every_limit(need: int) -> None:
    limits = cloud_run_limits()
    machine = choose(need).machine
    assert machine is not None
    assert need <= machine.memory <= limits.memory_max.value
    assert machine.cpu in limits.cpus.value
    assert machine.cpu >= limits.least_cpu(machine.memory)
    assert machine.memory >= limits.least_memory(machine.cpu)


@given(st.integers(1, 32 * GIB), st.sampled_from([1, 2, 4, 6, 8]))
def test_a_given_number_of_cpus_is_kept_or_refused_with_one_that_works(need: int, cpu: int) -> None:
    choice = choose(need, cpu=cpu)
    if choice.machine:
        assert choice.machine.cpu == cpu
    else:
        (refusal,) = choice.refusals
        right = int(refusal.remedy.split("set cpu to ")[1].split(",")[0])
        assert choose(need, cpu=right).machine is not None


@given(st.integers(1, 32 * GIB), st.integers(1, 40))
def test_a_given_memory_is_kept_or_refused_with_one_that_works(need: int, gib: int) -> None:
    choice = choose(need, memory=gib * GIB)
    if choice.machine:
        assert choice.machine.memory == gib * GIB
    else:
        (refusal,) = choice.refusals
        right = parse_memory(refusal.remedy.split("set memory to ")[1].split(",")[0])
        assert right is not None
        assert choose(need, memory=right).machine is not None


@pytest.mark.parametrize(
    ("gib", "cpu"), [(4, 1), (5, 2), (8, 2), (9, 4), (16, 4), (17, 6), (24, 6), (25, 8), (32, 8)]
)
def test_more_memory_asks_for_more_cpus_at_the_documented_steps(gib: int, cpu: int) -> None:
    assert str(choose(gib * GIB).machine) == f"{cpu} CPU, {gib}Gi"


def test_more_than_the_largest_instance_is_refused() -> None:
    choice = choose(32 * GIB + 1)
    assert choice.machine is None
    assert "at most 32Gi" in choice.refusals[0].reason


def test_a_number_of_cpus_that_does_not_exist_is_refused_for_that_alone() -> None:
    (refusal,) = choose(GIB, cpu=3).refusals
    assert (refusal.key, refusal.value) == ("resources.cpu", 3)
    assert refusal.reason == "is no number of CPUs that Cloud Run offers"
    assert refusal.remedy == "use one of 1, 2, 4, 6, 8"


def test_an_l4_brings_its_floor_of_cpus_and_memory() -> None:
    assert str(choose_gpu("nvidia-l4", GIB).machine) == "4 CPU, 16Gi, 1 nvidia-l4"
    assert str(choose_gpu("nvidia-l4", 20 * GIB).machine) == "4 CPU, 20Gi, 1 nvidia-l4"


def test_an_instance_with_gpu_must_hold_the_weights_that_pass_through_it() -> None:
    choice = choose_gpu("nvidia-l4", 20 * GIB, memory=16 * GIB)
    assert choice.machine is None
    assert [refusal.remedy for refusal in choice.refusals] == ["set memory to 20Gi, or leave it out"]


def test_weights_that_no_instance_with_that_gpu_holds_are_the_models_fault_not_the_memorys() -> None:
    (refusal,) = choose_gpu("nvidia-l4", 40 * GIB).refusals
    assert (refusal.key, refusal.reason) == ("", "nvidia-l4 goes with at most 32Gi")


def test_an_unconfirmed_floor_warns_and_does_not_refuse() -> None:
    choice = choose_gpu("nvidia-rtx-pro-6000", GIB, cpu=8)
    assert choice.machine is not None
    assert "needs at least 20 CPUs (unconfirmed)" in choice.warnings[0]


def test_a_confirmed_floor_of_the_same_gpu_refuses() -> None:
    choice = choose_gpu("nvidia-rtx-pro-6000", GIB, memory=64 * GIB)
    assert choice.machine is None
    assert "at least 80Gi" in choice.refusals[0].reason


def test_every_limit_says_where_it_was_read_and_how_certain_it_is() -> None:
    limits = cloud_run_limits()
    facts = [getattr(limits, name) for name in type(limits).model_fields if name != "gpus"]
    facts += [getattr(gpu, name) for gpu in limits.gpus.values() for name in type(gpu).model_fields]
    assert all(fact.source and fact.certainty in "CDU" for fact in facts)
    assert len(facts) > 20


@given(st.integers(1, 64 * GIB), st.booleans())
def test_a_startup_probe_stays_within_what_cloud_run_allows(weights: int, gpu: bool) -> None:
    limits = cloud_run_limits()
    probe = probes.startup_probe("/ready", 8080, weights, gpu=gpu)
    assert probe.period_seconds * probe.failure_threshold <= (1800 if gpu else 600)
    assert probe.timeout_seconds <= probe.period_seconds <= limits.probe_field_max.value


def test_a_startup_probe_waits_longer_than_the_load_takes_wherever_it_may() -> None:
    probe = probes.startup_probe("/ready", 8080, 8 * GIB, gpu=False)
    assert probe.period_seconds * probe.failure_threshold >= 3 * probes.load_seconds(8 * GIB)


def test_staging_is_given_three_times_its_estimate_and_no_less_than_a_quarter_hour() -> None:
    small = catalog()["gpt2"]
    assert staging.task_timeout(small) == 900
    large = small.model_copy(update={"checkpoint_bytes": 100 * GIB})
    assert staging.task_timeout(large) >= 3 * 100 * GIB // staging.HUB_BYTES_PER_SECOND
    huge = small.model_copy(update={"checkpoint_bytes": 10_000 * GIB * GIB})
    assert staging.task_timeout(huge) == cloud_run_limits().job_task_timeout_max.value


def test_a_model_without_a_commit_has_no_place_to_lie() -> None:
    model = catalog()["gpt2"].model_copy(update={"revision": ""})
    with pytest.raises(ValueError, match="has no revision"):
        staging.prefix(model, staging.Form("safetensors", "float32"))


def test_the_staged_file_may_be_larger_than_the_parameters() -> None:
    model = catalog()["gpt2"]
    assert staging.checkpoint_bytes(model) > 124_439_808 * 4


@pytest.mark.parametrize(
    ("text", "size"),
    [("512Mi", 512 * MIB), ("4Gi", 4 * GIB), ("4G", None), ("4", None), ("0Gi", None), ("04Gi", None)],
)
def test_memory_is_read_in_mi_and_gi_alone(text: str, size: int | None) -> None:
    assert parse_memory(text) == size
    assert size is None or memory_text(size) == text


def test_sizes_are_written_for_people() -> None:
    assert (human(300 * MIB), human(3 * GIB // 2)) == ("300 MiB", "1.50 GiB")
