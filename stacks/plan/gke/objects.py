"""All Kubernetes objects of a deployment, in an order in which they can be made.

They are plain mappings and hold nothing that is known only later but the digests of images that the stack
builds: in a first preview the cluster is not there, so the plan's own checks look at them, not the cluster's.
"""

from __future__ import annotations

from collections.abc import Iterator

from stacks.plan.gke import network, pods, scaling
from stacks.plan.gke.converter import converter_job
from stacks.plan.gke.identity import account_annotations
from stacks.plan.gke.manifests import Manifest, metadata
from stacks.plan.gke.storage import disk_objects
from stacks.plan.gke.workload import Workload
from stacks.plan.types_gke import IdentityPlan, KubernetesObject, Stage

_POD_SECURITY = {
    # The servers' images are others' and run as root, with no privilege that this forbids.
    "pod-security.kubernetes.io/enforce": "baseline",
    "pod-security.kubernetes.io/warn": "restricted",
}


def objects(work: Workload) -> tuple[KubernetesObject, ...]:
    """Writes the objects."""
    return tuple(_objects(work))


def _objects(work: Workload) -> Iterator[KubernetesObject]:
    yield _object("namespace", "base", _namespace(work))
    yield _object("server-account", "base", _account(work, work.server_identity))
    if work.weights_identity is not None:
        yield _object("weights-account", "base", _account(work, work.weights_identity))
    if work.converter is not None:
        yield _object("converter-account", "base", _account(work, work.converter.identity))
    yield from network.policies(work)
    if work.converter is not None:
        yield _object("converter-job", "fill", converter_job(work, work.converter))
    if work.disk is not None:
        yield from disk_objects(work, work.disk)
    yield _object("deployment", "serve", pods.deployment(work))
    yield _object("service", "serve", network.service(work))
    yield _object("disruption-budget", "serve", scaling.disruption_budget(work))
    for name, manifest in (
        ("monitoring", scaling.monitoring(work)),
        ("autoscaler", scaling.autoscaler(work)),
    ):
        if manifest is not None:
            yield _object(name, "serve", manifest)
    yield from network.gateway(work)


def _object(name: str, stage: Stage, manifest: Manifest) -> KubernetesObject:
    return KubernetesObject(name, stage, manifest, {})


def _namespace(work: Workload) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata(work.namespace, None, {**work.labels, **_POD_SECURITY}),
    }


def _account(work: Workload, identity: IdentityPlan) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(
            identity.kubernetes_account, work.namespace, work.labels, account_annotations(identity)
        ),
        "automountServiceAccountToken": False,
    }
