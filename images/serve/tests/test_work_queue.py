"""The queue between scheduler and engine: order, room, cancellation and its end."""

from __future__ import annotations

import threading

from serve.engine import WorkQueue
from serve.generation import Generation, Sampling


def generation(prompt: int) -> Generation:
    return Generation([prompt], Sampling(max_new_tokens=1), lambda _: "", frozenset(), lambda _: None)


def test_an_engine_takes_as_many_requests_as_it_has_room_for_in_order() -> None:
    work = WorkQueue()
    waiting = [generation(n) for n in range(5)]
    for one in waiting:
        work.put(one)
    waiting[1].cancel()
    assert work.take(limit=2) == [waiting[0], waiting[2]]
    assert work.take(limit=9) == [waiting[3], waiting[4]]
    assert work.take(limit=1, wait=0) == []


def test_a_closed_queue_wakes_the_engine_and_gives_up_what_comes_later() -> None:
    work = WorkQueue()
    taken: list[list[Generation]] = []
    engine = threading.Thread(target=lambda: taken.append(work.take()))
    engine.start()
    work.close()
    engine.join()
    late = generation(1)
    work.put(late)
    assert taken == [[]]
    assert work.closed
    assert not late.wanted
