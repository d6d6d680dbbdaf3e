"""For every refusal of the stand-in, something that falls under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from providers.base.values import Properties
from rehearsal.standins.names import bucket_name, service_name
from rehearsal.world import World
from tests.unit.standin_world import (
    ABSENT,
    ACCOUNT,
    API,
    BUCKET,
    EMAIL,
    IMAGE,
    JOB,
    NOBODY,
    ON_ACCOUNT,
    ON_BUCKET,
    ON_JOB,
    ON_PROJECT,
    ON_REPOSITORY,
    ON_SECRET,
    ON_SERVICE,
    PROJECT,
    REGION,
    REPOSITORY,
    SECRET,
    SECRET_TYPE,
    SERVICE,
    VERSION,
    VOLUMES,
)


@dataclass(frozen=True)
class Case:
    """One way to fall under a row: a change of accepted inputs, a spoilt world, or both."""

    row: str
    token: str
    says: str
    change: Properties = field(default_factory=dict)
    spoil: Callable[[World], None] | None = None
    unconfigured: bool = False

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.row}-{self.token.rpartition(':')[2]}-{self.says[:24]}"


def disabled(api: str) -> Callable[[World], None]:
    """Spoils the world: an API is off."""
    return lambda world: _forget(world, service_name(PROJECT, f"{api}.googleapis.com"))


def gone(name: str) -> Callable[[World], None]:
    """Spoils the world: a record is gone."""
    return lambda world: _forget(world, name)


def unbound(resource: str, role: str) -> Callable[[World], None]:
    """Spoils the world: the workload's account lacks a role."""
    return lambda world: _check(world.unbind(resource, role, f"serviceAccount:{EMAIL}"))


def _forget(world: World, name: str) -> None:
    _check(world.delete(name))


def _check(done: bool) -> None:
    assert done, "the case spoils nothing"


_C, _TC = "template.containers[0]", "template.template.containers[0]"
_GPU = f'{_C}.resources.limits["nvidia.com/gpu"]'
_ACCELERATOR = "template.nodeSelector"
_L4 = {
    _GPU: "1",
    _ACCELERATOR: {"accelerator": "nvidia-l4"},
    f"{_C}.resources.cpuIdle": False,
    f"{_C}.resources.limits.cpu": "4",
    f"{_C}.resources.limits.memory": "16Gi",
}
_LONG = "x" * 40_000

_NAMES = [
    Case("project.missing", BUCKET, "set gcp:project", unconfigured=True),
    Case("project.unknown", BUCKET, "someone-else", {"project": "someone-else"}),
    Case("api.run", SERVICE, "run.googleapis.com has not been used", spoil=disabled("run")),
    Case("api.iam", ACCOUNT, "iam.googleapis.com has not", spoil=disabled("iam")),
    Case("api.secretmanager", SECRET_TYPE, "secretmanager.googleapis.com", spoil=disabled("secretmanager")),
    Case("api.artifactregistry", REPOSITORY, "artifactregistry", spoil=disabled("artifactregistry")),
    Case("api.cloudresourcemanager", ON_PROJECT, "SERVICE_DISABLED", spoil=disabled("cloudresourcemanager")),
    Case("labels.syntax", BUCKET, "key 'Env'", {"labels": {"Env": "dev"}}),
    Case("labels.syntax", SERVICE, "value 'a.b' of 'env'", {"labels": {"env": "a.b"}}),
    Case("labels.count", BUCKET, "65 labels", {"labels": {f"k{i}": "v" for i in range(65)}}),
    Case("deletion_policy", BUCKET, "'KEEP'", {"deletionPolicy": "KEEP"}),
    Case("service.name", API, "'run'", {"service": "run"}),
    Case("account.id", ACCOUNT, "'short'", {"accountId": "short"}),
    Case("account.id", ACCOUNT, "no hyphen", {"accountId": "a" * 31}),
    Case("account.id", ACCOUNT, "'ends-with-'", {"accountId": "ends-with-"}),
    Case("account.display_name", ACCOUNT, "101 bytes", {"displayName": "x" * 101}),
    Case("account.description", ACCOUNT, "257 bytes", {"description": "x" * 257}),
    Case("iam.member.syntax", ON_BUCKET, "is no member", {"member": EMAIL}),
    Case("iam.role.syntax", ON_BUCKET, "write roles/NAME", {"role": "storage.objectViewer"}),
    Case("iam.role.unknown", ON_BUCKET, "objectViewr", {"role": "roles/storage.objectViewr"}),
    Case("iam.member.exists", ON_BUCKET, NOBODY, {"member": f"serviceAccount:{NOBODY}"}),
    Case(
        "iam.account.exists", ON_ACCOUNT, NOBODY, {"serviceAccountId": f"projects/-/serviceAccounts/{NOBODY}"}
    ),
    Case("iam.bucket.exists", ON_BUCKET, "nowhere", {"bucket": "nowhere"}),
    Case("iam.bucket.public", ON_BUCKET, "enforced", {"member": "allUsers"}),
    Case("iam.secret.exists", ON_SECRET, "secrets/nowhere", {"secretId": "nowhere"}),
    Case("iam.repository.exists", ON_REPOSITORY, "repositories/nowhere", {"repository": "nowhere"}),
    Case("iam.run_service.exists", ON_SERVICE, "services/nowhere", {"name": "nowhere"}),
    Case("iam.run_job.exists", ON_JOB, "jobs/nowhere", {"name": "nowhere"}),
    Case("bucket.name", BUCKET, "'Models'", {"name": "Models"}),
    Case("bucket.name", BUCKET, "'ab'", {"name": "ab"}),
    Case("bucket.name.length", BUCKET, "64 characters", {"name": "a" * 64}),
    Case("bucket.name.dots", BUCKET, "side by side", {"name": "a..b"}),
    Case("bucket.name.google", BUCKET, "contains google", {"name": "my-google-models"}),
    Case("bucket.name.google", BUCKET, "starts with goog", {"name": "goog-models"}),
    Case("bucket.name.address", BUCKET, "IP address", {"name": "192.168.5.4"}),
    Case("bucket.public_access_prevention", BUCKET, "'on'", {"publicAccessPrevention": "on"}),
    Case("bucket.storage_class", BUCKET, "'HOT'", {"storageClass": "HOT"}),
    Case("bucket.lifecycle.action", BUCKET, "'Drop'", {"lifecycleRules[0].action.type": "Drop"}),
    Case("bucket.soft_delete", BUCKET, "86400", {"softDeletePolicy.retentionDurationSeconds": 86400}),
    Case("secret.id", SECRET_TYPE, "'hub.token'", {"secretId": "hub.token"}),
    Case("secret.replication", SECRET_TYPE, "none", {"replication": {}}),
    Case("secret.expiry", SECRET_TYPE, "only one", {"ttl": "60s", "expireTime": "2030-01-01T00:00:00Z"}),
    Case("secret_version.secret.syntax", VERSION, "'hub-token'", {"secret": "hub-token"}),
    Case("secret_version.payload", VERSION, "none", {"secretData": ABSENT}),
    Case("secret_version.size", VERSION, "65537 bytes", {"secretData": "x" * 65_537}),
    Case(
        "secret_version.secret.exists",
        VERSION,
        "not found",
        {"secret": f"projects/{PROJECT}/secrets/nowhere"},
    ),
    Case("repository.id", REPOSITORY, "'LLM'", {"repositoryId": "LLM"}),
    Case("repository.format", REPOSITORY, "'OCI'", {"format": "OCI"}),
    Case("repository.policy.shape", REPOSITORY, "neither", {"cleanupPolicies[0].mostRecentVersions": ABSENT}),
    Case("repository.policy.delete", REPOSITORY, "cannot DELETE", {"cleanupPolicies[0].action": "DELETE"}),
    Case("repository.policy.action", REPOSITORY, "'DROP'", {"cleanupPolicies[1].action": "DROP"}),
    Case(
        "repository.policy.tag_state", REPOSITORY, "'NONE'", {"cleanupPolicies[1].condition.tagState": "NONE"}
    ),
    Case(
        "repository.policy.age", REPOSITORY, "'a week'", {"cleanupPolicies[1].condition.olderThan": "a week"}
    ),
    Case("repository.policy.name", REPOSITORY, "'keep'", {"cleanupPolicies[1].id": "keep"}),
]

_RUN = [
    Case("run.service.name", SERVICE, "fewer than 50", {"name": "a" * 50}),
    Case("run.service.name", SERVICE, "'1st'", {"name": "1st"}),
    Case("run.job.name", JOB, "at most 63", {"name": "a" * 64}),
    Case(
        "run.labels.reserved",
        SERVICE,
        "run.googleapis.com/x",
        {"template.labels": {"run.googleapis.com/x": "y"}},
    ),
    Case(
        "run.labels.reserved",
        JOB,
        "client.knative",
        {"annotations": {"client.knative.serving.knative.dev/x": "y"}},
    ),
    Case("run.ingress", SERVICE, "'all'", {"ingress": "all"}),
    Case("run.execution_environment", SERVICE, "'gen2'", {"template.executionEnvironment": "gen2"}),
    Case("run.quantity", SERVICE, "'4GB'", {f"{_C}.resources.limits.memory": "4GB"}),
    Case("run.quantity", JOB, "'two'", {f"{_TC}.resources.limits.cpu": "two"}),
    Case("run.cpu.count", SERVICE, "3 is none", {f"{_C}.resources.limits.cpu": "3"}),
    Case(
        "run.cpu.fraction", SERVICE, "0.5 CPU", {f"{_C}.resources.limits": {"cpu": "500m", "memory": "512Mi"}}
    ),
    Case("run.memory.for_4_cpu", SERVICE, "1 GiB", {f"{_C}.resources.limits": {"cpu": "4", "memory": "1Gi"}}),
    Case("run.memory.for_8_cpu", JOB, "3 GiB", {f"{_TC}.resources.limits": {"cpu": "6", "memory": "3Gi"}}),
    Case(
        "run.cpu.for_memory",
        SERVICE,
        "at least 4",
        {f"{_C}.resources.limits": {"cpu": "2", "memory": "10Gi"}},
    ),
    Case("run.cpu.for_memory", JOB, "at least 2", {f"{_TC}.resources.limits": {"memory": "5Gi"}}),
    Case("run.memory.range", SERVICE, "33 GiB", {f"{_C}.resources.limits": {"cpu": "8", "memory": "33Gi"}}),
    Case("run.memory.range", SERVICE, "128 MiB", {f"{_C}.resources.limits": {"cpu": "1", "memory": "64Mi"}}),
    Case("run.gpu.count", SERVICE, "'2' GPUs", {**_L4, _GPU: "2"}),
    Case("run.gpu.containers", SERVICE, "accelerator is none", {_GPU: "1"}),
    Case("run.gpu.containers", SERVICE, "0 containers", {_ACCELERATOR: {"accelerator": "nvidia-l4"}}),
    Case("run.gpu.l4", SERVICE, "4 CPUs and 16 GiB", {**_L4, f"{_C}.resources.limits.cpu": "2"}),
    Case(
        "run.gpu.rtx_pro_6000",
        SERVICE,
        "20 CPUs and 80 GiB",
        {**_L4, _ACCELERATOR: {"accelerator": "nvidia-rtx-pro-6000"}},
    ),
    Case("run.gpu.billing", SERVICE, "cpuIdle to false", {**_L4, f"{_C}.resources.cpuIdle": True}),
    Case("run.gpu.l4.region", SERVICE, "us-west1 has no", {**_L4, "location": "us-west1"}),
    Case(
        "run.gpu.rtx_pro_6000.region",
        SERVICE,
        "not in us-west1",
        {**_L4, "location": "us-west1", _ACCELERATOR: {"accelerator": "nvidia-rtx-pro-6000"}},
    ),
    Case(
        "run.job.gpu.timeout",
        JOB,
        "7200s",
        {
            "template.template.timeout": "7200s",
            "template.template.nodeSelector": {"accelerator": "nvidia-l4"},
        },
    ),
    Case("run.concurrency", SERVICE, "1001 requests", {"template.maxInstanceRequestConcurrency": 1001}),
    Case("run.scaling.maximum", SERVICE, "0 instances", {"template.scaling.maxInstanceCount": 0}),
    Case("run.scaling.minimum", SERVICE, "-1 instances", {"template.scaling.minInstanceCount": -1}),
    Case("run.scaling.order", SERVICE, "at least 4 instances", {"template.scaling.minInstanceCount": 4}),
    Case("run.service.timeout", SERVICE, "'3601s'", {"template.timeout": "3601s"}),
    Case("run.service.timeout", SERVICE, "'5m'", {"template.timeout": "5m"}),
    Case("run.job.timeout", JOB, "'604801s'", {"template.template.timeout": "604801s"}),
    Case("run.job.tasks", JOB, "10001 tasks", {"template.taskCount": 10001}),
    Case("run.probe.window", SERVICE, "610 s", {f"{_C}.startupProbe.failureThreshold": 61}),
    Case("run.probe.field", SERVICE, "300 s", {f"{_C}.startupProbe.initialDelaySeconds": 300}),
    Case("run.probe.timeout", SERVICE, "timeoutSeconds 11", {f"{_C}.startupProbe.timeoutSeconds": 11}),
    Case(
        "run.probe.handlers", SERVICE, "httpGet and tcpSocket", {f"{_C}.livenessProbe.tcpSocket": {"port": 1}}
    ),
    Case("run.port.number", SERVICE, "port 65536", {f"{_C}.ports.containerPort": 65536}),
    Case("run.port.name", SERVICE, "'http'", {f"{_C}.ports.name": "http"}),
    Case("run.env.reserved", SERVICE, "PORT is", {f"{_C}.envs[0].name": "PORT"}),
    Case("run.env.name_length", SERVICE, "40000", {f"{_C}.envs[0].name": _LONG}),
    Case("run.env.value_length", JOB, "40000", {f"{_TC}.envs[0].value": _LONG}),
    Case("run.env.source", SERVICE, "only one", {f"{_C}.envs[1].value": "x"}),
    Case("run.image.host", SERVICE, "quay.io", {f"{_C}.image": "quay.io/team/serve:1"}),
    Case(
        "run.image.address",
        JOB,
        "lacks a part",
        {f"{_TC}.image": f"{REGION}-docker.pkg.dev/{PROJECT}/serve:1"},
    ),
    Case("run.image.exists", SERVICE, "not found", {f"{_C}.image": f"{IMAGE}@sha256:{'b' * 64}"}),
    Case("run.image.exists", JOB, ":v9", {f"{_TC}.image": f"{IMAGE}:v9"}),
    Case("run.account.exists", SERVICE, NOBODY, {"template.serviceAccount": NOBODY}),
    Case("run.volume.source", SERVICE, "gcs", {"template.volumes[0].emptyDir": {"medium": "MEMORY"}}),
    Case("run.volume.repeated", JOB, "'models'", {"template.template.volumes[1]": VOLUMES[0]}),
    Case(
        "run.volume.options",
        SERVICE,
        "'--implicit",
        {"template.volumes[0].gcs.mountOptions[0]": "--implicit-dirs"},
    ),
    Case("run.mount.path", SERVICE, "'/mnt:models'", {f"{_C}.volumeMounts[0].mountPath": "/mnt:models"}),
    Case("run.mount.volume", JOB, "no volume 'modles'", {f"{_TC}.volumeMounts[0].name": "modles"}),
    Case(
        "run.volume.gen1", SERVICE, "second", {"template.executionEnvironment": "EXECUTION_ENVIRONMENT_GEN1"}
    ),
    Case("run.volume.bucket", JOB, "nowhere", {"template.template.volumes[0].gcs.bucket": "nowhere"}),
    Case(
        "run.volume.access",
        SERVICE,
        "storage.objects.list",
        spoil=unbound(bucket_name("models"), "roles/storage.objectViewer"),
    ),
    Case(
        "run.secret.exists",
        SERVICE,
        "secrets/nowhere",
        {f"{_C}.envs[1].valueSource.secretKeyRef.secret": "nowhere"},
    ),
    Case("run.secret.version", JOB, "versions/7", {f"{_TC}.envs[1].valueSource.secretKeyRef.version": "7"}),
    Case(
        "run.secret.access",
        SERVICE,
        "Secret Accessor",
        spoil=unbound(f"secretmanager.googleapis.com/{SECRET}", "roles/secretmanager.secretAccessor"),
    ),
]

CASES = [*_NAMES, *_RUN]
