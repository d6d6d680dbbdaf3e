"""An `up` that is interrupted, killed, or not alone: the next one converges, and nothing runs twice."""

from __future__ import annotations

import json

from rehearsal.cloud.client import running
from rehearsal.driver_processes import living
from tests.engine.background import (
    BackgroundUp,
    cloud_process,
    engine_processes,
    executions,
    the_line,
    until,
    watches,
)
from tests.engine.conftest import MakeLab
from tests.engine.lab import Lab
from tests.engine.troubled_hub import TroubledHub

STAGED = "modelops:index:StagedModel"


def up_in_the_middle_of_staging(lab: Lab, hub: TroubledHub) -> BackgroundUp:
    """An `up` of a new stack that has nothing left to do but to wait for the job."""
    hub.hold()
    up = BackgroundUp(lab)
    up.go_on_until(hub.keeps_waiting, "a job that downloads")
    up.go_on_until(lambda: pending(lab) == [STAGED], "an up that only waits for its staging")
    return up


def up_that_waits_for(lab: Lab, execution: str) -> BackgroundUp:
    """An `up` that found the execution of an earlier one."""
    before = watches(lab, execution)
    up = BackgroundUp(lab)
    up.go_on_until(lambda: watches(lab, execution) > before, "an up that waits for the execution")
    return up


def pending(lab: Lab) -> list[str]:
    """Types of what the engine works on, as it would find them after a crash."""
    (path,) = (lab.rehearsal.folder / "state" / ".pulumi" / "stacks").glob("*/test.json")
    deployment = json.loads(path.read_text(encoding="utf-8"))["checkpoint"]["latest"]
    return [operation["resource"]["type"] for operation in deployment.get("pending_operations", [])]


def assert_converged(lab: Lab, execution: str) -> None:
    """The one execution staged the model; the stack knows all there is, or a destroy would leave it."""
    assert executions(lab) == {execution: "CONDITION_SUCCEEDED"}
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output
    assert [left for left in lab.rehearsal.leftovers() if not left.startswith("process")] == []


def test_after_ctrl_c_the_staging_goes_on_and_the_next_up_waits_for_it(
    lab: Lab, troubled: TroubledHub
) -> None:
    interrupted = up_in_the_middle_of_staging(lab, troubled)
    interrupted.press_ctrl_c()
    assert interrupted.wait() != 0
    (execution,) = executions(lab)
    said = the_line(interrupted.output(), "goes on")
    assert execution.rpartition("/")[2] in said
    assert "the next `pulumi up` waits for it" in said
    assert executions(lab) == {execution: "running"}
    until(lambda: not engine_processes(lab), "the end of the engine's plugins")

    following = up_that_waits_for(lab, execution)
    troubled.release()
    assert following.wait() == 0, following.output()
    assert_converged(lab, execution)


def test_after_a_kill_the_next_up_converges_and_no_process_of_the_engine_stays(
    lab: Lab, troubled: TroubledHub
) -> None:
    first = up_in_the_middle_of_staging(lab, troubled)
    (execution,) = executions(lab)
    first.kill()
    until(lambda: not engine_processes(lab), "the end of the killed engine's plugins")
    locked = lab.pulumi("up", "--yes", "--skip-preview", check=False)
    assert locked.returncode != 0
    assert "pulumi cancel" in locked.stderr
    lab.pulumi("cancel", "--yes")

    second = up_that_waits_for(lab, execution)
    second.kill_group()
    until(lambda: not engine_processes(lab), "the end of the killed group's plugins")
    lab.pulumi("cancel", "--yes")
    assert executions(lab) == {execution: "running"}

    third = up_that_waits_for(lab, execution)
    troubled.release()
    assert third.wait() == 0, third.output()
    # The engine remembers what it was killed in, and says so at every up, until it is told to forget it.
    lab.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--expect-no-changes")
    assert pending(lab) == []
    assert_converged(lab, execution)


def test_after_the_cloud_process_died_the_next_up_finds_the_execution(
    lab: Lab, troubled: TroubledHub
) -> None:
    up = up_in_the_middle_of_staging(lab, troubled)
    (execution,) = executions(lab)
    cloud_process(lab).kill()
    assert up.wait() != 0
    assert "run the command again once it answers" in the_line(up.output(), "cannot reach Google")

    following = up_that_waits_for(lab, execution)
    troubled.release()
    assert following.wait() == 0, following.output()
    assert_converged(lab, execution)


def test_of_two_ups_at_once_the_second_is_refused_and_the_first_ends_well(
    lab: Lab, troubled: TroubledHub
) -> None:
    first = up_in_the_middle_of_staging(lab, troubled)
    second = lab.pulumi("up", "--yes", "--skip-preview", check=False)
    assert second.returncode != 0
    assert "the stack is currently locked by 1 lock(s)" in second.stderr
    troubled.release()
    assert first.wait() == 0, first.output()
    assert list(executions(lab).values()) == ["CONDITION_SUCCEEDED"]


def test_two_stacks_at_once_do_not_disturb_each_other(make_lab: MakeLab) -> None:
    labs = [make_lab(), make_lab()]
    ups = [BackgroundUp(lab) for lab in labs]
    assert [up.wait() for up in ups] == [0, 0], [up.output() for up in ups]
    folders = [lab.rehearsal.folder for lab in labs]
    assert len({running(folder) for folder in folders} - {None}) == 2
    assert [len(executions(lab)) for lab in labs] == [1, 1]
    assert labs[0].names("run.service") == labs[1].names("run.service")
    labs[0].rehearsal.down()
    assert living(folders[0]) == []
    assert running(folders[1])
