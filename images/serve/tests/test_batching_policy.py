"""Who runs with whom."""

from __future__ import annotations

import random

from serve.batching.policy import (
    FREE_PADDING,
    JOIN_SECONDS,
    MAX_COHORTS,
    MERGE_PADDING,
    PADDING_SHARE,
    PATIENCE_SECONDS,
    Candidate,
    choose,
    may_join,
    may_merge,
    wait_for_mates,
)


def candidates(*lengths: int) -> list[Candidate]:
    """Requests that arrived one second after the other."""
    return [Candidate(length, float(i)) for i, length in enumerate(lengths)]


def test_prompts_of_similar_length_share_a_batch_and_others_wait() -> None:
    waiting = candidates(2000, 10, 1900, 12, 2100, 2050)
    assert sorted(choose(waiting, 8, 100_000)) == [0, 2, 4, 5]


def test_short_prompts_share_a_batch_whatever_their_lengths() -> None:
    assert sorted(choose(candidates(3, 40, 9, 25), 8, 100_000)) == [0, 1, 2, 3]


def test_the_oldest_leads_and_takes_those_nearest_to_it_when_room_is_short() -> None:
    assert choose(candidates(20, 60, 21, 50, 19), 3, 100_000) == [0, 2, 4]


def test_a_near_deadline_leads_before_an_older_request() -> None:
    waiting = [Candidate(2000, 0.0), Candidate(10, 1.0, deadline=2.0)]
    assert choose(waiting, 8, 100_000) == [1]


def test_a_request_without_deadline_is_overtaken_for_ten_seconds_at_most() -> None:
    old = Candidate(2000, 0.0)
    newer = [Candidate(10, PATIENCE_SECONDS + i, deadline=PATIENCE_SECONDS + i + 0.1) for i in range(3)]
    assert choose([*newer, old], 1, 100_000) == [3]


def test_no_batch_breaks_its_bounds_and_every_request_gets_its_turn() -> None:
    chooser = random.Random(2)
    for _ in range(100):
        waiting = [
            Candidate(chooser.randint(1, 3000), chooser.random()) for _ in range(chooser.randint(1, 60))
        ]
        turns = 0
        while waiting:
            chosen = choose(waiting, 16, 8000)
            lengths = [waiting[i].length for i in chosen]
            padded = max(lengths) * len(lengths)
            assert 1 <= len(set(chosen)) == len(chosen) <= 16
            assert padded <= 8000
            assert padded - sum(lengths) <= FREE_PADDING + PADDING_SHARE * sum(lengths)
            waiting = [candidate for i, candidate in enumerate(waiting) if i not in chosen]
            turns += 1
        assert turns <= 60


def test_a_prompt_larger_than_the_bound_runs_alone() -> None:
    assert choose(candidates(9000, 9000), 8, 8000) == [0]


def test_nothing_is_chosen_where_nothing_waits_or_nothing_is_free() -> None:
    assert choose([], 8, 100) == []
    assert choose(candidates(5), 0, 100) == []


def test_an_idle_engine_lets_one_request_wait_only_shortly_for_mates() -> None:
    assert wait_for_mates(candidates(5), 8, 1.5, now=1.0) == 0.5
    assert wait_for_mates(candidates(5), 8, 1.5, now=1.6) == 0.0
    assert wait_for_mates(candidates(5), 1, 1.5, now=1.0) == 0.0


def test_an_idle_engine_waits_while_requests_keep_coming_but_not_for_ever() -> None:
    waiting = candidates(5, 5, 5)
    assert wait_for_mates(waiting, 8, 0.75, now=3.0) == 0.5
    assert wait_for_mates(waiting, 8, 0.75, now=3.5) == 0.0
    assert wait_for_mates(waiting, 3, 0.75, now=2.0) == 0.0
    assert wait_for_mates(candidates(*[5] * 8), 32, 0.75, now=7.0) == 0.5


def test_an_idle_engine_does_not_wait_past_a_deadline() -> None:
    assert wait_for_mates([Candidate(5, 0.0, deadline=0.25)], 8, 1.0, now=0.0) == 0.25


def test_a_new_batch_starts_beside_a_running_one_when_it_is_large_or_has_waited() -> None:
    now = 100.0
    fresh = [Candidate(5, now) for _ in range(4)]
    assert may_join(fresh, [16], 16, now)
    assert not may_join(fresh[:3], [16], 16, now)
    assert may_join(fresh[:1], [16], 16, now + JOIN_SECONDS)
    assert not may_join(fresh, [16], 0, now)
    assert not may_join(fresh, [1] * MAX_COHORTS, 16, now + 9)


def test_requests_wait_while_there_is_no_memory_for_their_tokens() -> None:
    waiting = [Candidate(10, float(i), tokens=tokens) for i, tokens in enumerate((100, 60, 50, 40))]
    assert sorted(choose(waiting, 8, 1000, cache_room=200)) == [0, 1, 3]
    assert choose(waiting, 8, 1000, cache_room=99) == []
    assert sorted(choose(waiting, 8, 1000)) == [0, 1, 2, 3]


def test_batches_are_merged_unless_that_would_add_much_padding() -> None:
    short, long = [(0, 20)] * 8, [(0, 20 + MERGE_PADDING // 8)] * 4
    assert may_merge(short, long)
    assert not may_merge(short, [(0, 21 + MERGE_PADDING // 8)] * 4)
    # What each is padded with already is not counted again.
    assert may_merge([*short, *long], [(0, 20 + MERGE_PADDING // 8)] * 4)
