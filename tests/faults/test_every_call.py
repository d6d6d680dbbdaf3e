"""A crash before and after the effect of every call of `up`, in turn: it converges, and nothing is left."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from llmstack.recovery.ids import ID_FORMS, SECRET_VERSION
from rehearsal.world import Fault
from tests.engine.background import BackgroundUp, engine_processes, the_line, until
from tests.engine.conftest import MakeLab
from tests.engine.convergence import assert_converged, recover
from tests.engine.lab import Lab
from tests.faults.calls_of_up import CREATES, REQUESTS

CRASHES = ("crash_before", "crash_after")
KILLS = ("slow", "late")
"""The engine is killed while a call waits before its effect, or before its answer."""
WAIT_SECONDS = 120.0


@pytest.fixture
def lab(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A stack of every type, whose staging job writes a stub in place of the model."""
    monkeypatch.setenv("LLMSTACK_RUNNER", "stub")
    made = make_lab()
    made.pulumi("config", "set", "--secret", "llm:hubToken", "hf_planted_token")
    return made


def converge(lab: Lab, type_: str, *, happened: bool) -> None:
    """What a person does after a failed `up`, and how it must end."""
    if happened and type_ == SECRET_VERSION:
        assert recover(lab).returncode == 0
    again = lab.up()
    if again.failed:
        assert happened
        assert type_ in ID_FORMS, again.output
        assert "`llmstack recover test`" in the_line(again.output, "Error 409")
        recovered = recover(lab)
        assert recovered.returncode == 0, recovered.stdout + recovered.stderr
        again = lab.up()
    assert not again.failed, again.output
    assert_converged(lab)


def test_the_list_of_calls_is_complete(lab: Lab) -> None:
    assert not lab.up().failed
    calls = lab.world().calls()
    unlisted = [
        (call.provider, call.operation, call.target)
        for call in calls
        if (call.provider, call.operation) not in REQUESTS
        and not any(
            (call.provider, call.operation) == (type_, "create") and fnmatchcase(call.target, target)
            for type_, target in CREATES
        )
    ]
    assert unlisted == []
    assert len([call for call in calls if call.operation == "create"]) == len(CREATES)
    assert {(call.provider, call.operation) for call in calls} >= set(REQUESTS)


@pytest.mark.parametrize("kind", CRASHES)
@pytest.mark.parametrize(("type_", "target"), CREATES)
def test_a_plugin_that_dies(lab: Lab, kind: str, type_: str, target: str) -> None:
    lab.world().faults.add(Fault(kind, type_, "create", target))
    # One call at a time: a dying plugin takes along the answers to what was done beside the crash.
    assert lab.up(parallel=1).failed
    assert [call.outcome for call in lab.world().calls()].count(kind) == 1
    converge(lab, type_, happened=kind == "crash_after")


@pytest.mark.parametrize("kind", KILLS)
@pytest.mark.parametrize(("type_", "target"), CREATES)
def test_an_engine_that_dies(lab: Lab, kind: str, type_: str, target: str) -> None:
    lab.world().faults.add(Fault(kind, type_, "create", target, seconds=WAIT_SECONDS))
    up = BackgroundUp(lab)
    up.go_on_until(lambda: reached(lab, kind, type_, target), f"a {kind} create of {target}")
    up.kill()
    until(lambda: not engine_processes(lab), "the end of the killed engine's plugins")
    cancelled = lab.pulumi("cancel", "--yes", check=False)
    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    lab.world().faults.clear()
    # What was under way beside it may or may not have happened, so everything is looked for.
    recovered = recover(lab)
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    again = lab.up()
    assert not again.failed, again.output
    assert_converged(lab)


def reached(lab: Lab, kind: str, type_: str, target: str) -> bool:
    """Whether the create waits: before its effect, or after it."""
    outcome = {"slow": "running", "late": "late"}[kind]
    return any(
        (call.provider, call.operation, call.outcome) == (type_, "create", outcome)
        and fnmatchcase(call.target, target)
        for call in lab.world().calls()
    )


@pytest.mark.parametrize("kind", CRASHES)
@pytest.mark.parametrize(("api", "method"), REQUESTS)
def test_a_google_that_is_gone(lab: Lab, kind: str, api: str, method: str) -> None:
    lab.world().faults.add(Fault(kind, api, method))
    lab.up()
    assert [call.outcome for call in lab.world().calls()].count(kind) == 1
    lab.rehearsal.prepare()
    again = lab.up()
    assert not again.failed, again.output
    assert_converged(lab)
