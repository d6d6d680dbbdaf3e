"""Everything that the stand-in refuses is caught by the plan too, or cannot come from any plan.

`plan_refusals_*` hold the evidence, row by row of `rehearsal/data/refusals`.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from providers.base.provider import CheckRequest, ConfigureRequest
from rehearsal.cloud.aiplatform.custom_jobs import REQUEST
from rehearsal.standins.docker_build import DockerBuildStandin
from rehearsal.standins.gcp.models import MODELS
from rehearsal.standins.gcp.provider import GcpStandin
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import refusals, refused
from rehearsal.world import World
from stacks.plan.rules import RULES, check_plan, examine
from stacks.plan.types import StackPlan
from tests.components.conftest import Registered
from tests.unit.config_sources import good, problems
from tests.unit.plan_evidence import Broken, Impossible, Refused, Warned
from tests.unit.plan_refusals_container import CONTAINER, WHOLE
from tests.unit.plan_refusals_names import NAMES
from tests.unit.plan_refusals_run import RUN
from tests.unit.plan_refusals_serving import SERVING
from tests.unit.plan_refusals_vertex import VERTEX, requests
from tests.unit.recorded_plan import configurations, planned, registered

assert MODELS, "the predicates are known once the models are imported"
EVIDENCE = [*NAMES, *RUN, *VERTEX, *SERVING, *CONTAINER]
ROWS = {row.id: row for row in refusals()}
BROKEN = [each for each in EVIDENCE if isinstance(each, Broken)]
REFUSED = [each for each in EVIDENCE if isinstance(each, Refused)]
WARNED = [each for each in EVIDENCE if isinstance(each, Warned)]
IMPOSSIBLE = [each for each in EVIDENCE if isinstance(each, Impossible)]


def names(evidence: Any) -> list[str]:
    return [f"{each.row}-{i}" for i, each in enumerate(evidence)]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> StackPlan:
    config = {**good(scaling={"max": 3}), "llm:hubTokenSecret": "hub-token"}
    return planned(config, tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def tpu_plan(tmp_path_factory: pytest.TempPathFactory) -> StackPlan:
    return planned(WHOLE, tmp_path_factory.mktemp("tpu"))


def test_every_refusal_has_evidence_and_all_evidence_is_of_a_refusal() -> None:
    assert {each.row for each in EVIDENCE} == set(ROWS)


def test_a_good_plan_breaks_no_rule(plan: StackPlan, tpu_plan: StackPlan) -> None:
    for good_plan in (plan, tpu_plan):
        found = examine(good_plan)
        assert (found.problems, found.warnings) == ([], [])
    assert len(set(RULES)) == len(RULES)


@pytest.mark.parametrize("case", BROKEN, ids=names(BROKEN))
def test_a_plan_that_google_would_refuse_is_caught(
    case: Broken, plan: StackPlan, tpu_plan: StackPlan
) -> None:
    found = examine(case.change(tpu_plan if case.tpu else plan))
    told = [f"{p.path} {p.value} {p.reason} {p.remedy}" for p in found.problems]
    if ROWS[case.row].certainty == "U":
        assert not any(case.says in line for line in told)
        assert any(case.says in line for line in found.warnings)
    else:
        assert any(case.says in line for line in told), found
        assert all(p.path == "" or p.path.startswith(("llm:", "gcp:")) for p in found.problems)


@pytest.mark.parametrize("case", REFUSED, ids=names(REFUSED))
def test_a_configuration_that_google_would_refuse_is_caught(case: Refused, tmp_path: Path) -> None:
    found = problems(case.config, tmp_path).problems
    assert any(p.path == case.path and case.says in p.reason for p in found), found


@pytest.mark.parametrize("case", WARNED, ids=names(WARNED))
def test_what_google_might_refuse_is_warned_of(case: Warned, tmp_path: Path) -> None:
    found = planned(case.config, tmp_path)
    told = [*found.warnings, *examine(found).warnings]
    assert any(case.says in warning for warning in told), told


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    # A configuration takes a second to build, so making a failing one smaller would take minutes.
    phases=[Phase.explicit, Phase.generate],
)
@given(config=configurations())
def test_what_the_plan_accepts_google_accepts_and_what_is_called_impossible_never_is(
    config: dict[str, Any],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = planned(config, Path(folder))
        resources = registered(plan)
        world = World(Path(folder))
        try:
            refused = _refusals(plan, resources, world)
        finally:
            world.close()
    assert (check_plan(plan), refused) == ([], [])
    for each in IMPOSSIBLE:
        each.proof(resources)


def _refusals(plan: StackPlan, resources: list[Registered], world: World) -> list[str]:
    """What the stand-ins say of each resource in a preview."""
    google, docker = GcpStandin("gcp", "10.2.0", world), DockerBuildStandin("docker-build", "0.0.22", world)
    shared = plan.foundation
    asyncio.run(google.configure(ConfigureRequest({"project": shared.project, "region": shared.region}, {})))
    found = []
    for each in resources:
        standin = {"gcp": google, "docker-build": docker}.get(each.type.partition(":")[0])
        if standin is not None:
            request = CheckRequest(each.name, each.type, each.name, {}, each.inputs, b"seed")
            answer = asyncio.run(standin.check(request))
            found += [f"{each.name}: {failure.reason}" for failure in answer.failures]
    cloud = Cloud(world, shared.project, shared.region, False)
    for body in requests(resources):
        place = {"project": shared.project, "location": shared.region}
        found += [message for _, message in refused(REQUEST, "check", cloud, {**body, **place})]
    return found
