"""The Deployment of a server: one pod for each slice, with the whole host for itself."""

from __future__ import annotations

from typing import Final

from stacks.plan.gke.host import cache_bytes, server_bytes
from stacks.plan.gke.manifests import Manifest, metadata
from stacks.plan.gke.server import DRAIN_SECONDS, GRACE_SECONDS, probes
from stacks.plan.gke.slices import RESOURCE
from stacks.plan.gke.storage import (
    VOLUME,
    claim_name,
    claimed_disk,
    fuse_annotations,
    mounted_bucket,
)
from stacks.plan.gke.workload import Workload
from stacks.plan.hardware import tpu_machines
from stacks.plan.quantity import GIB

SERVER: Final = "server"
HTTP: Final = "http"
_SHARED_MEMORY_GIB = 4
_CPU_SHARE = 2
"""The server asks for one CPU in so many of its host's; nothing else of weight runs there."""


def deployment(work: Workload) -> Manifest:
    """Writes the Deployment.

    Without a spare slice an update has to take a pod away before another finds room. The replicas are left
    out where the server's load decides on them: an update would set them back.
    """
    scaling = work.config.scaling
    scaled = scaling.most > scaling.min
    cache = cache_bytes(work.weights_bytes)
    annotations = fuse_annotations(cache) if work.disk is None else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(SERVER, work.namespace, work.labels),
        "spec": {
            **({} if scaled else {"replicas": scaling.min}),
            "selector": {"matchLabels": work.selector},
            "progressDeadlineSeconds": work.ready_seconds,
            "revisionHistoryLimit": 3,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": scaling.surge,
                    "maxUnavailable": 0 if scaling.surge else 1,
                },
            },
            "template": {
                "metadata": {
                    "labels": {**work.labels, **work.selector},
                    **({"annotations": annotations} if annotations else {}),
                },
                "spec": _pod(work, cache),
            },
        },
    }


def _pod(work: Workload, cache: int) -> Manifest:
    disk = work.disk
    volumes = claimed_disk(claim_name(disk)) if disk else mounted_bucket(work.staged.bucket, cache)
    shared = work.server.api == "openai"
    if shared:
        memory = {"medium": "Memory", "sizeLimit": f"{_SHARED_MEMORY_GIB}Gi"}
        volumes.append({"name": "shared-memory", "emptyDir": memory})
    return {
        "serviceAccountName": work.server_identity.kubernetes_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": dict(work.pool.node_labels),
        "tolerations": [
            {"key": work.pool.taint_key, "operator": "Equal", "value": "present", "effect": "NoSchedule"}
        ],
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_server(work, shared), *([_http(work)] if work.server.http_image else [])],
        "volumes": volumes,
    }


def _server(work: Workload, shared: bool) -> Manifest:
    server, machine = work.server, tpu_machines()[work.pool.machine_type]
    chips = str(work.pool.chips_per_node)
    mounts = [{"name": VOLUME, "mountPath": server.mount_path, "readOnly": True}]
    if shared:
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - the container's own
    return {
        "name": SERVER,
        "image": server.image,
        **({"command": list(server.command)} if server.command else {}),
        "args": list(server.args),
        **({"env": _offline()} if shared else {}),
        "ports": _ports(work),
        "resources": {
            # Chips cannot be shared, so a pod has all of its host's; CPU and memory are then nobody else's.
            "requests": {
                "cpu": str(machine.cpus // _CPU_SHARE),
                "memory": f"{server_bytes(work.weights_bytes) // GIB}Gi",
                RESOURCE: chips,
            },
            "limits": {RESOURCE: chips},
        },
        **probes(server),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _offline() -> list[Manifest]:
    """All that vLLM needs is in the mounted folder: it asks nobody, and tells nobody."""
    values = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    return [{"name": name, "value": value} for name, value in values.items()]


def _ports(work: Workload) -> list[Manifest]:
    server = work.server
    ports = {"grpc": server.grpc_port} if server.grpc_port else {}
    if server.http_image is None:
        ports["http"] = server.http_port
    if server.metrics_port and server.metrics_port != server.http_port:
        ports["metrics"] = server.metrics_port
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]


def _http(work: Workload) -> Manifest:
    """Writes JetStream's HTTP front, which asks the server in the same pod.

    Its own health is that it answers at all; whether the server does, the server's probes ask.
    """
    server = work.server
    alive = {"httpGet": {"path": "/", "port": server.http_port}, "periodSeconds": 30, "timeoutSeconds": 10}
    return {
        "name": HTTP,
        "image": server.http_image,
        "ports": [{"name": "http", "containerPort": server.http_port, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "livenessProbe": {**alive, "failureThreshold": 10},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
