"""One request's tokens and events, whatever engine makes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from serve.batching.answer import Answer, QueueStream
from serve.engines.base import (
    EngineError,
    FinishReason,
    GenerateRequest,
    GenerationFailedError,
    TokenEvent,
)

END = 0


def decode(ids: Sequence[int]) -> str:
    """Letters: 1 is a, 2 is b …"""
    return "".join(chr(96 + token) for token in ids if token != END)


def made(tokens: str, **values: object) -> tuple[Answer, list[TokenEvent | EngineError]]:
    """An answer after these letters (`.` for the end token), and its events."""
    events: list[TokenEvent | EngineError] = []
    request = GenerateRequest("a", [1], **({"max_new_tokens": 9} | values))  # type: ignore[arg-type]
    answer = Answer(request, decode, frozenset([END]), events.append)
    for letter in tokens:
        answer.push(END if letter == "." else ord(letter) - 96)
    return answer, events


def text(events: Sequence[TokenEvent | EngineError]) -> str:
    """The texts joined."""
    return "".join(event.text for event in events if isinstance(event, TokenEvent))


def test_each_token_is_an_event_and_the_end_token_is_the_last_without_one() -> None:
    _, events = made("abc.")
    assert events == [
        TokenEvent("a", 1, None, 1),
        TokenEvent("b", 2, None, 2),
        TokenEvent("c", 3, None, 3),
        TokenEvent("", None, FinishReason.STOP, 3),
    ]


def test_the_limit_ends_an_answer_with_its_last_token() -> None:
    _, events = made("abcdef", max_new_tokens=3)
    assert events[-1] == TokenEvent("c", 3, FinishReason.LENGTH, 3)
    assert len(events) == 3


def test_what_may_be_a_stop_string_is_held_back_and_shown_when_it_is_none() -> None:
    _, events = made("abcx", stop=("bcd",))
    assert [event.text for event in events if isinstance(event, TokenEvent)] == ["a", "", "", "bcx"]


@pytest.mark.parametrize(("tokens", "rest"), [("abc.", "abc"), ("abcd", "a"), ("xbcdyz", "x")])
def test_an_answer_ends_before_its_stop_string(tokens: str, rest: str) -> None:
    _, events = made(tokens, stop=("bcd",))
    assert text(events) == rest
    last = events[-1]
    assert isinstance(last, TokenEvent)
    assert last.finish is FinishReason.STOP


@pytest.mark.parametrize("reason", [FinishReason.CANCELLED, FinishReason.DEADLINE])
def test_an_answer_that_is_ended_shows_what_was_held_back_and_nothing_later(reason: FinishReason) -> None:
    answer, events = made("ab", stop=("bcd",))
    answer.finish(reason)
    assert answer.push(3)
    answer.finish(FinishReason.STOP)
    answer.fail(GenerationFailedError("late"))
    assert events[2:] == [TokenEvent("b", None, reason, 2)]


def test_only_a_passed_deadline_ends_an_answer() -> None:
    answer, events = made("a", deadline=5.0)
    assert not answer.expire(4.9)
    assert answer.expire(5.0)
    assert events[-1] == TokenEvent("", None, FinishReason.DEADLINE, 1)
    assert not made("a")[0].expire(1e12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt_ids": []}, "prompt_ids is empty"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": -1}, "top_k is -1"),
        ({"stop": ("a", "")}, "a stop string is empty"),
    ],
)
def test_a_request_with_a_wrong_value_cannot_be_made(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerateRequest(**({"id": "a", "prompt_ids": [1], "max_new_tokens": 1} | values))  # type: ignore[arg-type]


def test_an_answer_cancelled_while_tokens_come_has_exactly_one_end_which_is_last() -> None:
    for _ in range(50):
        answer, events = made("", max_new_tokens=200)
        pushing = threading.Thread(target=lambda a=answer: [a.push(1) for _ in range(200)])
        pushing.start()
        answer.finish(FinishReason.CANCELLED)
        pushing.join()
        ends = [isinstance(event, TokenEvent) and event.finish is not None for event in events]
        assert ends[-1]
        assert sum(ends) == 1


def test_a_stream_gives_events_of_another_thread_and_raises_what_ended_them() -> None:
    async def scenario() -> None:
        stream = QueueStream()
        sent = [TokenEvent("a", 1), TokenEvent("b", 2), GenerationFailedError("broken")]
        thread = threading.Thread(target=lambda: [stream.deliver(event) for event in sent])
        thread.start()
        assert [(await anext(stream)).text for _ in range(2)] == ["a", "b"]
        with pytest.raises(GenerationFailedError, match="broken"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        thread.join()

    asyncio.run(scenario())


def test_events_for_a_loop_that_is_gone_are_dropped() -> None:
    async def make() -> QueueStream:
        return QueueStream()

    stream = asyncio.run(make())
    stream.deliver(TokenEvent("a", 1))
