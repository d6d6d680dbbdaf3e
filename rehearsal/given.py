"""What a stack takes for granted, put into a rehearsed cloud: what exists before the stack does.

A stack may name a secret that holds the Hub token already, images by their digest, buckets from which weights
come, and service accounts that may call it. In the real projects they are there; in a cloud that was made a
moment ago they are not.
"""

from __future__ import annotations

from rehearsal.standins.docker_images import KIND as IMAGE
from rehearsal.standins.docker_images import snapshot_folder
from rehearsal.standins.names import parse_image, repository_name
from rehearsal.world import World
from stacks.plan.types import ImagePlan, StackPlan

PAYLOAD = b"rehearsed-secret"
"""Content of a secret that exists already: nobody's, and the same words as every rehearsed secret."""
_SECRETS = "secretmanager.googleapis.com"
_STORAGE = "storage.googleapis.com/buckets"
_ACCOUNTS = ".iam.gserviceaccount.com"


def put_given(world: World, plan: StackPlan) -> list[str]:
    """Put what a plan takes for granted where it is missing.

    Args:
        world: the rehearsed cloud.
        plan: what names them.

    Returns:
        The full resource names of what was put: a destroy of the stack leaves it, as it would at Google.
    """
    put = []
    token = plan.foundation.hub_token
    if token is not None and not token.create:
        put += _secret(world, token.secret_id, plan.foundation.project)
    for image in plan.images.values():
        if image.digest is not None:
            put += _image(world, image, image.digest)
    for bucket in _sources(plan):
        put += _bucket(world, bucket, plan)
    for email in _callers(plan):
        put += _account(world, email)
    return put


def _callers(plan: StackPlan) -> list[str]:
    """The service accounts that may call a deployment and are not the stack's own."""
    deployments = plan.deployments.values()
    own = {account.email for each in deployments for account in each.accounts}
    callers = {
        invoker.partition(":")[2]
        for each in deployments
        for invoker in each.invokers
        if invoker.startswith("serviceAccount:") and invoker.endswith(_ACCOUNTS)
    }
    return sorted(callers - own)


def _sources(plan: StackPlan) -> list[str]:
    """The buckets, other than the stack's own, from which weights come."""
    found = {each.weights.source_bucket for each in plan.deployments.values()}
    return sorted(bucket for bucket in found if bucket is not None)


def _bucket(world: World, bucket: str, plan: StackPlan) -> list[str]:
    name = f"{_STORAGE}/{bucket}"
    if world.get(name) is not None:
        return []
    # Empty: only its being there counts, unless somebody uploads what the job is to read.
    world.objects.create_bucket(bucket)
    number = world.ensure_project(plan.foundation.project).body["number"]
    body = {"id": bucket, "name": bucket, "projectNumber": number, "timeCreated": world.now()}
    world.insert("storage.bucket", name, {**body, "location": plan.foundation.region.upper()})
    return [name]


def _account(world: World, email: str) -> list[str]:
    project = email.partition("@")[2].removesuffix(_ACCOUNTS)
    name = f"iam.googleapis.com/projects/{project}/serviceAccounts/{email}"
    if world.get(name) is not None:
        return []
    path = name.partition("/")[2]
    world.insert("iam.serviceAccount", name, {"name": path, "projectId": project, "email": email})
    return [name]


def _secret(world: World, secret: str, project: str) -> list[str]:
    path = secret if secret.startswith("projects/") else f"projects/{project}/secrets/{secret}"
    name, number = f"{_SECRETS}/{path}", world.ensure_project(path.split("/")[1]).body["number"]
    if world.get(name) is not None:
        return []
    shown = f"projects/{number}/secrets/{path.rpartition('/')[2]}"
    body = {"name": shown, "createTime": world.now(), "replication": {"automatic": {}}}
    version = {"name": f"{shown}/versions/1", "createTime": world.now(), "state": "ENABLED"}
    world.insert("secretmanager.secret", name, body)
    world.insert("secretmanager.version", f"{name}/versions/1", version)
    world.secrets.put(f"{name}/versions/1", PAYLOAD)
    return [name, f"{name}/versions/1"]


def _image(world: World, image: ImagePlan, digest: str) -> list[str]:
    parts = parse_image(image.url)
    if parts is None:
        return []
    repository = repository_name(*(str(parts[key]) for key in ("project", "location", "repository")))
    name = f"{repository}/dockerImages/{parts['image']}@{digest}"
    if world.get(name) is not None:
        return []
    # Nothing is started from it: only its being there counts.
    snapshot_folder(world, digest).mkdir(parents=True, exist_ok=True)
    body = {
        "name": name.partition("/")[2],
        "uri": image.url,
        "digest": digest,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "uploadTime": world.now(),
        "context": image.context,
        "buildArgs": {},
        "tags": [],
    }
    world.insert(IMAGE, name, body)
    return [name]
