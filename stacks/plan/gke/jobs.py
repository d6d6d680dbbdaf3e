"""The Jobs of a deployment's plan: each runs once for what it makes, on a node without TPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks.plan.gke.manifests import NAME, Manifest, metadata

if TYPE_CHECKING:
    from stacks.plan.gke.workload import Workload


def job(
    work: Workload,
    name: str,
    part: str,
    pod: Manifest,
    annotations: dict[str, str],
    *,
    retries: int,
    seconds: int,
) -> Manifest:
    """Writes a Job.

    No TTL removes it: a Job that vanished would be made, and would run, again.

    Args:
        work: the deployment.
        name: its own; it has to follow from what the Job makes.
        part: what its pods are labelled as, by which network policies know them.
        pod: what is its pods' own, without node and account tokens.
        annotations: its pods'.
        retries: how many pods may fail.
        seconds: how long it may take, with all its pods.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(name, work.namespace, work.labels),
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": retries,
            "activeDeadlineSeconds": seconds,
            "template": {
                "metadata": {"labels": {**work.labels, NAME: part}, "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "nodeSelector": dict(work.cpu_nodes),
                    **pod,
                },
            },
        },
    }
