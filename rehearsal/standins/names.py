"""Google's full resource names, made and taken apart."""

from __future__ import annotations

import re

from rehearsal.standins.model import Cloud
from rehearsal.world import project_name

_IMAGE = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/:@]+)/(?P<repository>[^/:@]+)/(?P<image>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def run_name(project: str, location: str, collection: str, name: str) -> str:
    """Full name of a Cloud Run service or job; `name` may already be the path below the API."""
    path = name if "/" in name else f"projects/{project}/locations/{location}/{collection}/{name}"
    return f"run.googleapis.com/{path}"


def bucket_name(bucket: str) -> str:
    """Full name of a bucket."""
    return f"storage.googleapis.com/buckets/{bucket.removeprefix('b/').removeprefix('gs://')}"


def account_name(account: str) -> str:
    """Full name of a service account, from its e-mail address or its path."""
    email = account.rpartition("/")[2]
    project = email.partition("@")[2].partition(".")[0]
    return f"iam.googleapis.com/projects/{project}/serviceAccounts/{email}"


def secret_name(cloud: Cloud, project: str, secret: str) -> str:
    """Full name of a secret, from its short name or its path; a project's number becomes its id."""
    path = secret if "/" in secret else f"projects/{project}/secrets/{secret}"
    head, _, rest = path.removeprefix("projects/").partition("/")
    return f"secretmanager.googleapis.com/projects/{project_id(cloud, head)}/{rest}"


def repository_name(project: str, location: str, repository: str) -> str:
    """Full name of an Artifact Registry repository, from its short name or its path."""
    path = (
        repository
        if "/" in repository
        else f"projects/{project}/locations/{location}/repositories/{repository}"
    )
    return f"artifactregistry.googleapis.com/{path}"


def service_name(project: str, api: str) -> str:
    """Full name of an API in a project."""
    return f"serviceusage.googleapis.com/projects/{project}/services/{api}"


def project_id(cloud: Cloud, project: str) -> str:
    """A project's id, from its id or its number."""
    if not project.isdigit():
        return project
    for record in cloud.world.list("project"):
        if record.body["number"] == project:
            return str(record.body["projectId"])
    return project


def project_of(name: str) -> str:
    """The project in a full resource name; empty where the name has none."""
    found = re.search(r"/projects/([^/]+)", name)
    return found.group(1) if found else ""


def parse_image(image: str) -> dict[str, str | None] | None:
    """Location, project, repository, image, tag and digest of an Artifact Registry address, or None."""
    found = _IMAGE.fullmatch(image)
    return found.groupdict() if found else None


__all__ = [
    "account_name",
    "bucket_name",
    "parse_image",
    "project_id",
    "project_name",
    "project_of",
    "repository_name",
    "run_name",
    "secret_name",
    "service_name",
]
