"""Refusals of Cloud Run's services and jobs."""

from __future__ import annotations

from rehearsal.standins.names import bucket_name
from tests.unit.standin_cases import Case, unbound
from tests.unit.standin_world import ABSENT, IMAGE, JOB, NOBODY, PROJECT, REGION, SECRET, SERVICE, VOLUMES

_C, _TC = "template.containers[0]", "template.template.containers[0]"
_GPU = f'{_C}.resources.limits["nvidia.com/gpu"]'
_ACCELERATOR = "template.nodeSelector"
L4 = {
    _GPU: "1",
    _ACCELERATOR: {"accelerator": "nvidia-l4"},
    f"{_C}.resources.cpuIdle": False,
    f"{_C}.resources.limits.cpu": "4",
    f"{_C}.resources.limits.memory": "16Gi",
}
_RTX = {"accelerator": "nvidia-rtx-pro-6000"}
_LONG = "x" * 40_000

RUN = [
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
    Case("run.limits.keys", SERVICE, "'disk'", {f"{_C}.resources.limits.disk": "10Gi"}),
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
    Case("run.memory.default", SERVICE, "512 MiB", {f"{_C}.resources": {"cpuIdle": True}}),
    Case("run.gpu.count", SERVICE, "'2' GPUs", {**L4, _GPU: "2"}),
    Case("run.gpu.containers", SERVICE, "accelerator is none", {_GPU: "1"}),
    Case("run.gpu.containers", SERVICE, "0 containers", {_ACCELERATOR: {"accelerator": "nvidia-l4"}}),
    Case("run.gpu.l4", SERVICE, "4 CPUs and 16 GiB", {**L4, f"{_C}.resources.limits.cpu": "2"}),
    Case("run.gpu.rtx_pro_6000", SERVICE, "80 GiB", {**L4, _ACCELERATOR: _RTX}),
    Case("run.gpu.rtx_pro_6000.cpu", SERVICE, "20 CPUs", {**L4, _ACCELERATOR: _RTX}),
    Case("run.gpu.billing", SERVICE, "cpuIdle to false", {**L4, f"{_C}.resources.cpuIdle": True}),
    Case("run.gpu.l4.region", SERVICE, "us-west1 has no", {**L4, "location": "us-west1"}),
    Case(
        "run.gpu.rtx_pro_6000.region",
        SERVICE,
        "not in us-west1",
        {**L4, "location": "us-west1", _ACCELERATOR: _RTX},
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
    Case("run.probe.liveness", SERVICE, "3601 s", {f"{_C}.livenessProbe.periodSeconds": 3601}),
    Case("run.probe.minimum", SERVICE, "at least 1", {f"{_C}.startupProbe.failureThreshold": 0}),
    Case("run.probe.minimum", SERVICE, "at least 0", {f"{_C}.livenessProbe.initialDelaySeconds": -1}),
    Case("run.probe.missing", SERVICE, "no startup probe", {f"{_C}.startupProbe": ABSENT}),
    Case(
        "run.probe.handlers", SERVICE, "httpGet and tcpSocket", {f"{_C}.livenessProbe.tcpSocket": {"port": 1}}
    ),
    Case("run.port.number", SERVICE, "port 65536", {f"{_C}.ports.containerPort": 65536}),
    Case("run.port.name", SERVICE, "'http'", {f"{_C}.ports.name": "http"}),
    Case("run.env.reserved", SERVICE, "PORT is", {f"{_C}.envs[0].name": "PORT"}),
    Case(
        "run.env.count",
        SERVICE,
        "1001",
        {f"{_C}.envs": [{"name": f"V{i}", "value": ""} for i in range(1001)]},
    ),
    Case("run.env.name", JOB, "'A=B'", {f"{_TC}.envs[0].name": "A=B"}),
    Case("run.env.name", SERVICE, "empty", {f"{_C}.envs[0].name": ""}),
    Case("run.env.repeated", SERVICE, "TOKEN is given twice", {f"{_C}.envs[0].name": "TOKEN"}),
    Case("run.env.reference", SERVICE, "$(HOME)", {f"{_C}.envs[0].value": "$(HOME)/models"}),
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
    Case("run.image.container_registry", JOB, "shut down", {f"{_TC}.image": "eu.gcr.io/acme/train:1"}),
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
    Case("run.mount.reserved", SERVICE, "/proc/models", {f"{_C}.volumeMounts[0].mountPath": "/proc/models"}),
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
    Case("run.volume.region", SERVICE, "europe-west4", {"template.volumes[0].gcs.bucket": "afar"}),
    Case("run.secret.version", JOB, "versions/7", {f"{_TC}.envs[1].valueSource.secretKeyRef.version": "7"}),
    Case(
        "run.secret.access",
        SERVICE,
        "Secret Accessor",
        spoil=unbound(f"secretmanager.googleapis.com/{SECRET}", "roles/secretmanager.secretAccessor"),
    ),
]
