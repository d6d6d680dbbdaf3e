"""The roles of deployer and previewer: enough for what the stacks are made of, and each for a reason."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from llmstack.bootstrap.access import ACCESS, KEY, PROJECT, STATE_BUCKET, node_roles, own_buckets
from llmstack.bootstrap.federation import condition, mapping
from llmstack.bootstrap.project import needed_apis
from llmstack.bootstrap.target import DEPLOYER, PREVIEWER, parse_target
from rehearsal.world_iam import roles
from stacks.plan.naming import bucket_name

ROOT = Path(__file__).parents[2]
DATA = yaml.safe_load((Path(__file__).parent / "bootstrap_permissions.yaml").read_text())
# Calls of these modules that begin with a capital letter and are no resource are their inputs.
MODULES = {
    "artifactregistry",
    "cloudrunv2",
    "compute",
    "container",
    "docker_build",
    "iap",
    "projects",
    "secretmanager",
    "serviceaccount",
    "storage",
    "vertex",
}
MADE_BY_US = ("StagedModel", "VertexModel", "VertexModelDeployment")
"""Resources of our own provider that components make; jobs and pipeline runs of it none makes yet."""
READING = re.compile(r".*\.(connect|get|list|getIamPolicy|downloadArtifacts|useToDecrypt)")


def resource_types() -> set[str]:
    """Types of all resources that the components' source makes."""
    found = {"kubernetes.Object", *(f"modelops.{name}" for name in MADE_BY_US)}
    for folder in ("components", "topologies"):
        for path in (ROOT / "stacks" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    module = node.func.value
                    if isinstance(module, ast.Name) and module.id in MODULES:
                        found.add(f"{module.id}.{node.func.attr}")
    return {name for name in found if not name.endswith("Args") and name != "docker_build.Platform"}


def permissions(account: str, scope: str = PROJECT) -> list[str]:
    """Patterns of what an account may do."""
    known = {**roles(), **DATA["roles"]}
    return [
        p
        for access in ACCESS
        if (access.account, access.scope) == (account, scope)
        for p in known[access.role]
    ]


def may(account: str, permission: str) -> bool:
    """Whether an account has a permission on the project."""
    return any(fnmatchcase(permission, pattern) for pattern in permissions(account))


def test_every_type_of_resource_says_what_it_needs():
    assert resource_types() == set(DATA["needs"]) | set(DATA["by_hand"])


@pytest.mark.parametrize("kind", DATA["needs"])
def test_the_deployer_may_make_change_and_remove_it(kind):
    assert [p for p in DATA["needs"][kind]["deploy"] if not may(DEPLOYER, p)] == []


@pytest.mark.parametrize("kind", DATA["needs"])
def test_the_previewer_may_read_it(kind):
    assert [p for p in DATA["needs"][kind]["preview"] if not may(PREVIEWER, p)] == []


@pytest.mark.parametrize("kind", DATA["needs"])
def test_the_previewer_may_change_nothing(kind):
    writes = [p for p in DATA["needs"][kind]["deploy"] if not READING.fullmatch(p)]
    assert [p for p in writes if may(PREVIEWER, p)] == []


def test_the_previewer_reads_no_payload_of_a_secret():
    assert not may(PREVIEWER, "secretmanager.versions.access")


def test_the_previewer_decrypts_and_the_deployer_encrypts_too():
    decrypt, encrypt = "cloudkms.cryptoKeyVersions.useToDecrypt", "cloudkms.cryptoKeyVersions.useToEncrypt"
    assert permissions(PREVIEWER, KEY) == [decrypt]
    assert set(permissions(DEPLOYER, KEY)) == {decrypt, encrypt}
    assert not any("cloudkms" in permission for permission in permissions(DEPLOYER))


def test_the_previewer_only_reads_states():
    assert set(permissions(PREVIEWER, STATE_BUCKET)) == {"storage.objects.get", "storage.objects.list"}
    assert "storage.objects.create" in permissions(DEPLOYER, STATE_BUCKET)


@pytest.mark.parametrize("kind", DATA["by_hand"])
def test_what_would_let_an_account_become_any_other_is_given_by_hand(kind):
    needs = DATA["by_hand"][kind]
    assert [p for p in needs["deploy"] if may(DEPLOYER, p) or may(PREVIEWER, p)] == []
    assert f"`{needs['role']}`" in (ROOT / "docs" / "bootstrap.md").read_text()


def test_roles_on_the_project_are_granted_to_nodes_alone():
    conditional = [access for access in ACCESS if access.condition is node_roles]
    assert [access.role for access in conditional] == ["roles/resourcemanager.projectIamAdmin"]
    expression = node_roles(parse_target("acme-ml-dev", "acme/llm", "us-central1"))["expression"]
    assert expression == (
        "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
        ".hasOnly(['roles/container.defaultNodeServiceAccount'])"
    )


@pytest.mark.parametrize("access", ACCESS, ids=lambda access: f"{access.account} {access.role}")
def test_no_role_is_basic_or_hands_out_access_to_everything(access):
    assert access.role not in ("roles/owner", "roles/editor", "roles/viewer", "roles/browser")
    assert access.role != "roles/iam.serviceAccountAdmin"
    assert access.condition is node_roles or access.role != "roles/resourcemanager.projectIamAdmin"
    assert access.role not in ("roles/iam.serviceAccountKeyAdmin", "roles/iam.serviceAccountTokenCreator")
    assert access.why


@pytest.mark.parametrize("account", [DEPLOYER, PREVIEWER])
def test_no_role_is_given_for_nothing(account):
    kind = "deploy" if account == DEPLOYER else "preview"
    wanted = {p for needs in DATA["needs"].values() for p in needs[kind]}
    known = {**roles(), **DATA["roles"]}
    for access in ACCESS:
        if (access.account, access.scope) == (account, PROJECT):
            others = [
                pattern
                for other in ACCESS
                if other != access and (other.account, other.scope) == (account, PROJECT)
                for pattern in known[other.role]
            ]
            own = {p for p in wanted if any(fnmatchcase(p, pattern) for pattern in known[access.role])}
            alone = {p for p in own if not any(fnmatchcase(p, pattern) for pattern in others)}
            assert alone, f"{access.role} adds nothing"


def test_roles_on_buckets_leave_the_state_bucket_out():
    target = parse_target("acme-ml-dev", "acme/llm", "us-central1")
    expression = own_buckets(target)["expression"]
    prefix = re.search(r"startsWith\('projects/_/buckets/(.*)'\)", expression)
    assert prefix is not None
    assert not target.state_bucket.startswith(prefix[1])
    assert bucket_name(target.project, "s" * 80).startswith(prefix[1])
    assert {access.role for access in ACCESS if access.condition is own_buckets} == {
        "roles/storage.admin",
        "roles/storage.objectViewer",
    }


def test_no_claim_but_those_of_the_repository_and_its_branch_gives_access():
    access = mapping()["attribute.access"]
    assert set(re.findall(r"assertion\.(\w+)", access)) == {"repository", "event_name", "ref"}
    assert "pull_request_target" not in access
    target = parse_target("acme-ml-dev", "acme/llm", "us-central1", "74", "65")
    assert set(re.findall(r"assertion\.(\w+) ==", condition(target))) == {
        "repository",
        "repository_id",
        "repository_owner_id",
    }


def test_the_apis_of_the_preparation_and_of_every_stack_are_enabled():
    # Discovery document serviceusage.v1, services.batchGet: no more names fit into one question.
    assert len(needed_apis()) <= 30
    assert {f"{api}.googleapis.com" for api in ("cloudkms", "sts", "iamcredentials", "run")} <= set(
        needed_apis()
    )


def test_the_documentation_lists_every_role_and_no_other():
    text = (ROOT / "docs" / "bootstrap.md").read_text()
    rows = re.findall(
        r"^\| `(llmstack-\w+)` \| (project|state bucket|key)[^|]* \| `(roles/[\w.]+)`", text, re.M
    )
    assert sorted(rows) == sorted((access.account, access.scope, access.role) for access in ACCESS)
