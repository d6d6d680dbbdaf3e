"""Injected faults and the record of calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.world import Fault, InjectedFault, World

TOKEN = "gcp:cloudrunv2/service:Service"
NAME = "run.googleapis.com/projects/p/locations/l/services/s"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def _outcomes(world: World, times: int) -> list[str]:
    for _ in range(times):
        try:
            with world.call(TOKEN, "create", NAME):
                pass
        except InjectedFault:
            pass
    return [call.outcome for call in world.calls()]


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("quota", 429, "RESOURCE_EXHAUSTED"),
        ("stockout", 503, "UNAVAILABLE"),
        ("429", 429, "RESOURCE_EXHAUSTED"),
        ("503", 503, "UNAVAILABLE"),
        ("error", 500, "INTERNAL"),
    ],
)
def test_a_fault_answers_as_google_does(world: World, kind: str, code: int, status: str) -> None:
    world.faults.add(Fault(kind))
    with pytest.raises(InjectedFault) as caught, world.call(TOKEN, "create", NAME):
        pytest.fail("the call reached the cloud")
    assert (caught.value.kind, caught.value.code, caught.value.status) == (kind, code, status)


def test_a_fault_strikes_the_nth_matching_call_and_as_many_as_it_says(world: World) -> None:
    world.faults.add(Fault("503", nth=2, times=2))
    assert _outcomes(world, 5) == ["ok", "503", "503", "ok", "ok"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("503", provider="gcp:storage/*"),
        Fault("503", operation="delete"),
        Fault("503", target="*/services/other"),
    ],
)
def test_a_fault_leaves_other_calls_alone_and_does_not_count_them(world: World, fault: Fault) -> None:
    world.faults.add(fault)
    assert _outcomes(world, 2) == ["ok", "ok"]


def test_a_fault_can_say_something_else(world: World) -> None:
    world.faults.add(Fault("error", message="Lift off"))
    with pytest.raises(InjectedFault, match="Lift off"), world.call(TOKEN, "create", NAME):
        pass


def test_a_slow_call_waits_and_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("rehearsal.world_faults.time.sleep", waited.append)
    world.faults.add(Fault("slow", seconds=7))
    with world.call(TOKEN, "create", NAME):
        assert waited == [7]
    assert [call.outcome for call in world.calls()] == ["slow"]


def test_a_call_that_fails_by_itself_is_recorded_with_its_reason(world: World) -> None:
    with pytest.raises(ValueError, match="no"), world.call(TOKEN, "create", NAME):
        raise ValueError("no")
    (call,) = world.calls()
    assert (call.outcome, call.detail, call.operation, call.target) == ("error", "no", "create", NAME)


def test_cleared_faults_strike_no_more(world: World) -> None:
    world.faults.add(Fault("503", times=9))
    assert world.faults.active() == [Fault("503", times=9)]
    world.faults.clear()
    assert _outcomes(world, 1) == ["ok"]


@pytest.mark.parametrize(("kind", "effect"), [("crash_before", None), ("crash_after", "done")])
def test_a_crash_kills_the_process_before_or_after_the_effect(
    world: World, kind: str, effect: str | None
) -> None:
    world.faults.add(Fault(kind))
    code = (
        "import sys, pathlib; from rehearsal.world import World; w = World(pathlib.Path(sys.argv[1]))\n"
        "with w.call('t', 'create', 'n'): w.set_setting('effect', 'done')\n"
        "w.set_setting('survived', 'yes')"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(world.folder)], check=False)
    assert ended.returncode == -9
    assert (world.setting("effect"), world.setting("survived")) == (effect, None)
    assert [call.outcome for call in world.calls()] == [kind]
    assert _outcomes(world, 1)[-1] == "ok"


@pytest.mark.parametrize("wrong", [{"kind": "fire"}, {"kind": "503", "nth": 0}, {"kind": "503", "times": 0}])
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="fault"):
        Fault(**wrong)  # type: ignore[arg-type]


def test_a_late_answer_comes_after_its_effect(world: World) -> None:
    world.faults.add(Fault("late", seconds=0.01))
    effect = []
    with world.call(TOKEN, "create", NAME):
        effect.append([call.outcome for call in world.calls()])
    assert effect == [["running"]]
    assert [call.outcome for call in world.calls()] == ["late"]
