"""Predicates about what a request refers to: it must exist, be enabled, be readable."""

from __future__ import annotations

from collections.abc import Iterator

from providers.base.values import Properties
from rehearsal.standins.gcp.rules_common import find, known
from rehearsal.standins.model import Cloud
from rehearsal.standins.names import (
    account_name,
    bucket_name,
    parse_image,
    project_name,
    repository_name,
    run_name,
    secret_name,
    service_name,
)
from rehearsal.standins.refusals import Finding, predicate
from rehearsal.world_iam import roles

_ALWAYS_ENABLED = frozenset(
    {"serviceusage.googleapis.com", "storage.googleapis.com", "logging.googleapis.com"}
)
"""Enabled in every new project: https://cloud.google.com/service-usage/docs/enabled-service"""

_ACCOUNT_DOMAIN = ".iam.gserviceaccount.com"


@predicate
def api_disabled(cloud: Cloud, inputs: Properties, api: str) -> Iterator[Finding]:
    """An API that is not enabled in the resource's project."""
    project = (known(inputs, "project") or cloud.project).removeprefix("projects/")
    if not project or api in _ALWAYS_ENABLED:
        return
    record = cloud.world.get(service_name(project, api))
    if record is None or record.body.get("state") != "ENABLED":
        yield "", {"api": api, "project": project, "number": cloud.project_number(project)}


@predicate
def project_unknown(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """A project that is not the provider's and that nobody ever used here."""
    project = known(inputs, "project")
    if isinstance(project, str) and cloud.world.get(project_name(project.removeprefix("projects/"))) is None:
        yield "project", {"project": project}


@predicate
def project_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """No project at all, neither here nor in the provider's configuration."""
    if inputs.get("project") is None:
        yield "project", {}


@predicate
def account_missing(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:
    """A service account of a project here that does not exist."""
    for path, value in find(inputs, paths):
        email = str(value).rpartition("/")[2].removeprefix("serviceAccount:")
        if email.endswith(_ACCOUNT_DOMAIN) and cloud.world.get(account_name(email)) is None:
            yield path, {"email": email}


@predicate
def member_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """A member that is a service account which does not exist."""
    member = known(inputs, "member")
    if isinstance(member, str) and member.startswith("serviceAccount:"):
        yield from account_missing(cloud, inputs, ["member"])


@predicate
def role_unknown(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A role whose permissions `rehearsal/data/roles.yaml` does not know."""
    role = known(inputs, "role")
    if isinstance(role, str) and role.startswith("roles/") and role not in roles():
        yield "role", {"role": role}


@predicate
def bucket_missing(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:
    """A bucket that does not exist."""
    for path, value in find(inputs, paths):
        if cloud.world.get(bucket_name(value)) is None:
            yield path, {"bucket": value.removeprefix("b/")}


@predicate
def secret_missing(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:
    """A secret that does not exist."""
    project = known(inputs, "project") or cloud.project
    for path, value in find(inputs, paths):
        secret = secret_name(cloud, project, str(value).partition("/versions/")[0])
        if cloud.world.get(secret) is None:
            yield path, {"secret": secret.partition("/")[2]}


@predicate
def secret_without_version(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:
    """A secret that exists, but has not the version that is asked for (or no enabled one, for `latest`)."""
    project = known(inputs, "project") or cloud.project
    for path, reference in find(inputs, paths):
        secret, version = known(reference, "secret"), known(reference, "version") or "latest"
        if secret is None or cloud.world.get(secret_name(cloud, project, secret)) is None:
            continue
        name = secret_name(cloud, project, secret)
        enabled = {
            record.name.rpartition("/")[2]
            for record in cloud.world.list("secretmanager.version", f"{name}/versions/")
            if record.body["state"] == "ENABLED"
        }
        if not enabled or (version != "latest" and version not in enabled):
            yield path, {"secret": f"{name.partition('/')[2]}/versions/{version}"}


@predicate
def secret_unreadable(
    cloud: Cloud, inputs: Properties, paths: list[str], accounts: list[str]
) -> Iterator[Finding]:
    """A secret that the workload's own service account may not read."""
    project = known(inputs, "project") or cloud.project
    account = next((value for _, value in find(inputs, accounts)), None)
    if account is None:
        return
    for path, value in find(inputs, paths):
        secret = secret_name(cloud, project, value)
        member = f"serviceAccount:{account}"
        if cloud.world.get(secret) and not cloud.world.allows(
            member, "secretmanager.versions.access", secret
        ):
            yield path, {"secret": secret.partition("/")[2], "account": account}


@predicate
def bucket_unreadable(
    cloud: Cloud, inputs: Properties, paths: list[str], accounts: list[str]
) -> Iterator[Finding]:
    """A mounted bucket whose objects the workload's own service account may not list or read."""
    account = next((value for _, value in find(inputs, accounts)), None)
    if account is None:
        return
    for path, value in find(inputs, paths):
        bucket, member = bucket_name(value), f"serviceAccount:{account}"
        needed = ("storage.objects.list", "storage.objects.get")
        missing = [each for each in needed if not cloud.world.allows(member, each, bucket)]
        if cloud.world.get(bucket) is not None and missing:
            yield path, {"bucket": value, "account": account, "permissions": " and ".join(missing)}


@predicate
def repository_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """An Artifact Registry repository that does not exist."""
    repository = known(inputs, "repository")
    name = repository_name(inputs["project"], inputs["location"], repository)
    if cloud.world.get(name) is None:
        yield "repository", {"repository": name.partition("/")[2]}


@predicate
def run_missing(cloud: Cloud, inputs: Properties, collection: str) -> Iterator[Finding]:
    """A Cloud Run service or job that does not exist."""
    name = run_name(inputs["project"], inputs["location"], collection, inputs["name"])
    if cloud.world.get(name) is None:
        yield "name", {"resource": name.partition("/")[2]}


@predicate
def image_missing(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:
    """An image of a registry here that was never pushed, by digest or by tag."""
    for path, image in find(inputs, paths):
        parts = parse_image(image)
        if parts is None or cloud.world.get(project_name(str(parts["project"]))) is None:
            continue
        repository = repository_name(*(str(parts[key]) for key in ("project", "location", "repository")))
        pushed = cloud.world.list("artifactregistry.image", f"{repository}/dockerImages/{parts['image']}@")
        tag = parts["tag"] or "latest"
        if parts["digest"]:
            there = any(record.name.endswith(f"@{parts['digest']}") for record in pushed)
        else:
            there = any(tag in record.body.get("tags", []) for record in pushed)
        if not there:
            yield path, {"image": image}


@predicate
def bucket_elsewhere(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:
    """A mounted bucket in another location than what mounts it."""
    here = known(inputs, "location")
    for path, value in find(inputs, paths):
        record = cloud.world.get(bucket_name(value))
        there = str(record.body.get("location", here)).lower() if record is not None else here
        if here is not None and there != here:
            yield path, {"bucket": value, "there": there, "here": here}


@predicate
def public_gpu(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """Anyone as an invoker of a service that has a GPU."""
    if known(inputs, "member") not in ("allUsers", "allAuthenticatedUsers"):
        return
    record = cloud.world.get(run_name(inputs["project"], inputs["location"], "services", inputs["name"]))
    if record is not None and known(record.body.get("template"), "nodeSelector"):
        yield "member", {"member": inputs["member"], "service": inputs["name"]}
