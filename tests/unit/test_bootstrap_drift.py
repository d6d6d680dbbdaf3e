"""What somebody changed after `scripts/bootstrap`: named, and brought back or left with a note."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from rehearsal.cloud.bootstrap_policies import replace_policy
from tests.unit.bootstrap_project import (
    BUCKET,
    DEPLOYER,
    KEY,
    NUMBER,
    OWNER,
    POOL,
    PREVIEWER,
    PROJECT_POLICY,
    PROVIDER,
    TARGET,
    Prepared,
    prepared_project,
    without_etags,
)


@pytest.fixture
def ready() -> Iterator[Prepared]:
    with prepared_project() as prepared:
        yield prepared


DRIFTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "versioning off": (BUCKET, {"versioning": {"enabled": False}}, "versioning"),
    "versioning gone": (BUCKET, {"versioning": None}, "versioning"),
    "public access": (
        BUCKET,
        {"iamConfiguration": {"publicAccessPrevention": "inherited"}},
        "iamConfiguration",
    ),
    "object access lists": (
        BUCKET,
        {
            "iamConfiguration": {
                "publicAccessPrevention": "enforced",
                "uniformBucketLevelAccess": {"enabled": False},
            }
        },
        "iamConfiguration",
    ),
    "no lifecycle": (BUCKET, {"lifecycle": {}}, "lifecycle"),
    "a rule that deletes live states": (
        BUCKET,
        {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]}},
        "lifecycle",
    ),
    "no soft delete": (
        BUCKET,
        {"softDeletePolicy": {"retentionDurationSeconds": "0"}},
        "softDeletePolicy",
    ),
    "bucket labels": (BUCKET, {"labels": {}}, "labels"),
    "rotation": (KEY, {"rotationPeriod": "31536000s"}, "rotationPeriod"),
    "no rotation": (KEY, {"rotationPeriod": None}, "rotationPeriod"),
    "account disabled": (DEPLOYER, {"disabled": True}, "disabled"),
    "account renamed": (PREVIEWER, {"displayName": "Somebody"}, "displayName"),
    "pool disabled": (POOL, {"disabled": True}, "disabled"),
    "pool deleted": (POOL, {"state": "DELETED"}, "undelete"),
    "provider disabled": (PROVIDER, {"disabled": True}, "disabled"),
    "provider deleted": (PROVIDER, {"state": "DELETED"}, "undelete"),
    "open to all of GitHub": (PROVIDER, {"attributeCondition": "assertion.ref != ''"}, "attributeCondition"),
    "no condition": (PROVIDER, {"attributeCondition": None}, "attributeCondition"),
    "another repository": (
        PROVIDER,
        {"attributeCondition": "assertion.repository == 'evil/llm'"},
        "attributeCondition",
    ),
    "another issuer": (PROVIDER, {"oidc": {"issuerUri": "https://evil.example"}}, "oidc"),
    "somebody else's keys": (
        PROVIDER,
        {"oidc": {"issuerUri": "https://token.actions.githubusercontent.com", "jwksJson": "{}"}},
        "oidc",
    ),
    "every run deploys": (
        PROVIDER,
        {
            "attributeMapping": {
                "google.subject": "assertion.sub",
                "attribute.access": "assertion.repository + ':deploy'",
            }
        },
        "attributeMapping",
    ),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_a_changed_setting_is_named_and_brought_back(ready, name):
    resource, change, word = DRIFTS[name]
    wanted = copy.deepcopy(without_etags(ready.state))
    found = ready.state.resources[resource]
    found.update(change)
    for key in [key for key, value in change.items() if value is None]:
        del found[key]
    outcome = ready.run()
    assert len(outcome.changes) == 1
    assert word in outcome.changes[0]
    assert ready.run().changes == []
    got = without_etags(ready.state)
    assert_settings(got["resources"][resource], wanted["resources"][resource])
    assert got["policies"] == wanted["policies"]


def assert_settings(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Equal, where a field that Google would leave out for its zero value may be there."""
    assert {k: v for k, v in got.items() if v} == {k: v for k, v in wanted.items() if v}


@pytest.mark.parametrize("resource", [PROJECT_POLICY, BUCKET, KEY, DEPLOYER, PREVIEWER])
def test_roles_that_somebody_took_away_come_back_and_others_stay(ready, resource):
    wanted = copy.deepcopy(ready.bindings(resource))
    other = {"role": "roles/browser", "members": ["group:audit@example.com"]}
    replace_policy(ready.state, resource, [other])
    outcome = ready.run()
    assert outcome.changes
    assert all(change.startswith("grant on ") for change in outcome.changes)
    bindings = ready.bindings(resource)
    assert other in bindings
    assert all(binding in bindings for binding in wanted if binding != OWNER)
    assert ready.run().changes == []


def test_what_comes_back_from_a_deletion_is_looked_at_again(ready):
    ready.state.resources[PROVIDER].update(state="DELETED", attributeCondition="assertion.ref != ''")
    outcome = ready.run()
    assert [change.partition(" ")[0] for change in outcome.changes] == ["undelete", "set"]
    assert ready.state.resources[PROVIDER]["attributeCondition"] == "assertion.repository == 'acme/llm'"


def test_a_disabled_api_is_enabled_again(ready):
    ready.state.enabled.discard("run.googleapis.com")
    assert ready.run().changes == ["enable run.googleapis.com"]
    assert "run.googleapis.com" in ready.state.enabled


def test_a_role_beside_ours_is_noted_and_stays(ready):
    extra = {"role": "roles/owner", "members": [f"serviceAccount:{TARGET.deployer}"]}
    replace_policy(ready.state, PROJECT_POLICY, [*ready.bindings(PROJECT_POLICY), extra])
    outcome = ready.run()
    assert outcome.changes == []
    assert any("roles/owner" in note and TARGET.deployer in note for note in outcome.notes)
    assert extra in ready.bindings(PROJECT_POLICY)


def test_somebody_else_who_may_become_the_deployer_is_noted(ready):
    everyone = f"principalSet://iam.googleapis.com/{TARGET.pool(NUMBER)}/*"
    extra = {"role": "roles/iam.workloadIdentityUser", "members": [everyone]}
    replace_policy(ready.state, DEPLOYER, [*ready.bindings(DEPLOYER), extra])
    assert any(everyone in note for note in ready.run().notes)


def test_a_key_version_that_is_off_is_noted(ready):
    ready.state.resources[KEY]["primary"]["state"] = "DISABLED"
    assert any("DISABLED" in note for note in ready.run().notes)
