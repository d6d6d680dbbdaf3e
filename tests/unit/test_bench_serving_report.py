"""What the serving benchmark makes of its requests: rates, agreement, aims that are not met by default."""

from __future__ import annotations

from typing import Any

import pytest

from bench.serving import report, tables
from bench.serving.contestants import CTRANSLATE2, FLASK, INT8, TORCHSERVE, TORCHSERVE_BATCHES, TRANSFORMERS
from bench.serving.load import Outcome

REFERENCES = ["a b c d", "e f g h"]


def answered(prompt: int, started: float, ended: float, text: str | None = None) -> Outcome:
    return Outcome(prompt, started, ended, REFERENCES[prompt] if text is None else text)


def measured(rate: float, p95: float = 1.0, identical: int = 64) -> dict[str, Any]:
    return {
        "requests": 64,
        "failed": 0,
        "requests_per_second": rate,
        "p50": p95 / 2,
        "p95": p95,
        "identical": identical,
        "common_prefix_tokens": 32.0,
    }


@pytest.fixture
def cells() -> dict[str, dict[str, dict[str, Any]]]:
    """Just as fast as the aims want it."""
    both = {"1": measured(2.0), "32": measured(20.0)}
    return {
        FLASK: {"1": measured(1.0), "32": measured(2.0, p95=10.0)},
        TORCHSERVE: {"32": measured(20 / 6)},
        TORCHSERVE_BATCHES: {"32": measured(10.0)},
        TRANSFORMERS: both,
        CTRANSLATE2: both,
        INT8: {"32": measured(60.0, identical=3)},
    }


def test_a_cell_counts_answers_by_the_time_until_the_last_one_of_each_round() -> None:
    rounds = [[answered(0, 0, 1.0), answered(1, 0, 2.0)], [answered(0, 0, 3.0), answered(1, 1.0, 2.0)]]
    found = report.cell(rounds, REFERENCES)
    assert (found["requests"], found["seconds"], found["requests_per_second"]) == (4, 5.0, 0.8)
    assert (found["p50"], found["p95"]) == (1.0, 3.0)
    assert (found["identical"], found["other_length"], found["common_prefix_tokens"]) == (4, 0, 4.0)


def test_a_request_without_an_answer_is_no_answer_and_says_why() -> None:
    failed = Outcome(0, 0.0, 0.1, None, "status 503: full")
    found = report.cell([[failed, answered(1, 0, 1.0)]], REFERENCES)
    assert (found["requests"], found["failed"], found["identical"]) == (2, 1, 1)
    assert found["errors"] == ["status 503: full"]
    assert found["p50"] == 1.0
    assert report.cell([[failed]], REFERENCES)["requests_per_second"] == 0.0


def test_answers_that_part_are_compared_by_the_tokens_they_have_in_common() -> None:
    found = report.agreement([answered(0, 0, 1, "a b x d"), answered(1, 0, 1, "e f g")], REFERENCES)
    assert found == {"identical": 0, "other_length": 1, "common_prefix_tokens": 2.5}


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.95, 4), (0.0, 1)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert report.percentile([4, 1, 3, 2], share) == value


def test_another_one_begins_in_each_round() -> None:
    assert [report.rotated("abc", by) for by in range(4)] == [list(x) for x in ("abc", "bca", "cab", "abc")]


def test_figures_exactly_at_the_aims_meet_them(cells: dict[str, dict[str, dict[str, Any]]]) -> None:
    assert [aim["what"] for aim in report.throughput_aims(cells) if not aim["met"]] == []


@pytest.mark.parametrize(
    ("name", "clients", "change", "missed"),
    [
        (FLASK, "32", {"requests_per_second": 2.01}, 3),
        (FLASK, "1", {"requests_per_second": 1.1}, 2),
        (FLASK, "32", {"p95": 9.9}, 2),
        (TORCHSERVE, "32", {"requests_per_second": 3.5}, 2),
        (TORCHSERVE_BATCHES, "32", {"requests_per_second": 10.1}, 2),
        (TRANSFORMERS, "32", {"identical": 63}, 2),
        (INT8, "32", {"requests_per_second": 59.0}, 1),
    ],
)
def test_a_figure_just_short_of_its_aim_misses_it(
    cells: dict[str, dict[str, dict[str, Any]]], name: str, clients: str, change: dict[str, Any], missed: int
) -> None:
    cells[name][clients].update(change)
    assert sum(aim["met"] is False for aim in report.throughput_aims(cells)) == missed


def test_what_was_not_measured_is_unknown_and_not_met(cells: dict[str, dict[str, dict[str, Any]]]) -> None:
    del cells[CTRANSLATE2]
    cells[FLASK]["32"]["requests_per_second"] = 0.0
    aims = {aim["what"]: aim["met"] for aim in report.throughput_aims(cells)}
    assert {met for what, met in aims.items() if what.startswith(f"{CTRANSLATE2}:")} == {None}
    assert aims[f"{TRANSFORMERS}: requests/s of {FLASK}, clients: 32"] is None
    assert report.throughput_aims({})[0]["met"] is None


def test_ratios_are_ours_to_a_rivals_and_never_a_rivals_to_another(
    cells: dict[str, dict[str, dict[str, Any]]],
) -> None:
    found = report.ratios(cells)
    assert found[f"{TRANSFORMERS} / {FLASK}"] == {"1": 2.0, "32": 10.0}
    assert found[f"{INT8} / {TORCHSERVE_BATCHES}"] == {"32": 6.0}
    assert not any(pair.startswith((FLASK, TORCHSERVE)) for pair in found)


def test_a_schedule_counts_from_the_first_arrival_and_only_whole_answers() -> None:
    finished = [
        Outcome(0, 1.0, 5.0, "a b", first=2.0),
        Outcome(1, 2.0, 3.0, "c", first=2.5),
        Outcome(2, 3.0, 4.0, "d"),
    ]
    found = report.schedule(finished, [2, 1, 2])
    assert (found["failed"], found["seconds"], found["tokens_per_second"]) == (1, 4.0, 0.8)
    assert (found["mean_completion_seconds"], found["first_token_p50"], found["first_token_p95"]) == (
        2.5,
        0.5,
        1.0,
    )


def test_rounds_are_merged_by_their_means_and_failures_add_up() -> None:
    rounds = [
        {"requests": 4, "failed": 1, "errors": ["x"], "tokens_per_second": 1.0, "first_token_p50": None},
        {"requests": 4, "failed": 0, "errors": [], "tokens_per_second": 2.0, "first_token_p50": 3.0},
    ]
    assert report.merged(rounds) == {
        "requests": 8,
        "failed": 1,
        "errors": ["x"],
        "tokens_per_second": 1.5,
        "first_token_p50": None,
    }


def test_the_better_number_of_threads_counts() -> None:
    found = {
        "ours, 1 thread": {"tokens_per_second": 5.0},
        "ours, 2 threads": {"tokens_per_second": 4.0},
        "static, 2 threads": {"tokens_per_second": 9.0},
    }
    assert report.fastest(found, "ours") == "ours, 1 thread"


def test_continuous_batching_with_a_failed_request_meets_nothing() -> None:
    static = {"failed": 0, "tokens_per_second": 100.0, "mean_completion_seconds": 9.0}
    ours = {"failed": 0, "tokens_per_second": 200.0, "mean_completion_seconds": 3.0}
    assert [aim["met"] for aim in report.continuous_aims(ours, static)] == [True, True]
    assert [aim["met"] for aim in report.continuous_aims(static, static)] == [False, False]
    assert [aim["met"] for aim in report.continuous_aims({**ours, "failed": 1}, static)] == [None, None]


def test_a_cold_start_is_judged_against_the_baseline_in_the_same_state() -> None:
    medians = {"warm": {"base": 2.0, "ours": 2.6}, "cold": {"base": 4.0, "ours": 6.0}}
    aims = report.cold_start_aims(medians, "base")
    assert [(aim["measured"], aim["met"]) for aim in aims] == [(1.3, True), (1.5, False)]


def test_bfloat16_is_looked_for_in_the_flags_of_this_kind_of_processor() -> None:
    assert report.has_bfloat16("flags : fpu avx512_bf16 ht", "x86_64")
    assert report.has_bfloat16("Features : fp asimd bf16", "aarch64")
    assert not report.has_bfloat16("flags : fpu avx512f", "x86_64")


def test_the_table_has_a_line_for_every_cell_and_says_who_was_left_out(
    cells: dict[str, dict[str, dict[str, Any]]],
) -> None:
    found = {"new_tokens": 32, "cells": cells, "ratios": report.ratios(cells), "left_out": {"x": "no Java"}}
    text = tables.throughput(found)
    assert sum(line.startswith(TRANSFORMERS) for line in text.splitlines()) == 2
    assert "left out: x: no Java" in text
    verdicts = tables.aims(report.throughput_aims({}))
    assert {line.split()[0] for line in verdicts.splitlines()} == {"unknown"}
