"""Whole stacks on topology `vertex`: first up, answers, a switch without a gap, drift, quota, destroy."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from rehearsal.cloud.aiplatform.deployed import DEPLOYED, ENDPOINT
from rehearsal.cloud.aiplatform.quotas import limit_setting
from stacks.config import from_stack_file
from stacks.plan import build_plan
from stacks.plan.types_vertex import VertexPlan
from tests.engine.conftest import MakeLab, MakeServed
from tests.engine.convergence import ghosts, orphans
from tests.engine.lab import STACK, Lab, without_components
from tests.engine.served import Caller, ask, asked_all_the_time
from tests.engine.test_lifecycle import KEPT, assert_up

FLAN, GPT2, DOLLY = "google/flan-t5-small", "gpt2", "databricks/dolly-v2-3b"
PROMPT = "Tell me a joke"
ONE = f"""
  gcp:project: llm-test
  gcp:region: us-central1
  llm:environment: local
  llm:deployments:
    joker:
      topology: vertex
      model: {FLAN}
      traffic: {{steps: [10, 50, 100], stepSeconds: 1}}
"""
SECOND = f"""
    second:
      topology: vertex
      model: {GPT2}
      endpoint: {{kind: public}}
      traffic: {{stepSeconds: 0}}
      metadataStore: true
"""
TORCHSERVE = f"""
  gcp:project: llm-test
  gcp:region: europe-west4
  llm:environment: local
  llm:deployments:
    gpt2:
      topology: vertex
      model: {GPT2}
      engine: torchserve
      machine: {{type: n1-standard-8, accelerator: nvidia-tesla-t4}}
      endpoint: {{kind: public}}
      metadataStore: true
    dolly:
      topology: vertex
      model: {DOLLY}
      engine: torchserve
      machine: {{type: n1-standard-8, accelerator: nvidia-tesla-t4}}
"""
KEPT_TOO = KEPT | {"gcp:vertex/aiEndpoint:AiEndpoint"}
SWITCHED = {"joker-weights-job", "joker-weights-staged", "joker-model", "joker-deployment"}


def plan_of(lab: Lab, name: str) -> VertexPlan:
    plan = build_plan(from_stack_file(lab.root / f"Pulumi.{STACK}.yaml")).deployments[name]
    assert isinstance(plan, VertexPlan)
    return plan


def deployed(lab: Lab) -> list[str]:
    """Ids of the deployed models."""
    return [name.rpartition("/")[2] for name in lab.names(DEPLOYED)]


def assert_unchanged(lab: Lab) -> None:
    for operation in (lab.up, lab.refresh):
        result = operation()
        assert not result.failed, result.output
        assert result.changed() == {}


def assert_destroyed(lab: Lab) -> None:
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output
    assert [left for left in lab.rehearsal.leftovers() if not left.startswith("process")] == []


def test_a_model_is_switched_without_a_failed_call_and_a_quota_too_small_for_two_leaves_the_old_one(
    make_served: MakeServed,
) -> None:
    lab = make_served(ONE)
    assert_up(lab)
    first = ask(lab, "joker", PROMPT)
    assert first["model"] == FLAN
    assert first["generated_text"]
    assert_unchanged(lab)

    (old,) = deployed(lab)
    (quota,) = plan_of(lab, "joker").quotas
    world, setting = lab.world(), limit_setting("CPUs", "us-central1")
    world.set_setting(setting, str(quota.peak - 1))
    lab.set("llm:deployments.joker.model", GPT2)
    caller = Caller(lab, "joker")
    with asked_all_the_time(caller, {"instances": [PROMPT]}) as answers:
        refused = lab.up()
        assert refused.failed
        assert "CustomModelServingCPUsPerProjectPerRegion" in refused.output
        assert deployed(lab) == [old]
        world.set_setting(setting, str(quota.peak))
        before = len(answers.ids)
        assert set(answers.ids) == {old}
        switch = lab.up()
        assert not switch.failed, switch.output
    assert answers.failures == []
    assert set(without_components(switch.changed())) <= SWITCHED
    assert not [s for s in switch.steps if s.type in KEPT_TOO and s.op != "same"]
    (new,) = deployed(lab)
    assert set(answers.ids[before:]) == {old, new}
    assert ask(lab, "joker", PROMPT)["generated_text"] != first["generated_text"]
    assert orphans(lab) == ghosts(lab) == []
    assert_destroyed(lab)


def test_deployments_come_and_go_without_touching_others_and_drift_is_put_right(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The cloud process itself starts what is deployed to an endpoint, and these models cannot be served.
    monkeypatch.setenv("LLMSTACK_RUNNER", "stub")
    lab = make_lab(ONE)
    assert_up(lab)
    lab.config(ONE + SECOND)
    added = lab.up()
    assert not added.failed, added.output
    changed = without_components(added.changed())
    assert set(changed.values()) == {"create"}
    assert all(name.startswith(("second", "metadata")) for name in changed)

    world = lab.world()
    (name,) = [each for each in lab.names(DEPLOYED) if endpoint_of(lab, "joker") in each]
    world.edit(name, with_replicas(7))
    refreshed = lab.refresh()
    assert not refreshed.failed, refreshed.output
    assert without_components(refreshed.changed()) == {"joker-deployment": "update"}
    repaired = lab.up()
    assert not repaired.failed, repaired.output
    assert without_components(repaired.changed()) == {"joker-deployment": "update"}
    record = world.get(name)
    assert record is not None
    assert record.body["deployedModel"]["dedicatedResources"]["maxReplicaCount"] == 1

    lab.config(ONE)
    removed = lab.up()
    assert not removed.failed, removed.output
    changed = without_components(removed.changed())
    assert set(changed.values()) == {"delete"}
    assert all(name.startswith(("second", "metadata")) for name in changed)
    assert orphans(lab) == ghosts(lab) == []
    assert_destroyed(lab)


def endpoint_of(lab: Lab, deployment: str) -> str:
    number: str = lab.outputs()["endpoints"][deployment]["name"].rpartition("/")[2]
    assert any(each.endswith(f"/{number}") for each in lab.names(ENDPOINT))
    return number


def with_replicas(count: int) -> Any:
    """An edit of a deployed model, as a person makes it with gcloud."""

    def edit(body: dict[str, Any]) -> dict[str, Any]:
        body["deployedModel"]["dedicatedResources"]["maxReplicaCount"] = count
        return body

    return edit


@pytest.mark.skipif(not shutil.which("java"), reason="no Java: apt-get install openjdk-17-jre-headless")
def test_torchserve_answers_as_the_original_did_for_both_of_its_models(make_served: MakeServed) -> None:
    lab = make_served(TORCHSERVE)
    assert_up(lab)
    for name in ("gpt2", "dolly"):
        body = {"instances": ["How to prepare a spanish omelette:"], "parameters": {"max_new_tokens": 8}}
        response = Caller(lab, name).post(body)
        assert response.status_code == 200, response.text
        (prediction,) = response.json()["predictions"]
        assert isinstance(prediction, str)
    assert ask(lab, "dolly", PROMPT)["model"] == DOLLY
    second = lab.up()
    assert not second.failed, second.output
    assert second.changed() == {}
    assert_destroyed(lab)
