"""Plugins that are killed, and operations that take long: no work is done twice, and nothing is forgotten."""

from __future__ import annotations

import pytest

from rehearsal.world import Fault
from tests.engine.background import BackgroundUp, engine_processes, executions, the_line
from tests.engine.conftest import MakeLab
from tests.engine.convergence import assert_converged
from tests.engine.lab import Lab

RUN, START = "run.googleapis.com", "run.projects.locations.jobs.run"
STORAGE, LIST = "storage.googleapis.com", "storage.objects.list"
BUCKET = "gcp:storage/bucket:Bucket"


@pytest.fixture
def lab(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A stack whose staging job writes a stub in place of the model."""
    monkeypatch.setenv("LLMSTACK_RUNNER", "stub")
    return make_lab()


def runs(lab: Lab, provider: str, operation: str) -> bool:
    """Whether such a call is under way."""
    wanted = (provider, operation, "running")
    return any((call.provider, call.operation, call.outcome) == wanted for call in lab.world().calls())


def kill_plugin(lab: Lab, name: str) -> None:
    """SIGKILL to one plugin of the engine."""
    found = [each for each in engine_processes(lab) if f"providers.{name}" in " ".join(each.cmdline())]
    assert found, [each.cmdline() for each in engine_processes(lab)]
    for each in found:
        each.kill()


def test_a_killed_modelops_plugin_starts_the_staging_once(lab: Lab) -> None:
    faults = lab.world().faults
    faults.add(Fault("slow", STORAGE, LIST, seconds=5))
    before = BackgroundUp(lab)
    before.go_on_until(lambda: runs(lab, STORAGE, LIST), "a look into the bucket")
    kill_plugin(lab, "modelops")
    assert before.wait() != 0
    assert executions(lab) == {}

    faults.clear()
    faults.add(Fault("late", RUN, START, seconds=5))
    after = BackgroundUp(lab)
    after.go_on_until(lambda: executions(lab), "a started execution whose name the plugin does not know")
    kill_plugin(lab, "modelops")
    assert after.wait() != 0

    faults.clear()
    converged = lab.up()
    assert not converged.failed, converged.output
    assert list(executions(lab).values()) == ["CONDITION_SUCCEEDED"]
    assert_converged(lab)


def test_ctrl_c_in_a_slow_create_waits_for_it_and_keeps_it(lab: Lab) -> None:
    lab.world().faults.add(Fault("slow", BUCKET, "create", seconds=5))
    up = BackgroundUp(lab)
    up.go_on_until(lambda: runs(lab, BUCKET, "create"), "a create that takes long")
    up.press_ctrl_c()
    assert up.wait() != 0
    assert "creating" in the_line(up.output(), "foundation-models")
    assert lab.names("storage.bucket")

    lab.world().faults.clear()
    converged = lab.up()
    assert not converged.failed, converged.output
    assert "foundation-models" not in converged.changed()
    assert_converged(lab)
