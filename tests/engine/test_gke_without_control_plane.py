"""A stack on TPUs where no control plane is installed: objects are checked by type, a stub is staged."""

from __future__ import annotations

import pytest

from rehearsal import driver_cluster
from rehearsal.cluster.load_balancers import address_of
from rehearsal.given import put_given
from stacks.config import from_stack_file
from stacks.plan import build_plan
from tests.engine.conftest import MakeLab
from tests.engine.lab import STACK, Lab

STACK_FILE = """
  gcp:project: llm-test
  gcp:region: us-west4
  llm:environment: local
  llm:hubTokenSecret: hub-token
  llm:deployments:
    llama:
      topology: gke-tpu
      model: meta-llama/Llama-2-7b-hf
      engine: jetstream
      tpu: {topology: 2x4, machine: ct5lp-hightpu-8t}
      scaling: {min: 2, max: 2}
      weights: {volume: disk}
"""


def given(lab: Lab) -> list[str]:
    """What the stack takes for granted, put where it is missing."""
    world = lab.world()
    put = put_given(world, build_plan(from_stack_file(lab.root / f"Pulumi.{STACK}.yaml")))
    world.close()
    return put


def standing(lab: Lab) -> set[str]:
    """Everything that there is in the rehearsed cloud."""
    return {record.name for record in lab.world().list()}


@pytest.fixture(autouse=True)
def no_control_plane(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is installed, and containers are stubbed."""
    monkeypatch.setattr(driver_cluster, "missing", lambda: ["etcd"])
    monkeypatch.setenv("LLMSTACK_RUNNER", "stub")


def test_a_stack_on_tpus_is_rehearsed_without_a_control_plane(
    make_lab: MakeLab, capfd: pytest.CaptureFixture[str]
) -> None:
    lab = make_lab(f"{STACK_FILE}      access: {{expose: internal}}\n")
    assert "no control plane is installed" in capfd.readouterr().err
    before = given(lab)
    first = lab.up()
    assert not first.failed, first.output
    assert set(first.changed().values()) == {"create"}
    assert lab.names("compute.snapshot")
    assert lab.outputs()["addresses"]["llama"] == f"http://{address_of(f'{STACK}-llama/server')}:8000"
    second = lab.up()
    assert not second.failed, second.output
    assert second.changed() == {}
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output
    left = [each for each in lab.rehearsal.leftovers() if not each.startswith("process")]
    assert [each for each in left if each not in before] == []


def test_a_destroy_of_a_protected_stack_takes_nothing_that_serves(make_lab: MakeLab) -> None:
    lab = make_lab(STACK_FILE.replace("llm:environment: local", "llm:environment: staging"))
    given(lab)
    first = lab.up()
    assert not first.failed, first.output
    before = standing(lab)
    by_hand = lab.pulumi("destroy", "--yes", check=False)
    assert by_hand.returncode != 0
    assert "it is protected" in by_hand.stdout + by_hand.stderr
    assert standing(lab) == before
    unseen = lab.destroy()  # without a preview
    assert unseen.failed
    kinds = {name.rsplit("/", 2)[1] for name in before - standing(lab) if "/k8s/" in name}
    assert not kinds & {"Deployment.apps", "Service", "namespaces"}
    assert all("/k8s/" in name for name in before - standing(lab))

    lab.set("llm:environment", "dev")
    unprotected = lab.up()
    assert not unprotected.failed, unprotected.output
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output
