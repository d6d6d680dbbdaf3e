"""What a crash leaves in a cluster and not in the state, and a state of a cluster that was lost."""

from __future__ import annotations

import json

import pytest

from rehearsal import driver_cluster
from rehearsal.given import put_given
from rehearsal.world import Fault
from stacks.config import from_stack_file
from stacks.plan import build_plan
from tests.engine.conftest import MakeLab
from tests.engine.convergence import recover
from tests.engine.lab import STACK, Lab
from tests.engine.test_gke_without_control_plane import STACK_FILE

DEPLOYMENT = "kubernetes:apps/v1:Deployment"


@pytest.fixture
def lab(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A stack on TPUs where no control plane runs, whose staging job writes a stub."""
    monkeypatch.setattr(driver_cluster, "missing", lambda: ["etcd"])
    monkeypatch.setenv("LLMSTACK_RUNNER", "stub")
    lab = make_lab(STACK_FILE)
    world = lab.world()
    put_given(world, build_plan(from_stack_file(lab.root / f"Pulumi.{STACK}.yaml")))
    world.close()
    return lab


def test_an_object_of_a_crash_is_imported_and_up_goes_on(lab: Lab) -> None:
    lab.world().faults.add(Fault("crash_after", DEPLOYMENT, "create"))
    assert lab.up().failed
    again = lab.up()
    assert again.failed
    assert "already exists" in again.output
    done = recover(lab)
    assert done.returncode == 0, done.stdout + done.stderr
    last = lab.up()
    assert not last.failed, last.output
    nothing = lab.up()
    assert (nothing.failed, nothing.changed()) == (False, {}), nothing.output


def test_a_lost_state_is_recovered_with_the_cluster_first_and_what_is_in_it_then(lab: Lab) -> None:
    assert not lab.up().failed
    state = json.loads(lab.state())
    everything = {each["urn"].rpartition("::")[2] for each in state["deployment"]["resources"]}
    state["deployment"]["resources"] = []
    (lab.root / "empty.json").write_text(json.dumps(state), encoding="utf-8")
    lab.pulumi("stack", "import", "--file", str(lab.root / "empty.json"))
    done = recover(lab)
    assert done.returncode == 0, done.stdout + done.stderr
    converged = lab.up()
    assert not converged.failed, converged.output
    assert not {op for op in converged.changed().values() if "replace" in op}
    found = {each["urn"].rpartition("::")[2] for each in json.loads(lab.state())["deployment"]["resources"]}
    assert found == everything
