"""A load test's pure parts: times of arrival, prompts, percentiles, a step's figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.load.arrivals import Length, poisson
from llmstack.load.driver import Measured
from llmstack.load.prompts import Prompts, PromptsError, check_prompt, read_prompts
from llmstack.load.sample import Outcome, Sample
from llmstack.load.summary import percentile, spread, summarise, warnings

LENGTHS = st.one_of(
    st.builds(Length, st.floats(0, 5), seconds=st.floats(0.1, 20)),
    st.builds(Length, st.floats(0, 5), requests=st.integers(1, 50)),
)


@given(st.floats(0.1, 50), LENGTHS, st.integers())
def test_arrivals_are_ordered_within_their_time_and_the_same_for_the_same_seed(
    rate: float, length: Length, seed: int
) -> None:
    times = list(poisson(rate, length, seed))
    assert times == sorted(times) == list(poisson(rate, length, seed))
    assert all(at > 0 for at in times)
    if length.seconds is not None:
        assert all(at < length.warm_up + length.seconds for at in times)
    else:
        assert sum(at >= length.warm_up for at in times) == length.requests
        assert times[-1] >= length.warm_up


@pytest.mark.parametrize("rate", [0.5, 8.0])
def test_gaps_between_arrivals_are_those_of_a_poisson_process(rate: float) -> None:
    times = list(poisson(rate, Length(0, requests=20_000), seed=1))
    gaps = numpy.diff(times)
    # Mean and standard deviation of an exponential distribution are both 1 / rate.
    assert gaps.mean() == pytest.approx(1 / rate, rel=0.03)
    assert gaps.std() == pytest.approx(1 / rate, rel=0.03)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.integers(1, 100))
def test_a_percentile_is_a_measured_value_that_enough_values_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([25, 50, 75, 100]))
def test_percentiles_are_numpy_s_of_the_inverted_distribution(values: list[float], percent: int) -> None:
    # Only where the rank is exact in floating point, as numpy computes it.
    assert percentile(values, percent) == numpy.percentile(values, percent, method="inverted_cdf")


def test_a_high_percentile_of_few_values_is_the_largest() -> None:
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
    assert percentile([5.0], 50) == 5.0
    assert percentile(list(range(1, 201)), 99) == 198
    assert spread([]) is None


def answered(due: float, ended: float, tokens: int = 10, pieces: tuple[float, ...] = ()) -> Sample:
    return Sample(due=due, sent=due, ended=ended, tokens=tokens, pieces=list(pieces))


def test_latency_counts_from_when_a_request_was_due_and_not_from_when_it_was_sent() -> None:
    late = Sample(due=1.0, sent=4.0, ended=5.0, pieces=[4.5, 4.75, 5.0])
    assert late.latency == 4.0
    assert late.first_piece == 3.5
    assert late.gaps == [0.25, 0.25]


def test_the_warm_up_counts_for_rates_only_where_it_ends_in_the_measured_time() -> None:
    measured = Measured(
        begins=2.0,
        ends=12.0,
        samples=[
            answered(0.0, 1.0),
            answered(1.0, 3.0),
            answered(2.0, 4.0, pieces=(2.5, 3.0, 4.0)),
            answered(11.0, 17.0, tokens=30, pieces=(13.0, 17.0)),
        ],
    )
    result = summarise(4, measured)
    assert (result.sent, result.answered, result.seconds) == (2, 2, 10.0)
    assert (result.requests_per_second, result.tokens_per_second) == (0.2, 2.0)
    assert result.latency == spread([2.0, 6.0])
    assert result.first_token == spread([0.5, 2.0])
    assert result.inter_token == spread([0.5, 1.0, 4.0])


def test_failures_are_counted_by_kind_with_the_first_one_s_reason_and_have_no_latency() -> None:
    def failed(outcome: Outcome, detail: str) -> Sample:
        return Sample(due=1.0, sent=1.0, ended=1.1, outcome=outcome, detail=detail)

    measured = Measured(
        begins=0.0,
        ends=10.0,
        samples=[
            failed(Outcome.FULL, "first"),
            failed(Outcome.FULL, "second"),
            failed(Outcome.TIMEOUT, "slow"),
        ],
    )
    result = summarise(1, measured)
    assert result.errors == {"429": 2, "timeout": 1}
    assert (result.sent, result.answered, result.latency) == (3, 0, None)
    assert warnings(result) == ["2 × 429: first", "1 × timeout: slow"]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 10), st.sampled_from(list(Outcome)))),
    st.floats(0, 5),
    st.floats(0, 30),
)
def test_no_request_of_the_measured_time_is_lost(
    requests: list[tuple[float, float, Outcome]], begins: float, length: float
) -> None:
    samples = [Sample(due=due, sent=due, ended=due + took, outcome=kind) for due, took, kind in requests]
    result = summarise(1, Measured(begins, begins + length, samples))
    assert result.answered + sum(result.errors.values()) == result.sent
    assert result.sent == sum(due >= begins for due, _, _ in requests)
    assert math.isfinite(result.requests_per_second)
    assert (result.latency is None) is (result.answered == 0)


@pytest.mark.parametrize(("lag", "warned"), [(0.004, False), (0.3, True)])
def test_a_client_that_was_the_limit_itself_is_told(lag: float, warned: bool) -> None:
    samples = [answered(n, n + 1.0) for n in range(9)]
    result = summarise(1, Measured(0.0, 10.0, samples, lags=[0.0] * 5 + [lag] * 95))
    assert any("this client was a limit itself" in line for line in warnings(result)) is warned


def test_a_step_of_few_answers_length_says_that_its_rates_are_coarse() -> None:
    result = summarise(1, Measured(0.0, 2.0, [answered(0.5, 5.0)]))
    assert result.requests_per_second == 0
    (line,) = warnings(result)
    assert "give more --seconds or --requests" in line


def test_built_in_prompts_are_of_mixed_lengths_and_the_same_for_the_same_seed() -> None:
    first, again, other = (Prompts((), seed) for seed in (1, 1, 2))
    texts = [first.next() for _ in range(200)]
    assert texts == [again.next() for _ in range(200)]
    assert texts != [other.next() for _ in range(200)]
    lengths = sorted(len(text.split()) for text in texts)
    assert lengths[0] < 10
    assert lengths[-1] > 70
    assert len(set(texts)) > 60, "long prompts are drawn anew"


def test_prompts_are_read_from_a_file_one_in_each_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts"
    file.write_text("eins\n\n  \nzwö\n", encoding="utf-8")
    assert read_prompts(file) == ("eins", "zwö")
    assert {Prompts(read_prompts(file), 1).next() for _ in range(20)} <= {"eins", "zwö"}
    assert check_prompt("one") == ("one",)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"\n \n", "has no prompt"), (b"\xff", "is not UTF-8")],
)
def test_a_file_of_prompts_that_is_no_use_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "prompts"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PromptsError, match=words):
        read_prompts(file)
