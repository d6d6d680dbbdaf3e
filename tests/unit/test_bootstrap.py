"""`scripts/bootstrap`: Google's own client and a loopback project that Google's discovery documents check."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from llmstack.bootstrap.errors import BootstrapError
from llmstack.bootstrap.project import needed_apis
from llmstack.bootstrap.target import parse_target
from rehearsal.cloud.bootstrap_policies import replace_policy
from rehearsal.cloud.bootstrap_state import ProjectState
from tests.unit.bootstrap_project import (
    BUCKET,
    DEPLOYER,
    KEY,
    NUMBER,
    OWNER,
    PREVIEWER,
    PROJECT,
    PROJECT_POLICY,
    PROVIDER,
    REGION,
    REPOSITORY,
    TARGET,
    Crash,
    Crashing,
    Prepared,
    fresh_project,
    prepared_project,
    without_etags,
)


@pytest.fixture
def project() -> Iterator[Prepared]:
    with fresh_project() as prepared:
        yield prepared


@pytest.fixture
def ready() -> Iterator[Prepared]:
    with prepared_project() as prepared:
        yield prepared


def test_the_first_run_makes_everything_and_the_second_finds_nothing_to_do(project):
    project.run()
    state = project.state
    assert set(needed_apis()) <= state.enabled
    bucket = state.resources[BUCKET]
    assert bucket["versioning"] == {"enabled": True}
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert bucket["iamConfiguration"]["uniformBucketLevelAccess"] == {"enabled": True}
    assert bucket["lifecycle"]["rule"][0]["condition"]["isLive"] is False
    assert state.resources[KEY]["rotationPeriod"] == "7776000s"
    assert state.resources[KEY]["nextRotationTime"] == "2027-02-19T00:00:00Z"
    assert state.resources[PROVIDER]["oidc"] == {"issuerUri": "https://token.actions.githubusercontent.com"}
    before = copy.deepcopy(without_etags(state))
    again = project.run()
    assert (again.changes, project.writes) == ([], [])
    assert without_etags(state) == before


def test_a_dry_run_prints_the_changes_of_the_run_and_writes_nothing(project):
    before = copy.deepcopy(without_etags(project.state))
    dry = project.run(read_only=True)
    assert project.writes == []
    assert without_etags(project.state) == before
    assert dry.number == NUMBER
    assert dry.changes == project.run().changes
    assert len(dry.changes) == WRITE_COUNT


def test_a_dry_run_asks_only_for_what_a_reader_may(ready):
    ready.state.denied = {
        f"{service}.{verb}"
        for service in ("iam.serviceAccounts", "storage.buckets", "cloudkms.cryptoKeys", "cloudkms.keyRings")
        for verb in ("create", "update", "setIamPolicy", "enable")
    } | {"serviceusage.services.enable", "resourcemanager.projects.setIamPolicy"}
    ready.state.resources[BUCKET]["versioning"] = {"enabled": False}
    assert len(ready.run(read_only=True).changes) == 1


def test_a_dry_run_of_a_project_whose_project_api_is_off_says_what_it_would_do(project):
    project.state.enabled.discard("cloudresourcemanager.googleapis.com")
    dry = project.run(read_only=True)
    assert dry.number == "PROJECT_NUMBER"
    assert len(dry.changes) == WRITE_COUNT
    assert project.run().number == NUMBER


def test_deployments_run_from_the_main_branch_and_previews_from_pull_requests_only(project):
    project.run()
    pool = f"principalSet://iam.googleapis.com/{TARGET.pool(NUMBER)}/attribute.access/{REPOSITORY}"
    user = "roles/iam.workloadIdentityUser"
    assert project.bindings(DEPLOYER) == [{"role": user, "members": [f"{pool}:deploy"]}]
    assert project.bindings(PREVIEWER) == [{"role": user, "members": [f"{pool}:preview"]}]
    access = project.state.resources[PROVIDER]["attributeMapping"]["attribute.access"]
    assert access == (
        "assertion.repository + ':' + (assertion.event_name == 'pull_request' ? 'preview' : "
        "(assertion.ref == 'refs/heads/main' && assertion.event_name in ['push', 'workflow_dispatch'] "
        "? 'deploy' : 'none'))"
    )


@pytest.mark.parametrize("numbers", [(None, None), ("74", "65")])
def test_the_condition_always_names_the_repository(project, numbers):
    project.run(parse_target(PROJECT, REPOSITORY, REGION, *numbers))
    condition = project.state.resources[PROVIDER]["attributeCondition"]
    assert condition.startswith("assertion.repository == 'acme/llm'")
    assert ("assertion.repository_id == '74'" in condition) == (numbers[0] is not None)
    assert ("assertion.repository_owner_id == '65'" in condition) == (numbers[0] is not None)


def test_numbers_of_the_repository_stay_when_a_later_run_leaves_them_out(project):
    first = project.run()
    assert any("--repository-id" in note for note in first.notes)
    project.run(parse_target(PROJECT, REPOSITORY, REGION, "74", "65"))
    condition = project.state.resources[PROVIDER]["attributeCondition"]
    later = project.run()
    assert (later.changes, later.notes) == ([], [])
    assert project.state.resources[PROVIDER]["attributeCondition"] == condition


@pytest.mark.parametrize("resource", [PROJECT_POLICY, BUCKET, KEY, DEPLOYER])
def test_a_change_of_access_at_the_same_moment_is_not_lost(ready, resource):
    theirs = {"role": "roles/browser", "members": ["user:other@example.com"]}
    ours = copy.deepcopy(ready.bindings(resource))
    replace_policy(ready.state, resource, [])

    def meanwhile(state: ProjectState) -> None:
        replace_policy(state, resource, [*state.policies[resource]["bindings"], theirs])

    ready.state.meanwhile.append(meanwhile)
    ready.run()
    assert theirs in ready.bindings(resource)
    assert all(binding in ready.bindings(resource) for binding in ours if binding != OWNER)


def test_a_conditional_role_of_somebody_else_keeps_its_condition(project):
    theirs = {
        "role": "roles/storage.admin",
        "members": ["user:other@example.com"],
        "condition": {"title": "until", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')"},
    }
    replace_policy(project.state, PROJECT_POLICY, [OWNER, theirs])
    project.run()
    assert theirs in project.bindings(PROJECT_POLICY)
    assert project.state.policies[PROJECT_POLICY]["version"] == 3


def test_an_account_that_is_not_known_everywhere_yet_is_waited_for():
    with fresh_project(propagation_seconds=60.0) as project:
        project.run()
        assert project.state.now >= 60
        assert "roles/run.admin" in project.roles(PROJECT_POLICY, f"serviceAccount:{TARGET.deployer}")


def test_an_account_that_never_becomes_known_ends_in_one_line():
    with fresh_project(propagation_seconds=1e9) as project:
        with pytest.raises(BootstrapError, match="is not known everywhere yet") as caught:
            project.run()
        assert "\n" not in str(caught.value)


def test_slow_operations_and_a_busy_google_are_waited_for():
    with fresh_project(operation_polls=4, busy=3) as project:
        project.run()
        assert project.run().changes == []


def test_a_google_that_stays_busy_ends_in_one_line(project):
    project.state.busy = 1000
    with pytest.raises(BootstrapError, match="Google answered 503"):
        project.run()


WRITE_COUNT = 16


def test_the_first_run_writes_as_often_as_the_crash_test_thinks(project):
    project.run()
    assert len(project.writes) == WRITE_COUNT


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """What an undisturbed run makes."""
    with prepared_project() as ready:
        return without_etags(ready.state)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, WRITE_COUNT + 1))
def test_a_crash_at_any_write_is_made_good_by_the_next_run(project, whole, write, after):
    with pytest.raises(Crash):
        project.run(google=Crashing(write, after=after, **project.options()))
    project.run()
    assert without_etags(project.state) == whole
