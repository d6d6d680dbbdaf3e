"""An engine that is killed at every call to Vertex AI in turn: the next ones converge and leave no orphan."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator

import pytest

from rehearsal.cloud.aiplatform.pipeline_runs import KIND as PIPELINE_JOB
from tests.engine.background import engine_processes, until
from tests.engine.conftest import MakeLab
from tests.engine.convergence import recover
from tests.engine.deadly_proxy import DeadlyProxy
from tests.engine.lab import Result
from tests.engine.test_vertex_staging import custom_jobs
from tests.engine.vertex_program import CONFIG, OVERRIDE, VertexStack, deployment, job, model, run

MOST_RUNS = 40


@pytest.fixture
def stack(make_lab: MakeLab) -> VertexStack:
    made = VertexStack(make_lab(CONFIG))
    made.make_endpoint()
    return made


@pytest.fixture
def deadly(stack: VertexStack) -> Iterator[DeadlyProxy]:
    """A way to Vertex AI, on which the stack's engine and its plugins die together."""

    def kill() -> None:
        for process in engine_processes(stack.lab):
            process.kill()

    proxy = DeadlyProxy(stack.lab.variables[OVERRIDE], kill)
    stack.point_at(proxy.address)
    yield proxy
    proxy.close()


def forget_locks(stack: VertexStack) -> None:
    """Take away the lock that a killed engine has left, as `pulumi cancel` does."""
    shutil.rmtree(stack.lab.rehearsal.folder / "state" / ".pulumi" / "locks")


def again_until_done(stack: VertexStack, operation: Callable[[], Result], deadly: DeadlyProxy) -> None:
    """The same operation again and again, until it survives."""
    for _ in range(MOST_RUNS):
        before = len(deadly.struck)
        result = operation()
        assert "Traceback" not in result.output
        if not result.failed:
            return
        assert len(deadly.struck) > before, f"after {deadly.struck}: {result.output}"
        forget_locks(stack)
    pytest.fail(f"no end after {deadly.struck}")


def changes(call: str) -> bool:
    """Whether a call changes something: to die at one that reads leaves what the change before has left."""
    return not call.startswith("GET ")


def test_killed_at_every_call_of_a_creation_nothing_is_made_twice(
    stack: VertexStack, deadly: DeadlyProxy
) -> None:
    stack.want(model=model(), deployment=deployment(), job=job("exit", "0"), run=run("exit", "0"))
    deadly.arm(lambda _: True)
    again_until_done(stack, stack.lab.up, deadly)
    said = "\n".join(deadly.struck)
    for each in ("models:upload", "N:deployModel", "POST.*/customJobs", "POST.*/pipelineJobs"):
        assert re.search(each, said)
    once = ("models.upload", "endpoints.deployModel", "customJobs.create", "pipelineJobs.create")
    assert {each: stack.calls(each) for each in once} == dict.fromkeys(once, 1)
    assert stack.asked() == "one"
    stack.assert_known()

    deadly.arm(changes)
    again_until_done(stack, stack.lab.destroy, deadly)
    assert any(call.startswith("DELETE ") for call in deadly.struck)
    stack.assert_destroyed()


def test_killed_at_every_change_of_a_switch_something_always_serves(
    stack: VertexStack, deadly: DeadlyProxy
) -> None:
    canary = deployment(traffic_steps=[10, 100])
    stack.up(model=model(), deployment=canary, job=job("exit", "0"), run=run("exit", "0"))
    stack.want(
        model=model("two", display_name="Second", version_aliases=["newest"]),
        deployment=canary,
        job=job("exit", "0", labels={"round": "two"}),
        run=run("exit", "0", labels={"round": "two"}),
    )
    served = []

    def up() -> Result:
        result = stack.lab.up()
        served.append(stack.asked())
        return result

    deadly.arm(changes)
    again_until_done(stack, up, deadly)
    assert {"one", "two"} >= set(served)
    assert served[-1] == "two"
    struck = "\n".join(deadly.struck)
    for each in (":deployModel", ":undeployModel", ":upload", "trafficSplit", "DELETE"):
        assert each in struck
    once = {"upload": 2, "deployModel": 2, "customJobs.create": 2, "pipelineJobs.create": 2}
    assert {each: stack.calls(each) for each in once} == once
    assert len(stack.deployed()) == 1
    assert len(custom_jobs(stack.lab)) == len(stack.lab.names(PIPELINE_JOB)) == 1
    stack.assert_converged()


def test_recover_imports_what_a_killed_engine_left_so_that_destroy_undeploys_it(
    stack: VertexStack, deadly: DeadlyProxy
) -> None:
    stack.want(model=model(), deployment=deployment())
    deadly.arm(lambda call: call.endswith(":deployModel"))
    assert stack.lab.up().failed
    forget_locks(stack)
    until(stack.split, "a deployment that serves, and that the state does not know")

    done = recover(stack.lab)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "modelops:vertex:ModelDeployment" in done.stdout
    stack.assert_known()
    # The state does not say that the deployment needs the model: both are asked to go at the same time.
    stack.assert_destroyed()
    assert stack.calls("undeployModel") == 1
