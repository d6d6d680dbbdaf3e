"""The queue between those who ask and the engine's thread: order, room, cancellation and its end."""

from __future__ import annotations

import threading
import time

import pytest
from serve.batching.answer import Answer
from serve.batching.inbox import Inbox
from serve.engines.base import (
    EngineUnavailableError,
    FinishReason,
    GenerateRequest,
    QueueFullError,
)


def waiting(name: str, **values: float) -> Answer:
    """A request that waits, with a prompt of one token."""
    request = GenerateRequest(name, [1], 1, **values)  # type: ignore[arg-type]
    return Answer(request, lambda _: "", frozenset([0]), lambda _: None)


def test_an_engine_takes_as_many_requests_as_it_has_room_for_oldest_first() -> None:
    inbox = Inbox(5)
    answers = [waiting(str(number)) for number in range(5)]
    for answer in answers:
        inbox.put(answer)
    answers[1].finish(FinishReason.CANCELLED)
    assert len(inbox) == 4
    assert inbox.take(2, 100) == [answers[0], answers[2]]
    assert inbox.take(9, 100) == [answers[3], answers[4]]
    assert inbox.take(1, 100) == []


def test_what_was_cancelled_or_is_too_late_takes_no_place_in_a_full_queue() -> None:
    inbox = Inbox(2)
    gone, late = waiting("gone"), waiting("late", deadline=time.monotonic() + 0.01)
    inbox.put(gone)
    inbox.put(late)
    with pytest.raises(QueueFullError, match="2 requests wait"):
        inbox.put(waiting("too many"))
    gone.finish(FinishReason.CANCELLED)
    time.sleep(0.02)
    kept = [waiting("a"), waiting("b")]
    for answer in kept:
        inbox.put(answer)
    assert late.ended
    assert inbox.take(9, 100) == kept


@pytest.mark.parametrize("wait", ["wait", "gather"])
def test_closing_wakes_the_engine_and_lets_nothing_in(wait: str) -> None:
    inbox = Inbox(5)
    if wait == "gather":
        inbox.put(waiting("lonely"))
    engine = threading.Thread(target=inbox.wait if wait == "wait" else lambda: inbox.gather(8, 3600.0))
    engine.start()
    inbox.close()
    engine.join()
    assert inbox.closed
    assert not inbox.wait()
    assert inbox.take(9, 100) == []
    with pytest.raises(EngineUnavailableError, match="stopping"):
        inbox.put(waiting("late"))


def test_gathering_ends_as_soon_as_the_batch_is_full() -> None:
    inbox = Inbox(5)
    inbox.put(waiting("first"))
    gathering = threading.Thread(target=inbox.gather, args=(2, 3600.0))
    gathering.start()
    inbox.put(waiting("second"))
    gathering.join()
    assert len(inbox.take(2, 100)) == 2
