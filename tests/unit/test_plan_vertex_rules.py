"""What Google would refuse of a finished plan for Vertex AI, and what its container would not agree with."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks.plan import contract_vertex
from stacks.plan.contracts import check_contracts
from stacks.plan.rules import examine
from stacks.plan.types import StackPlan
from tests.unit.config_sources import plan
from tests.unit.vertex_mistakes import BROKEN, DISAGREEING
from tests.unit.vertex_stacks import T4, stack


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StackPlan:
    return plan(stack(machine=T4), tmp_path_factory.mktemp("plan"))


def test_a_good_plan_breaks_no_rule(whole: StackPlan) -> None:
    found = examine(whole)
    assert (found.problems, found.warnings) == ([], [])
    assert check_contracts(whole) == []


@pytest.mark.parametrize("case", BROKEN)
def test_what_google_would_refuse_is_found(case: str, whole: StackPlan) -> None:
    says, change = BROKEN[case]
    told = [f"{p.path} {p.value} {p.reason} {p.remedy}" for p in examine(change(whole)).problems]
    assert any(says in line for line in told), told


@pytest.mark.parametrize("case", DISAGREEING)
def test_what_container_and_platform_disagree_on_is_found(case: str, whole: StackPlan) -> None:
    says, change = DISAGREEING[case]
    told = [f"{p.path} {p.value} {p.reason} {p.remedy}" for p in check_contracts(change(whole))]
    assert any(says in line for line in told), told


def test_another_manifest_than_the_job_writes_is_found_out(
    whole: StackPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = contract_vertex.weights_contract()
    other = written.manifest.model_copy(update={"name": "files.json"})
    monkeypatch.setattr(
        contract_vertex, "weights_contract", lambda: written.model_copy(update={"manifest": other})
    )
    (problem,) = check_contracts(whole)
    assert problem.reason == "is not the manifest that the other side uses"
    assert "files.json" in problem.remedy


def test_torchserve_needs_no_time_for_requests(tmp_path: Path) -> None:
    assert check_contracts(plan(stack(engine="torchserve", machine=T4), tmp_path)) == []
