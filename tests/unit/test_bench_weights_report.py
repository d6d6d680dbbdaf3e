"""What the weights benchmark makes of its runs: medians, ratios, budgets that are not met by default."""

from __future__ import annotations

from typing import Any

import pytest

from bench.weights.contenders import CONTENDERS
from bench.weights.report import MIB, OURS, budgets, median_of, own_seconds, ratio, summarise, table


def run(seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "exit_code": 0,
        "seconds": seconds,
        "cpu_seconds": 1.0,
        "anonymous_mib": 100.0,
        "resident_mib": 120.0,
        "group_mib": 200.0,
        "limit_mib": 256.0,
        "killed": False,
        "disk_read": 0,
        "disk_written": 0,
        "from_hub": 10,
        "store": {"chunk": {"read": 7, "seconds": 0.5}, "finish": {"read": 3, "seconds": seconds / 2}},
        **more,
    }


@pytest.fixture
def runs() -> dict[str, list[dict[str, Any]]]:
    return {name: [run(10.0), run(30.0), run(20.0)] for name in CONTENDERS}


def test_a_median_is_of_the_middle_run_and_memory_of_the_worst(runs: dict[str, list[dict[str, Any]]]) -> None:
    runs["stage copy"][0]["anonymous_mib"] = 140.0
    found = median_of(runs["stage copy"], 40 * MIB)
    assert found is not None
    assert (found["seconds"], found["own_seconds"], found["mib_per_second"]) == (20.0, 10.0, 2.0)
    assert found["anonymous_mib"] == 140.0
    assert found["to_store"] == 10


def test_own_seconds_leave_out_what_the_emulator_alone_does() -> None:
    store = {
        name: {"read": 0, "seconds": seconds} for name, seconds in (("finish", 3), ("patch", 2), ("chunk", 1))
    }
    assert own_seconds(run(10.0, store=store)) == 5.0


def test_a_ratio_above_one_says_that_ours_is_faster() -> None:
    medians = {"ours": {"seconds": 10.0}, "other": {"seconds": 20.0}, "broken": None}
    assert ratio(medians, "ours", "other") == 2.0
    assert ratio(medians, "ours", "broken") is None


def test_budgets_are_met_by_equal_runs_under_the_limit(runs: dict[str, list[dict[str, Any]]]) -> None:
    assert set(summarise(runs, MIB)["budgets"].values()) == {True}


def test_a_throughput_budget_is_missed_below_four_fifths(runs: dict[str, list[dict[str, Any]]]) -> None:
    runs["stage to folder"] = [run(26.0)]
    found = summarise(runs, MIB)["budgets"]
    assert found["stage to folder: at least 0.8 of the throughput of plain download"] is False
    runs["stage to folder"] = [run(25.0)]
    found = summarise(runs, MIB)["budgets"]
    assert found["stage to folder: at least 0.8 of the throughput of plain download"] is True


@pytest.mark.parametrize("change", [{"killed": True}, {"exit_code": -9}])
def test_the_memory_budget_is_missed_by_one_run_that_the_kernel_killed(
    runs: dict[str, list[dict[str, Any]]], change: dict[str, Any]
) -> None:
    runs["stage copy"][1] |= change
    assert summarise(runs, MIB)["budgets"]["stage copy completes under the hard limit"] is False


def test_without_a_limit_the_memory_budget_is_unknown(runs: dict[str, list[dict[str, Any]]]) -> None:
    for name in OURS:
        for each in runs[name]:
            each["limit_mib"] = None
    found = summarise(runs, MIB)
    assert [found["budgets"][f"{name} completes under the hard limit"] for name in OURS] == [None] * len(OURS)


def test_a_contender_that_failed_has_no_result_and_no_ratio(runs: dict[str, list[dict[str, Any]]]) -> None:
    runs["original"] = [run(5.0, exit_code=-9, killed=True)]
    found = summarise(runs, MIB)
    assert found["medians"]["original"] is None
    assert found["memory_ratio_to_original"] is None
    assert budgets(runs, found["medians"])["stage copy completes under the hard limit"] is True


def test_the_table_names_each_contender_and_each_verdict(runs: dict[str, list[dict[str, Any]]]) -> None:
    runs["original"] = [run(5.0, exit_code=1)]
    runs["stage to folder"] = [run(90.0)]
    text = table("1 GB", {"repository": "a/b", "bytes": 10**9, "files": 1, **summarise(runs, MIB)})
    assert all(name in text for name in CONTENDERS)
    assert "failed" in text
    assert " MISSED  stage to folder: at least 0.8 of the throughput of plain download" in text
    assert "    met  stage copy completes under the hard limit" in text
