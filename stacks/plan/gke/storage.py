"""How weights come into a server's container: the bucket itself by GCS FUSE, or a disk that a job has filled.

Mount: the driver's side container reads ahead into a cache in the host's memory, since a start reads every
byte once (cloud.google.com/kubernetes-engine/docs/how-to/cloud-storage-fuse-csi-driver-perf).

Disk: a job on a node without TPUs copies the staged model from the mounted bucket and verifies it against its
manifest. A disk that can be written is attached to one node alone. For more readers, and for machines that
take no persistent disk, a snapshot of it becomes Hyperdisk ML, which any number of nodes reads.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from stacks.plan import naming
from stacks.plan.gke.host import FUSE_OVERHEAD
from stacks.plan.gke.jobs import job
from stacks.plan.gke.manifests import Manifest, image_address, metadata
from stacks.plan.gke.server import MOUNT_PATH
from stacks.plan.quantity import GIB
from stacks.plan.types_gke import DiskPlan, KubernetesObject, Stage, TpuPoolPlan
from stacks.plan.types_weights import StagedModelPlan

if TYPE_CHECKING:
    from stacks.plan.cloud_run import Setting
    from stacks.plan.gke.workload import Workload

FUSE_DRIVER: Final = "gcsfuse.csi.storage.gke.io"
FUSE_ANNOTATION: Final = "gke-gcsfuse/volumes"
"""Without it the driver adds no side container, and the pod never starts."""
DISK_DRIVER: Final = "pd.csi.storage.gke.io"
VOLUME: Final = "models"
_CACHE_VOLUME: Final = "gke-gcsfuse-cache"
_ZONE_LABEL: Final = "topology.gke.io/zone"

# Objects are never written over once they are staged, so what is known of them stays true.
_MOUNT_OPTIONS = "implicit-dirs,file-cache:enable-parallel-downloads:true"
_DISK_PERCENT = 115
"""Room for the file system beside the weights. Assumed."""
_LEAST_DISK_GB = 10
_GB = 1_000_000_000
_COPY_SECONDS = 3600
_USER = 65532
"""The user that the weights image runs as."""


def fuse_annotations(cache: int) -> dict[str, str]:
    """Gives the annotations of a pod that mounts a bucket.

    On a node that the pod has for itself, limits would only slow reading: "0" is none, which Standard
    clusters take.

    Args:
        cache: bytes of the cache in memory; 0 for none.
    """
    return {
        FUSE_ANNOTATION: "true",
        "gke-gcsfuse/cpu-limit": "0",
        "gke-gcsfuse/memory-limit": "0",
        "gke-gcsfuse/ephemeral-storage-limit": "0",
        "gke-gcsfuse/cpu-request": "500m",
        "gke-gcsfuse/memory-request": f"{(cache + FUSE_OVERHEAD) // GIB}Gi" if cache else "256Mi",
        "gke-gcsfuse/ephemeral-storage-request": "1Gi",
    }


def mounted_bucket(bucket: str, cache: int) -> list[Manifest]:
    """Writes the volumes of a pod that mounts a bucket, read-only."""
    attributes = {"bucketName": bucket, "mountOptions": "implicit-dirs", "metadataCacheTTLSeconds": "-1"}
    volumes: list[Manifest] = []
    if cache:
        size = f"{cache // GIB}Gi"
        attributes |= {
            "mountOptions": _MOUNT_OPTIONS,
            "fileCacheCapacity": size,
            "fileCacheForRangeRead": "true",
        }
        volumes.append({"name": _CACHE_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    csi = {"driver": FUSE_DRIVER, "readOnly": True, "volumeAttributes": attributes}
    return [{"name": VOLUME, "csi": csi}, *volumes]


def claimed_disk(claim: str) -> list[Manifest]:
    """Writes the volume of a pod that reads a disk."""
    return [{"name": VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}]


def plan_disk(
    deployment: str,
    staged: StagedModelPlan,
    pool: TpuPoolPlan,
    weights_bytes: int,
    replicas: int,
    setting: Setting,
) -> DiskPlan:
    """Plans the disks of a deployment.

    Args:
        deployment: its name.
        staged: what lies on them; their names follow from it.
        pool: the nodes that read them, in one zone.
        weights_bytes: how much that is.
        replicas: most nodes that read at once, those of an update included.
        setting: what the deployment is planned in.
    """
    # A disk cannot move: in another zone it is another disk, which is filled before the old one goes.
    content = hashlib.sha256(f"{staged.uri} {pool.zone}".encode()).hexdigest()[:8]
    name = naming.disk_name(setting.stack, deployment, content)
    alone = replicas == 1 and "pd-balanced" in _persistent(pool)
    return DiskPlan(
        content=content,
        name=name,
        type="pd-balanced",
        size_gb=max(math.ceil(weights_bytes * _DISK_PERCENT / 100 / _GB), _LEAST_DISK_GB),
        zone=pool.zone,
        snapshot_name=None if alone else name,
        copy_name=None if alone else naming.disk_name(setting.stack, deployment, f"{content}-ml"),
        copy_type=None if alone else "hyperdisk-ml",
        labels=setting.foundation.labels,
    )


def claim_name(disk: DiskPlan) -> str:
    """Names the claim that servers read by; the first disk's where there is no second."""
    return disk.copy_name or disk.name


def disk_objects(work: Workload, disk: DiskPlan) -> Iterator[KubernetesObject]:
    """Writes volumes and claims of the disks, and the job that fills the first."""
    yield from _bound(work, disk, disk.name, "fill", "ReadWriteOnce")
    yield KubernetesObject(
        "fill-job",
        "fill",
        _fill_job(work, disk),
        {work.weights_image.name: image_address(work.weights_image)},
    )
    if disk.copy_name is not None:
        yield from _bound(work, disk, disk.copy_name, "serve", "ReadOnlyMany")


def _persistent(pool: TpuPoolPlan) -> tuple[str, ...]:
    """Disks that a pool's machines take beside their boot disk: of the same kinds as that."""
    return ("pd-balanced", "pd-ssd") if pool.disk_type.startswith("pd-") else ()


def _bound(work: Workload, disk: DiskPlan, name: str, use: str, mode: str) -> Iterator[KubernetesObject]:
    """Writes the volume of a disk that exists, and the claim that nothing else can bind."""
    read_only = mode == "ReadOnlyMany"
    handle = f"projects/{work.project}/zones/{disk.zone}/disks/{name}"
    zone = {"key": _ZONE_LABEL, "operator": "In", "values": [disk.zone]}
    capacity = {"storage": f"{disk.size_gb}G"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        # Volumes have no namespace, so the name is the disk's, which no other stack has.
        "metadata": metadata(name, None, work.labels),
        "spec": {
            "capacity": capacity,
            "accessModes": [mode],
            # The disk is a resource of its own: letting go of the claim must not delete it.
            "persistentVolumeReclaimPolicy": "Retain",
            # No storage class: an empty one the API server drops, and each deployment would set it again.
            "claimRef": {"namespace": work.namespace, "name": name},
            "csi": {
                "driver": DISK_DRIVER,
                "volumeHandle": handle,
                "fsType": "ext4",
                **({"readOnly": True} if read_only else {}),
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(name, work.namespace, work.labels),
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": capacity},
        },
    }
    stage: Stage = "serve" if read_only else "fill"
    yield KubernetesObject(f"{use}-volume", stage, volume, {})
    yield KubernetesObject(f"{use}-claim", stage, claim, {})


def _fill_job(work: Workload, disk: DiskPlan) -> Manifest:
    """Writes the job: its name follows from what it copies, so that it runs once for each content.

    It ends when the copy was compared with its manifest.
    """
    folder = work.staged.prefix.rstrip("/")
    image = image_address(work.weights_image)
    locked = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    small = {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
    bucket, target = (
        {"name": VOLUME, "mountPath": "/staged", "readOnly": True},
        {"name": "disk", "mountPath": MOUNT_PATH},
    )
    copy = f"mkdir -p '{MOUNT_PATH}/{folder}' && cp -R '/staged/{folder}/.' '{MOUNT_PATH}/{folder}/' && sync"
    pod = {
        "serviceAccountName": work.server_identity.kubernetes_account,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            {
                "name": "copy",
                "image": image,
                "command": ["sh", "-c", copy],
                "resources": small,
                "securityContext": locked,
                "volumeMounts": [bucket, target],
            }
        ],
        "containers": [
            {
                "name": "verify",
                "image": image,
                "args": ["verify", f"{MOUNT_PATH}/{folder}"],
                "resources": small,
                "securityContext": locked,
                "volumeMounts": [target],
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
        "volumes": [
            *mounted_bucket(work.staged.bucket, 0),
            {"name": "disk", "persistentVolumeClaim": {"claimName": disk.name}},
        ],
    }
    return job(
        work,
        f"fill-{disk.content}",
        "fill",
        pod,
        fuse_annotations(0),
        retries=3,
        seconds=max(_COPY_SECONDS, 4 * work.server.load_seconds),
    )
