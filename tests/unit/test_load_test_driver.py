"""The load test's driver against a real HTTP server whose delays and failures are scripted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from llmstack.client import Deployment
from llmstack.load import driver
from llmstack.load.apis import ServingApi
from llmstack.load.arrivals import Length, poisson
from llmstack.load.summary import Result
from llmstack.load.sweep import Sweep, run_sweep
from tests.unit.scripted_serving import Script, refusal, serving


@pytest.fixture
def script() -> Iterator[Script]:
    """A running server's script."""
    with serving(Script()) as running:
        yield running


def sweep(length: Length, **changes: object) -> Sweep:
    usual = {
        "concurrency": (1,),
        "rates": (),
        "texts": ("Hi",),
        "max_new_tokens": 8,
        "stream": False,
        "timeout": 30.0,
        "seed": 0,
    }
    return Sweep(length=length, **(usual | changes))  # type: ignore[arg-type]


def run(script: Script, wanted: Sweep, connections: int = 100) -> list[Result]:
    results: list[Result] = []
    assert asyncio.run(
        run_sweep(Deployment(script.url, None), ServingApi(), wanted, connections, results.append)
    )
    return results


def test_a_closed_loop_sends_exactly_the_requests_it_was_told_to(script: Script) -> None:
    one, four = run(script, sweep(Length(0, requests=9), concurrency=(1, 4)))
    assert (one.load, one.sent, one.answered) == (1, 9, 9)
    assert (four.load, four.sent, four.answered) == (4, 9, 9)
    assert len(script.bodies) == 18
    assert script.bodies[0] == {"prompt": "Hi", "max_new_tokens": 8, "stream": False}
    assert one.latency is not None
    assert one.first_token is None
    assert not one.cut


def test_as_many_clients_as_there_should_be_are_served_at_once(script: Script) -> None:
    script.together = 3
    (result,) = run(script, sweep(Length(0, requests=12), concurrency=(3,)))
    assert (result.answered, script.most) == (12, 3)


def test_what_begins_in_the_warm_up_is_sent_and_not_counted(script: Script) -> None:
    script.gap, script.pieces = 0.05, ("a",)
    (result,) = run(script, sweep(Length(0.3, requests=2)))
    assert result.sent == 2
    assert len(script.bodies) > 2


def test_a_step_of_seconds_waits_for_the_answers_that_are_late(script: Script) -> None:
    script.gap, script.pieces = 1.0, ("a",)
    (result,) = run(script, sweep(Length(0, seconds=0.5), concurrency=(2,)))
    assert (result.sent, result.answered, result.seconds) == (2, 2, 0.5)
    assert result.latency is not None
    assert result.latency.p50 >= 1.0
    assert result.requests_per_second == 0.0


def test_a_stream_is_measured_from_its_first_piece_on(script: Script) -> None:
    script.gap = 0.1
    (result,) = run(script, sweep(Length(0, requests=2), stream=True))
    assert result.answered == 2
    assert result.first_token is not None
    assert result.inter_token is not None
    assert result.latency is not None
    assert result.first_token.p50 >= 0.1
    assert result.latency.p50 >= 0.3
    assert result.inter_token.largest <= result.latency.largest
    assert script.bodies[0]["stream"] is True


def test_the_time_that_a_request_waits_for_its_turn_is_part_of_its_latency(script: Script) -> None:
    # Ten requests are due within a moment; one after the other they take 0.1 s each, so the last waits long.
    script.gap, script.pieces = 0.1, ("a",)
    wanted = sweep(Length(0, requests=10), concurrency=(), rates=(1000.0,))
    due = list(poisson(1000.0, wanted.length, wanted.seed))
    (result,) = run(script, wanted, connections=1)
    assert result.answered == 10
    assert result.latency is not None
    assert result.latency.largest >= 10 * 0.1 - due[-1]


def test_an_open_loop_does_not_wait_for_answers(script: Script) -> None:
    script.together = 5
    (result,) = run(script, sweep(Length(0, requests=5), concurrency=(), rates=(100.0,)))
    assert (result.load, result.answered, script.most) == (100.0, 5, 5)


def test_each_kind_of_failure_is_counted_by_itself(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "PAUSE_SECONDS", 0.0)
    script.refusals.extend(
        [
            refusal(429, "full", retry_after="0"),
            refusal(503, "loading", retry_after="0"),
            refusal(500, "failed"),
            None,
            refusal(422, "too long"),
        ]
    )
    (result,) = run(script, sweep(Length(0, requests=6)))
    assert result.errors == {"429": 1, "5xx": 2, "refused": 1}
    assert result.details == {"429": "429: full", "5xx": "503: loading", "refused": "422: too long"}
    assert (result.sent, result.answered) == (6, 2)


@pytest.mark.parametrize(
    ("cut", "kind"), [("connection", "disconnect"), ("end", "disconnect"), ("error", "5xx")]
)
def test_a_stream_that_breaks_off_is_not_an_answer(
    script: Script, monkeypatch: pytest.MonkeyPatch, cut: str, kind: str
) -> None:
    monkeypatch.setattr(driver, "PAUSE_SECONDS", 0.0)
    script.cut = cut
    (result,) = run(script, sweep(Length(0, requests=3), stream=True))
    assert (result.answered, result.errors, result.tokens_per_second) == (0, {kind: 3}, 0)


def test_a_server_that_is_gone_is_counted_as_a_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "PAUSE_SECONDS", 0.0)
    with serving(Script()) as gone:
        pass
    (result,) = run(gone, sweep(Length(0, requests=2)))
    assert result.errors == {"disconnect": 2}


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_takes_too_long_is_given_up_and_the_server_told(
    script: Script, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(driver, "PAUSE_SECONDS", 0.0)
    # Pieces keep coming, so a limit on silence would never pass.
    script.gap, script.pieces = 0.05, ("a",) * 200
    (result,) = run(script, sweep(Length(0, requests=1), stream=stream, timeout=0.4))
    assert result.errors == {"timeout": 1}
    assert result.details == {"timeout": "no answer in 0.4 s"}
    # The scripted server looks after its client only while it sends.
    assert not stream or script.left.wait(30)


def test_a_client_waits_as_long_as_the_server_asks_before_it_comes_again(script: Script) -> None:
    script.refusals.extend(refusal(429, "full", retry_after="1") for _ in range(100))
    (result,) = run(script, sweep(Length(0, seconds=0.5), concurrency=(4,)))
    # Without the wait it would be hundreds; and it does not wait beyond the step's end.
    assert Counter(result.errors) == {"429": 4}


def test_ctrl_c_reports_what_was_measured_and_leaves_out_the_rest(script: Script) -> None:
    script.gap, script.pieces = 0.05, ("a",)
    results: list[Result] = []
    wanted = sweep(Length(0, seconds=600), concurrency=(2, 4))

    async def interrupted() -> bool:
        sweeping = run_sweep(Deployment(script.url, None), ServingApi(), wanted, 100, results.append)
        async with asyncio.timeout(120):
            going = asyncio.create_task(sweeping)
            # Of two clients one sends a third request only once it has its first answer.
            while len(script.bodies) < 3:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            return await going

    assert asyncio.run(interrupted()) is False
    (result,) = results
    assert result.cut
    assert result.answered > 0
    assert result.requests_per_second > 0


def test_the_same_seed_sends_the_same_prompts_and_each_step_others(script: Script) -> None:
    wanted = sweep(Length(0, requests=8), concurrency=(1, 2), texts=())
    run(script, wanted)
    first = sorted(body["prompt"] for body in script.bodies[:8])
    # Two requests that are sent at the same time may arrive in either order.
    second = sorted(body["prompt"] for body in script.bodies[8:])
    assert first != second
    script.bodies.clear()
    run(script, wanted)
    assert sorted(body["prompt"] for body in script.bodies[:8]) == first
    assert sorted(body["prompt"] for body in script.bodies[8:]) == second
