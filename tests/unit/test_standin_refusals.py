"""Every row of `rehearsal/data/refusals`, fed directly to the stand-in, past the plan."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from providers.base.errors import ProviderError
from providers.base.provider import CheckRequest, ConfigureRequest, CreateRequest
from providers.base.values import UNKNOWN, Properties
from rehearsal.standins.gcp.models import MODELS, RULES
from rehearsal.standins.gcp.provider import GcpStandin
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import refusals, refused
from rehearsal.standins.sdk import resource_type
from rehearsal.standins.typecheck import check_types
from rehearsal.world import World
from tests.unit.standin_cases import Case
from tests.unit.standin_cases_compute import COMPUTE
from tests.unit.standin_cases_container import CONTAINER
from tests.unit.standin_cases_names import NAMES
from tests.unit.standin_cases_run import RUN
from tests.unit.standin_cases_serving import ACCEPTED_REQUESTS, ENDPOINTS, REQUESTS
from tests.unit.standin_cases_vertex import VERTEX
from tests.unit.standin_world import ACCEPTED, PROJECT, REGION, changed, furnish

CASES = [*NAMES, *RUN, *CONTAINER, *COMPUTE, *ENDPOINTS]
ROWS = {row.id: row for row in refusals()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    furnish(world)
    yield world
    world.close()


@pytest.fixture
def standin(world: World, monkeypatch: pytest.MonkeyPatch) -> GcpStandin:
    monkeypatch.setenv("LLMSTACK_RUNNER", "none")
    standin = GcpStandin("gcp", "10.2.0", world)
    asyncio.run(standin.configure(ConfigureRequest({"project": PROJECT, "region": REGION}, {})))
    return standin


def _check(standin: GcpStandin, token: str, inputs: Properties) -> tuple[Properties, list[str]]:
    request = CheckRequest(f"urn:pulumi:dev::llm::{token}::r", token, "r", {}, inputs, b"seed")
    answer = asyncio.run(standin.check(request))
    return answer.inputs, [failure.reason for failure in answer.failures]


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert sorted({case.row for case in (*CASES, *VERTEX, *REQUESTS)}) == sorted(ROWS)


def test_every_row_has_a_source_a_known_certainty_and_known_types() -> None:
    assert RULES
    assert all(row.source and row.message for row in ROWS.values())
    assert {row.certainty for row in ROWS.values()} <= {"C", "D", "U"}
    assert {row.severity for row in ROWS.values()} == {"refusal", "warning"}
    assert {row.stage for row in ROWS.values()} == {"check", "apply"}
    assert {token for row in ROWS.values() for token in row.types} <= {*MODELS, *ACCEPTED_REQUESTS}
    assert len(ROWS) == len(refusals())


def test_a_row_whose_predicate_does_not_exist_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": "x.y", "types": [], "predicate": "mispelt", "message": "m", "source": "s", "certainty": "C"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"refusals": [row]}))
    monkeypatch.setattr("rehearsal.standins.refusals._DATA", tmp_path)
    with pytest.raises(KeyError, match=r"x\.y: there is no predicate mispelt"):
        refusals.__wrapped__()


@pytest.mark.parametrize("token", sorted(ACCEPTED))
def test_what_google_accepts_is_accepted(standin: GcpStandin, world: World, token: str) -> None:
    warnings: list[str] = []
    inputs, failures = _check(standin, token, ACCEPTED[token])
    cloud = Cloud(world, PROJECT, REGION, False, warnings.append)
    findings = [row.id for stage in ("check", "apply") for row, _ in refused(token, stage, cloud, inputs)]
    assert (failures, findings, warnings) == ([], [], [])


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_google_refuses_is_refused(standin: GcpStandin, world: World, case: Case) -> None:
    row, warnings = ROWS[case.row], list[str]()
    assert case.token in row.types
    if case.spoil:
        case.spoil(world)
    given = changed(ACCEPTED[case.token], case.change)
    assert check_types(resource_type(case.token).inputs, given) == [], "the case must get past the types"
    if case.unconfigured:
        standin = GcpStandin("gcp", "10.2.0", world)
    inputs, failures = _check(standin, case.token, given)
    cloud = Cloud(world, PROJECT, REGION, False, warnings.append)
    found = {each.id: message for each, message in refused(case.token, row.stage, cloud, inputs)}
    if not row.refuses:
        assert case.row not in found
        assert any(case.says in warning for warning in warnings)
        assert all(row.source in warning for warning in warnings if row.certainty == "U")
    elif row.stage == "check":
        assert case.says in found[case.row]
        assert found[case.row] in failures
    else:
        assert failures == []
        assert case.says in found[case.row]
        _assert_create_fails(standin, case.token, inputs, f"Error {row.code}: ")


@pytest.mark.parametrize("request_type", sorted(ACCEPTED_REQUESTS))
def test_a_request_that_google_accepts_is_accepted(world: World, request_type: str) -> None:
    warnings: list[str] = []
    cloud = Cloud(world, PROJECT, REGION, False, warnings.append)
    inputs = ACCEPTED_REQUESTS[request_type]
    found = [refused(request_type, stage, cloud, inputs) for stage in ("check", "apply")]
    assert (found, warnings) == ([[], []], [])


@pytest.mark.parametrize("case", [*VERTEX, *REQUESTS], ids=[case.name for case in [*VERTEX, *REQUESTS]])
def test_a_request_that_google_refuses_is_refused(world: World, case: Case) -> None:
    row, warnings = ROWS[case.row], list[str]()
    if case.spoil:
        case.spoil(world)
    inputs = changed(ACCEPTED_REQUESTS[case.token], case.change)
    cloud = Cloud(world, PROJECT, REGION, False, warnings.append)
    found = {each.id: message for each, message in refused(case.token, row.stage, cloud, inputs)}
    if row.refuses:
        assert case.says in found[case.row]
    else:
        assert case.row not in found
        assert any(case.says in warning for warning in warnings)


def _assert_create_fails(standin: GcpStandin, token: str, inputs: Properties, says: str) -> None:
    before = [record.name for record in standin.world.list()]
    with pytest.raises(ProviderError, match=says):
        asyncio.run(standin.create(CreateRequest(f"urn:pulumi:dev::llm::{token}::r", token, "r", inputs)))
    assert [record.name for record in standin.world.list()] == before


@pytest.mark.parametrize("token", sorted(ACCEPTED))
def test_nothing_is_refused_before_it_is_known(standin: GcpStandin, world: World, token: str) -> None:
    unknown = dict.fromkeys(ACCEPTED[token], UNKNOWN)
    _, failures = _check(standin, token, unknown)
    assert failures == []


def test_all_failures_are_said_at_once(standin: GcpStandin) -> None:
    token = "gcp:cloudrunv2/service:Service"
    wrong = {"template.timeout": "4000s", "ingress": "ALL", "name": "Wrong_"}
    _, failures = _check(standin, token, changed(ACCEPTED[token], wrong))
    assert len(failures) == 3


def test_a_type_that_is_not_modelled_is_refused_by_name(standin: GcpStandin) -> None:
    _, (failure,) = _check(standin, "gcp:compute/instance:Instance", {})
    assert failure.startswith(
        "not modelled by the rehearsed cloud: gcp:compute/instance:Instance (modelled: gcp:"
    )


def test_wrong_types_are_refused_before_any_rule_looks(standin: GcpStandin) -> None:
    token = "gcp:cloudrunv2/service:Service"
    wrong = changed(ACCEPTED[token], {"template.timeout": 300, "template.contaners": []})
    _, failures = _check(standin, token, wrong)
    assert failures == [
        "template.timeout: expected string, got int",
        "template.contaners: unknown property (did you mean containers?)",
    ]


def test_no_row_prints_a_secret(standin: GcpStandin) -> None:
    token = "gcp:secretmanager/secretVersion:SecretVersion"
    _, failures = _check(standin, token, changed(ACCEPTED[token], {"secretData": "PLANTED" * 10_000}))
    assert failures
    assert not any("PLANTED" in failure for failure in failures)
