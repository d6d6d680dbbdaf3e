"""Physical names, each within Google's limits for its kind, none with the model in it.

A name that has to be changed or cut ends in six hex digits of a hash of the whole name, so two different
names stay different. So do a deployment's names where its stack's has a hyphen: `dev-eu` and its deployment
`a` would else be `dev` and its deployment `eu-a`.

Limits: clusters and node pools 40 characters, Kubernetes namespaces 63 (RFC 1123), Compute Engine's disks
and snapshots 63, models of Vertex AI 63, Cloud Run services fewer than 50 characters, service accounts 6 to
30 (RFC 1035), buckets 3 to 63 without "google", repositories up to 63, labels up to 63 characters of
[a-z0-9_-].
"""

from __future__ import annotations

import hashlib
import re

RUN_NAME_MAX = 49
ACCOUNT_ID_MAX = 30
ACCOUNT_ID_MIN = 6
BUCKET_MAX = 63
REPOSITORY_MAX = 63
SECRET_MAX = 255
LABEL_MAX = 63
DEPLOYMENT_MAX = 40
CLUSTER_MAX = 40
NODE_POOL_MAX = 40
NAMESPACE_MAX = 63
DISK_MAX = 63
VERTEX_MODEL_MAX = 63

DEPLOYMENT_NAME = re.compile(rf"[a-z](?:[a-z0-9-]{{0,{DEPLOYMENT_MAX - 2}}}[a-z0-9])?")
PROJECT_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")

_HASH_DIGITS = 6


def slug(text: str) -> str:
    """Makes a name part of lower-case letters, digits and hyphens that begins with a letter.

    Text that is such a part already comes back as it is; any other gets the hash of the text.
    """
    cleaned = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    # Cloud Storage refuses bucket names that contain "google".
    cleaned = cleaned.replace("google", "ggl")
    if not cleaned[:1].isalpha():
        cleaned = f"s{cleaned}"
    return cleaned if cleaned == text else f"{cleaned}-{_hash(text)}"


def fit(name: str, longest: int) -> str:
    """Cuts a name to `longest` characters; a cut name ends in the hash of the whole."""
    if len(name) <= longest:
        return name
    return f"{name[: longest - _HASH_DIGITS - 1].rstrip('-')}-{_hash(name)}"


def service_name(stack: str, deployment: str) -> str:
    """Names the Cloud Run service of a deployment."""
    return fit(_joined(stack, deployment), RUN_NAME_MAX)


def job_name(stack: str, deployment: str) -> str:
    """Names the Cloud Run job that stages a deployment's weights."""
    return fit(_joined(stack, deployment, "weights"), RUN_NAME_MAX)


def cluster_name(stack: str) -> str:
    """Names the cluster of a stack."""
    return fit(slug(stack), CLUSTER_MAX)


def cpu_pool() -> str:
    """Names the node pool without TPUs; a cluster has one."""
    return "cpu"


def tpu_pool(deployment: str) -> str:
    """Names the node pool of a deployment, within the cluster of its stack.

    No other pool is called so: the name of the pool without TPUs has no hyphen.
    """
    return fit(f"tpu-{deployment}", NODE_POOL_MAX)


def namespace(stack: str, deployment: str) -> str:
    """Names the Kubernetes namespace of a deployment.

    The stack's name is part of it: all clusters of a project share one workload pool, in which pods of the
    same namespace and account are the same to Google.
    """
    return fit(_joined(stack, deployment), NAMESPACE_MAX)


def disk_name(stack: str, deployment: str, content: str) -> str:
    """Names a disk, or a snapshot, of a deployment that holds a content; another content has another."""
    return fit(f"{_joined(stack, deployment)}-{content}", DISK_MAX)


def vertex_model_id(stack: str, deployment: str) -> str:
    """Names the model of a deployment in Vertex AI's registry; each content of it is a version."""
    return fit(_joined(stack, deployment), VERTEX_MODEL_MAX)


def vertex_endpoint_id(project: str, stack: str, deployment: str, kind: str) -> str:
    """Numbers the endpoint of a deployment, which Vertex AI wants in up to ten digits without a leading zero.

    An endpoint cannot become one of another kind, so that one has another number, and both can be for a time.
    """
    digest = hashlib.sha256("/".join((project, stack, deployment, kind)).encode()).hexdigest()
    return str(10**9 + int(digest, 16) % (9 * 10**9))


def account_id(stack: str, deployment: str, role: str) -> str:
    """Names the service account that a deployment uses in one role, for instance `serve`."""
    return fit(_joined(stack, deployment, role), ACCOUNT_ID_MAX)


def account_email(account: str, project: str) -> str:
    """Gives the address of a service account of a project."""
    return f"{account}@{project}.iam.gserviceaccount.com"


def bucket_name(project: str, stack: str) -> str:
    """Names the bucket of a stack's models; the project makes it unique among all buckets of the world."""
    return fit(f"{project}-{slug(stack)}-models", BUCKET_MAX)


def repository_id(stack: str) -> str:
    """Names the Artifact Registry repository of a stack."""
    return fit(f"{slug(stack)}-images", REPOSITORY_MAX)


def secret_id(stack: str) -> str:
    """Names the secret that holds a stack's Hub token."""
    return fit(f"{slug(stack)}-hub-token", SECRET_MAX)


def model_folder(repository: str) -> str:
    """Names the folder of a Hub repository: `owner--name`, or `name` where there is no owner."""
    return repository.replace("/", "--")


def label(text: str) -> str:
    """Makes a label value of any text."""
    return fit(re.sub(r"[^a-z0-9_-]+", "-", text.lower()), LABEL_MAX)


def label_key(text: str) -> str:
    """Makes a label key of any text."""
    cleaned = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).lstrip("0123456789_-")
    return fit(cleaned or "label", LABEL_MAX)


def image_tag(stack: str) -> str:
    """Names the tag under which a stack pushes; images are deployed by digest, never by this tag."""
    return fit(slug(stack), LABEL_MAX)


def _joined(stack: str, *parts: str) -> str:
    """Joins a stack's name and what follows, so that no other stack and parts give the same."""
    name = "-".join((slug(stack), *parts))
    plain = slug(stack) == stack and "-" in stack
    return f"{name}-{_hash('/'.join((stack, *parts)))}" if plain else name


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]
