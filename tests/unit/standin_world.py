"""A project in which much exists, and for every modelled type inputs that Google accepts in it."""

from __future__ import annotations

import copy
from typing import Any

from providers.base.paths import parse_path
from providers.base.values import Properties
from rehearsal.standins.names import account_name, bucket_name, repository_name, run_name, service_name
from rehearsal.world import World

PROJECT, REGION = "acme-ml-dev", "us-central1"
EMAIL = f"serve@{PROJECT}.iam.gserviceaccount.com"
NOBODY = f"nobody@{PROJECT}.iam.gserviceaccount.com"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/llm/serve"
DIGEST = "sha256:" + "a" * 64
SECRET = f"projects/{PROJECT}/secrets/hub-token"
APIS = (
    *("run", "aiplatform", "iam", "secretmanager", "artifactregistry", "cloudresourcemanager"),
    *("container", "compute", "iap"),
)

SERVICE, JOB = "gcp:cloudrunv2/service:Service", "gcp:cloudrunv2/job:Job"
BUCKET, ACCOUNT = "gcp:storage/bucket:Bucket", "gcp:serviceaccount/account:Account"
SECRET_TYPE, VERSION = "gcp:secretmanager/secret:Secret", "gcp:secretmanager/secretVersion:SecretVersion"
REPOSITORY, API = "gcp:artifactregistry/repository:Repository", "gcp:projects/service:Service"
CLUSTER, POOL = "gcp:container/cluster:Cluster", "gcp:container/nodePool:NodePool"
DISK, SNAPSHOT = "gcp:compute/disk:Disk", "gcp:compute/snapshot:Snapshot"
ROUTER, NAT = "gcp:compute/router:Router", "gcp:compute/routerNat:RouterNat"
ON_BUCKET = "gcp:storage/bucketIAMMember:BucketIAMMember"
ON_SECRET = "gcp:secretmanager/secretIamMember:SecretIamMember"
ON_REPOSITORY = "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember"
ON_SERVICE = "gcp:cloudrunv2/serviceIamMember:ServiceIamMember"
ON_JOB = "gcp:cloudrunv2/jobIamMember:JobIamMember"
ON_ACCOUNT = "gcp:serviceaccount/iAMMember:IAMMember"
ON_PROJECT = "gcp:projects/iAMMember:IAMMember"
ON_IAP = "gcp:iap/webIamMember:WebIamMember"
ENDPOINT, STORE = "gcp:vertex/aiEndpoint:AiEndpoint", "gcp:vertex/aiMetadataStore:AiMetadataStore"
ON_ENDPOINT = "gcp:vertex/aiEndpointIamMember:AiEndpointIamMember"

ABSENT = object()
"""In a change, takes the property away."""
CLUSTER_NAME = f"container.googleapis.com/projects/{PROJECT}/locations/{REGION}/clusters/there"
DISK_PATH = f"projects/{PROJECT}/zones/{REGION}-a/disks/there"
_PARENT = f"projects/{PROJECT}/locations/{REGION}"
ROUTERS = f"compute.googleapis.com/projects/{PROJECT}/regions/{REGION}/routers"


def furnish(world: World) -> None:
    """A project in which everything that `ACCEPTED` refers to exists."""
    number = world.ensure_project(PROJECT).body["number"]
    for api in APIS:
        world.insert(
            "serviceusage.service", service_name(PROJECT, f"{api}.googleapis.com"), {"state": "ENABLED"}
        )
    world.insert("iam.serviceAccount", account_name(EMAIL), {"email": EMAIL})
    iam = {"publicAccessPrevention": "enforced"}
    world.insert("storage.bucket", bucket_name("models"), {"projectNumber": number, "iamConfiguration": iam})
    secret = f"secretmanager.googleapis.com/{SECRET}"
    world.insert("secretmanager.secret", secret, {})
    world.insert("secretmanager.version", f"{secret}/versions/1", {"state": "ENABLED"})
    world.bind(secret, "roles/secretmanager.secretAccessor", f"serviceAccount:{EMAIL}")
    world.bind(bucket_name("models"), "roles/storage.objectViewer", f"serviceAccount:{EMAIL}")
    repository = repository_name(PROJECT, REGION, "llm")
    world.insert("artifactregistry.repository", repository, {"format": "DOCKER"})
    image = {"digest": DIGEST, "tags": ["dev"]}
    world.insert("artifactregistry.image", f"{repository}/dockerImages/serve@{DIGEST}", image)
    world.insert("run.service", run_name(PROJECT, REGION, "services", "there"), {})
    gpu = {"template": {"nodeSelector": {"accelerator": "nvidia-l4"}}}
    world.insert("run.service", run_name(PROJECT, REGION, "services", "on-gpu"), gpu)
    world.insert("storage.bucket", bucket_name("afar"), {"projectNumber": number, "location": "EUROPE-WEST4"})
    world.insert("run.job", run_name(PROJECT, REGION, "jobs", "there"), {})
    identity = {"workloadIdentityConfig": {"workloadPool": f"{PROJECT}.svc.id.goog"}}
    world.insert("container.cluster", CLUSTER_NAME, {"name": "there", "selfLink": "", "spec": identity})
    world.insert("compute.disk", f"compute.googleapis.com/{DISK_PATH}", {"id": "7", "spec": {"size": 100}})
    world.insert("aiplatform.endpoint", f"aiplatform.googleapis.com/{_PARENT}/endpoints/7", {})
    for router in ("there", "beside"):
        world.insert("compute.router", f"{ROUTERS}/{router}", {"spec": {"network": "default"}})


_SECRET_ENV = {"secretKeyRef": {"secret": "hub-token", "version": "1"}}
_CONTAINER = {
    "image": f"{IMAGE}@{DIGEST}",
    "envs": [{"name": "MODEL", "value": "m"}, {"name": "TOKEN", "valueSource": _SECRET_ENV}],
    "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
    "volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}],
}
VOLUMES = [{"name": "models", "gcs": {"bucket": "models", "mountOptions": ["implicit-dirs"]}}]
_SERVING = {
    **_CONTAINER,
    "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "cpuIdle": True},
    "ports": {"name": "http1", "containerPort": 8080},
    "startupProbe": {
        "httpGet": {"path": "/ready"},
        "periodSeconds": 10,
        "failureThreshold": 60,
        "timeoutSeconds": 5,
    },
    "livenessProbe": {"httpGet": {"path": "/health"}},
}
_KEEP = {"id": "keep", "action": "KEEP", "mostRecentVersions": {"keepCount": 3}}
_OLD = {"id": "old", "action": "DELETE", "condition": {"tagState": "UNTAGGED", "olderThan": "604800s"}}
_MEMBER = {"role": "roles/storage.objectViewer", "member": f"serviceAccount:{EMAIL}"}

ACCEPTED: dict[str, Properties] = {
    API: {"service": "aiplatform.googleapis.com", "disableOnDestroy": False},
    ACCOUNT: {"accountId": "stage-assistant", "displayName": "Stages weights"},
    BUCKET: {
        "name": "acme-models.v1",
        "location": REGION,
        "labels": {"env": "dev"},
        "publicAccessPrevention": "enforced",
        "storageClass": "STANDARD",
        "lifecycleRules": [{"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 3}}],
        "softDeletePolicy": {"retentionDurationSeconds": 0},
    },
    SECRET_TYPE: {"secretId": "other-token", "replication": {"auto": {}}},
    VERSION: {"secret": SECRET, "secretData": "payload"},
    REPOSITORY: {
        "repositoryId": "other",
        "format": "DOCKER",
        "location": REGION,
        "cleanupPolicies": [_KEEP, _OLD],
    },
    SERVICE: {
        "name": "assistant",
        "location": REGION,
        "ingress": "INGRESS_TRAFFIC_ALL",
        "template": {
            "serviceAccount": EMAIL,
            "timeout": "300s",
            "maxInstanceRequestConcurrency": 8,
            "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
            "scaling": {"minInstanceCount": 0, "maxInstanceCount": 3},
            "containers": [_SERVING],
            "volumes": VOLUMES,
        },
    },
    JOB: {
        "name": "assistant-weights",
        "location": REGION,
        "template": {
            "taskCount": 1,
            "template": {
                "serviceAccount": EMAIL,
                "timeout": "3600s",
                "containers": [_CONTAINER],
                "volumes": VOLUMES,
            },
        },
    },
    CLUSTER: {
        "name": "llm",
        "location": REGION,
        "initialNodeCount": 1,
        "releaseChannel": {"channel": "REGULAR"},
        "resourceLabels": {"env": "dev"},
        "workloadIdentityConfig": {"workloadPool": f"{PROJECT}.svc.id.goog"},
        "privateClusterConfig": {"enablePrivateNodes": True},
        "controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"allowExternalTraffic": True}},
        "addonsConfig": {"gcsFuseCsiDriverConfig": {"enabled": True}},
        "monitoringConfig": {
            "enableComponents": ["SYSTEM_COMPONENTS"],
            "managedPrometheus": {"enabled": True},
        },
    },
    POOL: {
        "name": "assistant-tpu",
        "cluster": "there",
        "location": REGION,
        "nodeLocations": [f"{REGION}-a"],
        "autoscaling": {"minNodeCount": 0, "maxNodeCount": 2},
        "management": {"autoRepair": True},
        "nodeConfig": {
            "machineType": "ct5lp-hightpu-8t",
            "diskType": "pd-balanced",
            "diskSizeGb": 100,
            "serviceAccount": EMAIL,
            "spot": True,
            "maxRunDuration": "604800s",
            "workloadMetadataConfig": {"mode": "GKE_METADATA"},
        },
    },
    DISK: {
        "name": "assistant-weights",
        "zone": f"{REGION}-a",
        "type": "hyperdisk-ml",
        "size": 100,
        "accessMode": "READ_ONLY_MANY",
        "labels": {"env": "dev"},
    },
    SNAPSHOT: {"name": "assistant-weights", "sourceDisk": DISK_PATH, "labels": {"env": "dev"}},
    ROUTER: {"name": "llm", "region": REGION, "network": "default"},
    NAT: {
        "name": "llm",
        "region": REGION,
        "router": "there",
        "natIpAllocateOption": "AUTO_ONLY",
        "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
    },
    ON_BUCKET: {"bucket": "models", **_MEMBER},
    ON_SECRET: {**_MEMBER, "secretId": "hub-token", "role": "roles/secretmanager.secretAccessor"},
    ON_REPOSITORY: {**_MEMBER, "repository": "llm", "role": "roles/artifactregistry.reader"},
    ON_SERVICE: {"name": "there", "location": REGION, "role": "roles/run.invoker", "member": "allUsers"},
    ON_JOB: {**_MEMBER, "name": "there", "location": REGION, "role": "roles/run.invoker"},
    ON_ACCOUNT: {
        **_MEMBER,
        "serviceAccountId": f"projects/{PROJECT}/serviceAccounts/{EMAIL}",
        "role": "roles/iam.serviceAccountUser",
    },
    ON_PROJECT: {**_MEMBER, "project": PROJECT, "role": "roles/logging.logWriter"},
    ON_IAP: {**_MEMBER, "project": PROJECT, "role": "roles/iap.httpsResourceAccessor"},
    ENDPOINT: {
        "name": "123456789",
        "displayName": "dev-assistant",
        "location": REGION,
        "dedicatedEndpointEnabled": True,
        "labels": {"env": "dev"},
    },
    STORE: {"name": "dev_assistant", "description": "What was trained"},
    ON_ENDPOINT: {**_MEMBER, "endpoint": "7", "location": REGION, "role": "roles/aiplatform.user"},
}
"""Inputs that Google accepts in the furnished world, by type."""


def changed(inputs: Properties, change: Properties) -> Properties:
    """A copy of the inputs with values at property paths replaced, added or (ABSENT) taken away."""
    result = copy.deepcopy(inputs)
    for path, value in change.items():
        *above, last = parse_path(path)
        holder: Any = result
        for step in above:
            holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
        if value is ABSENT:
            del holder[last]
        elif isinstance(holder, list) and last == len(holder):
            holder.append(value)
        else:
            holder[last] = copy.deepcopy(value)
    return result
