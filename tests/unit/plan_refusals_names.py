"""How the plan catches refusals of names, labels, members, buckets, secrets and repositories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from providers.base.values import Properties
from rehearsal.standins.gcp.models import MODELS
from rehearsal.world_iam import roles
from tests.components.conftest import Registered
from tests.unit.config_sources import good
from tests.unit.plan_evidence import (
    Broken,
    Impossible,
    Refused,
    Warned,
    after,
    always_given,
    deployment,
    foundation,
    inside,
    never_given,
    never_made,
    only,
    values,
    within,
    without_api,
)
from tests.unit.standin_world import (
    ACCOUNT,
    BUCKET,
    EMAIL,
    ENDPOINT,
    ON_ACCOUNT,
    ON_BUCKET,
    ON_IAP,
    ON_JOB,
    ON_PROJECT,
    ON_REPOSITORY,
    ON_SECRET,
    ON_SERVICE,
    REPOSITORY,
    SECRET_TYPE,
    SERVICE,
    VERSION,
)

_EVERYTHING = tuple(MODELS)
_MEMBERS = (ON_BUCKET, ON_SERVICE, ON_SECRET, ON_REPOSITORY, ON_PROJECT, ON_ACCOUNT, ON_IAP)
_FOR_OTHERS = ("roles/run.invoker", "roles/iap.httpsResourceAccessor")
"""What somebody from outside is granted."""


def without(key: str) -> Properties:
    """A configuration that lacks a key."""
    return {name: value for name, value in good().items() if name != key}


def invoked_by(member: str, **more: Any) -> Properties:
    """A configuration in which somebody may call the service."""
    return good(access={"invokers": [member]}, **more)


def _members_are_made_here_or_configured(resources: Sequence[Registered]) -> None:
    """A grant goes to an account of this stack, after the account, or to pods; only invokers are others."""
    for each in resources:
        if each.type in _MEMBERS and each.inputs["role"] not in _FOR_OTHERS:
            pods = each.inputs["member"].startswith("principal://")
            assert pods or any(ACCOUNT in urn for urn in each.dependencies)


def _policies_are_known(resources: Sequence[Registered]) -> None:
    """An endpoint says whether its address lasts; nothing else has such a policy."""
    never_given([kind for kind in _EVERYTHING if kind != ENDPOINT], "deletionPolicy")(resources)
    assert set(values(resources, [ENDPOINT], "deletionPolicy")) <= {"DELETE", "PREVENT"}


def _no_bucket_is_public(resources: Sequence[Registered]) -> None:
    members = list(values(resources, [ON_BUCKET], "member"))
    assert members
    assert all(member.startswith(("serviceAccount:", "principal://")) for member in members)


def _only_grants_name_a_project(resources: Sequence[Registered]) -> None:
    """And theirs is the one that the cluster's workload pool is named after."""
    others = [kind for kind in _EVERYTHING if kind != ON_PROJECT]
    never_given(others, "project")(resources)
    pools = set(values(resources, ["gcp:container/cluster:Cluster"], "workloadIdentityConfig.workloadPool"))
    assert {f"{project}.svc.id.goog" for project in values(resources, [ON_PROJECT], "project")} == pools


NAMES: list[Broken | Refused | Warned | Impossible] = [
    Refused("project.missing", "gcp:project", "required", without("gcp:project")),
    Impossible(
        "project.unknown",
        "everything goes into the provider's project; a grant on the project has to name it, and names that",
        _only_grants_name_a_project,
    ),
    Broken("api.run", "run.googleapis.com", without_api("run")),
    Broken("api.iam", "iam.googleapis.com", without_api("iam")),
    Broken("api.secretmanager", "secretmanager.googleapis.com", without_api("secretmanager")),
    Broken("api.artifactregistry", "artifactregistry.googleapis.com", without_api("artifactregistry")),
    Broken("api.cloudresourcemanager", "cloudresourcemanager", without_api("cloudresourcemanager")),
    Broken("labels.syntax", "no name of a label", foundation(labels={"Env": "dev"})),
    Broken("labels.syntax", "no value of a label", deployment(labels={"env": "a.b"})),
    Refused(
        "labels.syntax", "llm:labels.Env", "not a label's name", {**good(), "llm:labels": {"Env": "dev"}}
    ),
    Broken("labels.count", "labels on one resource", foundation(labels={f"k{i}": "v" for i in range(65)})),
    Impossible("deletion_policy", "the plan gives it to endpoints alone", _policies_are_known),
    Broken("service.name", "is no API", foundation(apis=("run",))),
    Broken("account.id", "no id of a service account", inside("account", account_id="short")),
    Broken("account.display_name", "bytes in a display name", inside("account", display_name="x" * 101)),
    Impossible("account.description", "no component gives it", never_given([ACCOUNT], "description")),
    Refused(
        "iam.member.syntax", "llm:deployments.assistant.access.invokers[0]", "IAM member", invoked_by(EMAIL)
    ),
    Broken("iam.member.syntax", "no IAM member", deployment(invokers=(EMAIL,))),
    Impossible(
        "iam.role.syntax",
        "the components name the roles",
        only(
            _MEMBERS,
            "role",
            "roles/storage.objectViewer",
            "roles/storage.objectUser",
            "roles/run.invoker",
            "roles/secretmanager.secretAccessor",
            "roles/iap.httpsResourceAccessor",
            "roles/iam.workloadIdentityUser",
            "roles/artifactregistry.reader",
            "roles/container.defaultNodeServiceAccount",
        ),
    ),
    Impossible("iam.role.unknown", "the components name the roles", only(_MEMBERS, "role", *roles())),
    Impossible(
        "iam.role.project_storage",
        "a cluster's nodes alone are granted something on the project, and storage is none of it",
        only([ON_PROJECT], "role", "roles/container.defaultNodeServiceAccount"),
    ),
    Impossible(
        "iam.member.exists",
        "a grant goes to an account of the same stack, after that account",
        _members_are_made_here_or_configured,
    ),
    Warned(
        "iam.member.exists",
        "must exist before `up`",
        invoked_by("serviceAccount:caller@acme-ml-dev.iam.gserviceaccount.com"),
    ),
    Impossible(
        "iam.account.exists",
        "the grant takes the account's name from the account",
        after([ON_ACCOUNT], ACCOUNT),
    ),
    Impossible(
        "iam.bucket.exists", "the grant takes the bucket's name from the bucket", after([ON_BUCKET], BUCKET)
    ),
    Impossible(
        "iam.bucket.public",
        "a grant on the bucket goes to an account of the same stack, or to its pods",
        _no_bucket_is_public,
    ),
    Broken("iam.secret.exists", "the stack has none", foundation(hub_token=None)),
    Impossible(
        "iam.repository.exists",
        "the grant takes the repository's name from the repository",
        after([ON_REPOSITORY], REPOSITORY),
    ),
    Impossible(
        "iam.run_service.exists", "the grant takes its name from the service", after([ON_SERVICE], SERVICE)
    ),
    Warned(
        "iam.run_service.public_gpu",
        "anyone can make this service start instances with a GPU",
        invoked_by("allUsers", resources={"gpu": "nvidia-l4"}),
    ),
    Impossible("iam.run_job.exists", "nothing is granted on a job", never_made(ON_JOB)),
    Broken("bucket.name", "no name of a bucket", within("bucket", name="Models")),
    Broken("bucket.name.length", "characters in a bucket's name", within("bucket", name="a" * 64)),
    Broken("bucket.name.length", "characters in a bucket's name", within("bucket", name=".".join("a" * 223))),
    Broken("bucket.name.dots", "side by side", within("bucket", name="a..b")),
    Broken("bucket.name.google", "google", within("bucket", name="my-google-models")),
    Broken("bucket.name.address", "IP address", within("bucket", name="192.168.5.4")),
    Impossible(
        "bucket.public_access_prevention",
        "the component enforces it",
        only([BUCKET], "publicAccessPrevention", "enforced"),
    ),
    Impossible("bucket.storage_class", "no component gives it", never_given([BUCKET], "storageClass")),
    Impossible(
        "bucket.lifecycle.action",
        "the component has one action",
        only([BUCKET], "lifecycleRules[*].action.type", "AbortIncompleteMultipartUpload"),
    ),
    Broken("bucket.soft_delete", "no time to keep", within("bucket", soft_delete_seconds=86_400)),
    Broken("secret.id", "no id of a secret", within("hub_token", secret_id="hub.token")),
    Refused(
        "secret.id",
        "llm:hubTokenSecret",
        "not a secret's name",
        {**good(), "llm:hubTokenSecret": "hub.token"},
    ),
    Impossible(
        "secret.replication",
        "the component replicates to the stack's region",
        only([SECRET_TYPE], "replication.userManaged.replicas[*].location", "us-central1"),
    ),
    Impossible("secret.expiry", "no component gives it", never_given([SECRET_TYPE], "ttl")),
    Impossible(
        "secret_version.secret.syntax",
        "the version takes the id from the secret",
        after([VERSION], SECRET_TYPE),
    ),
    Impossible(
        "secret_version.payload", "the component gives one payload", always_given([VERSION], "secretData")
    ),
    Impossible(
        "secret_version.size",
        "the plan never holds a secret's value, so it cannot check it; the version is the token alone",
        only([VERSION], "secretData", "hf_not_a_token"),
    ),
    Impossible(
        "secret_version.secret.exists", "the version is made after its secret", after([VERSION], SECRET_TYPE)
    ),
    Broken("repository.id", "no id of an image repository", within("repository", repository_id="LLM")),
    Impossible("repository.format", "the component has one", only([REPOSITORY], "format", "DOCKER")),
    Impossible(
        "repository.policy.shape",
        "the component has two policies, each with one condition",
        lambda resources: _policies_have_one_condition(resources),
    ),
    Impossible(
        "repository.policy.delete",
        "what keeps by number is never a deletion",
        lambda resources: _policies_have_one_condition(resources),
    ),
    Impossible(
        "repository.policy.action",
        "the component names them",
        only([REPOSITORY], "cleanupPolicies[*].action", "KEEP", "DELETE"),
    ),
    Impossible(
        "repository.policy.tag_state",
        "the component names it",
        only([REPOSITORY], "cleanupPolicies[*].condition.tagState", "UNTAGGED"),
    ),
    Broken(
        "repository.policy.age", "no age of an image", within("repository", delete_untagged_after_seconds=-5)
    ),
    Impossible(
        "repository.policy.name",
        "the component names them",
        only([REPOSITORY], "cleanupPolicies[*].id", "keep-recent", "delete-untagged"),
    ),
]


def _policies_have_one_condition(resources: Sequence[Registered]) -> None:
    for policy in values(resources, [REPOSITORY], "cleanupPolicies[*]"):
        condition = {"KEEP": "mostRecentVersions", "DELETE": "condition"}[policy["action"]]
        assert policy.keys() == {"id", "action", condition}
