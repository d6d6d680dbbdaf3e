"""Which roles the two accounts get, where, and why: the least of Google's predefined roles for the work.

What a role holds: https://cloud.google.com/iam/docs/roles-permissions (page of its service). A stack's own
resources do not exist yet when the project is prepared, so roles on them are roles on the project; where
Google can judge a condition on the resource's name, there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmstack.bootstrap.target import DEPLOYER, PREVIEWER, Target
from stacks.plan.gke.cluster import NODE_ROLES

PROJECT, STATE_BUCKET, KEY = "project", "state bucket", "key"


@dataclass(frozen=True, slots=True)
class Access:
    """One role that one account gets."""

    account: str
    scope: str
    role: str
    why: str
    condition: Callable[[Target], dict[str, str]] | None = None
    """When it holds, for the accounts of a target; None for always."""


def own_buckets(target: Target) -> dict[str, str]:
    """The condition that keeps a role, among buckets and objects, to the stacks' own.

    Their names begin with the project's ID, see `stacks.plan.naming.bucket_name`. What is neither a bucket
    nor an object passes: a bucket is created on the project. Attributes:
    https://cloud.google.com/iam/docs/conditions-resource-attributes
    """
    kinds = ("storage.googleapis.com/Bucket", "storage.googleapis.com/Object")
    neither = " && ".join(f"resource.type != '{kind}'" for kind in kinds)
    prefix = f"projects/_/buckets/{target.project}-"
    return {
        "title": "buckets-of-stacks",
        "description": "Only buckets that the project's stacks made",
        "expression": f"({neither}) || resource.name.startsWith('{prefix}')",
    }


def node_roles(target: Target) -> dict[str, str]:  # noqa: ARG001 - conditions are asked for by target
    """The condition that keeps who may grant roles on the project to those of a cluster's nodes.

    Source: https://cloud.google.com/iam/docs/setting-limits-on-granting-roles
    """
    granted = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
    allowed = ", ".join(f"'{role}'" for role in NODE_ROLES)
    return {
        "title": "roles-of-nodes",
        "description": "Grants and takes away the roles of a cluster's nodes, no other",
        "expression": f"{granted}.hasOnly([{allowed}])",
    }


ACCESS: tuple[Access, ...] = (
    Access(DEPLOYER, PROJECT, "roles/run.admin", "services and jobs, and who may call a service"),
    Access(
        DEPLOYER, PROJECT, "roles/artifactregistry.admin", "the image repository, and pushing images into it"
    ),
    Access(
        DEPLOYER,
        PROJECT,
        "roles/storage.admin",
        "the model buckets and their access, staged models",
        own_buckets,
    ),
    Access(DEPLOYER, PROJECT, "roles/secretmanager.admin", "the Hub token's secret and who may read it"),
    Access(DEPLOYER, PROJECT, "roles/iam.serviceAccountCreator", "one account for each service and job"),
    Access(DEPLOYER, PROJECT, "roles/iam.serviceAccountDeleter", "the accounts of what is removed"),
    Access(DEPLOYER, PROJECT, "roles/iam.serviceAccountUser", "running services and jobs as their accounts"),
    Access(
        DEPLOYER, PROJECT, "roles/serviceusage.serviceUsageViewer", "seeing that an API is enabled already"
    ),
    Access(
        DEPLOYER,
        PROJECT,
        "roles/aiplatform.admin",
        "models, endpoints and jobs of Vertex AI, and who may ask an endpoint",
    ),
    Access(DEPLOYER, PROJECT, "roles/container.clusterAdmin", "the cluster for TPUs and its node pools"),
    Access(DEPLOYER, PROJECT, "roles/container.developer", "what runs in the cluster"),
    Access(DEPLOYER, PROJECT, "roles/compute.networkAdmin", "the cluster's way out: router and Cloud NAT"),
    Access(DEPLOYER, PROJECT, "roles/compute.storageAdmin", "disks that hold weights, and their snapshots"),
    Access(DEPLOYER, PROJECT, "roles/iap.admin", "who passes a Gateway's Identity-Aware Proxy"),
    Access(
        DEPLOYER,
        PROJECT,
        "roles/resourcemanager.projectIamAdmin",
        "the role of the cluster's nodes on the project",
        node_roles,
    ),
    Access(DEPLOYER, STATE_BUCKET, "roles/storage.objectUser", "reading and writing states and their locks"),
    Access(DEPLOYER, KEY, "roles/cloudkms.cryptoKeyEncrypterDecrypter", "secrets in stack files and states"),
    Access(PREVIEWER, PROJECT, "roles/run.viewer", "reading services and jobs"),
    Access(PREVIEWER, PROJECT, "roles/artifactregistry.reader", "reading the image repository"),
    Access(PREVIEWER, PROJECT, "roles/storage.bucketViewer", "reading the settings of buckets"),
    Access(
        PREVIEWER,
        PROJECT,
        "roles/storage.objectViewer",
        "reading what a staged model says it holds",
        own_buckets,
    ),
    Access(
        PREVIEWER, PROJECT, "roles/secretmanager.viewer", "reading that a secret is there, not what it holds"
    ),
    Access(PREVIEWER, PROJECT, "roles/iam.serviceAccountViewer", "reading the accounts"),
    Access(
        PREVIEWER, PROJECT, "roles/iam.securityReviewer", "reading who has access to buckets and services"
    ),
    Access(PREVIEWER, PROJECT, "roles/serviceusage.serviceUsageViewer", "reading which APIs are enabled"),
    Access(PREVIEWER, PROJECT, "roles/aiplatform.viewer", "reading models, endpoints and jobs of Vertex AI"),
    Access(PREVIEWER, PROJECT, "roles/container.viewer", "reading the cluster and what runs in it"),
    Access(PREVIEWER, PROJECT, "roles/compute.viewer", "reading router, Cloud NAT, disks and snapshots"),
    Access(PREVIEWER, STATE_BUCKET, "roles/storage.objectViewer", "reading states; a preview takes no lock"),
    Access(PREVIEWER, KEY, "roles/cloudkms.cryptoKeyDecrypter", "secrets that a program reads to preview"),
)
