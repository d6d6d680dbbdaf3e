"""Disks that hold a deployment's weights; the jobs and claims that use them are Kubernetes objects."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_gcp import compute

from stacks.components.foundation import Foundation
from stacks.plan.types_gke import DiskPlan


def weights_disk(name: str, plan: DiskPlan, foundation: Foundation, parent: pulumi.Resource) -> compute.Disk:
    """Make the disk that a job fills.

    Args:
        name: begins the logical names of the resources.
        plan: the disks.
        foundation: has the API that must be enabled first.
        parent: the component that the disk belongs to.
    """
    return compute.Disk(
        f"{name}-disk",
        name=plan.name,
        type=plan.type,
        size=plan.size_gb,
        zone=plan.zone,
        labels=plan.labels,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=foundation.api("compute")),
    )


def readers_disk(
    name: str,
    plan: DiskPlan,
    filled: compute.Disk,
    after: Sequence[pulumi.Resource],
    parent: pulumi.Resource,
) -> list[pulumi.Resource]:
    """Make a second disk that any number of nodes reads, from a snapshot of the first; none if one will do.

    Args:
        name: begins the logical names of the resources.
        plan: the disks.
        filled: the first one.
        after: the job that fills it.
        parent: the component that the disks belong to.
    """
    if plan.snapshot_name is None or plan.copy_name is None:
        return []
    snapshot = compute.Snapshot(
        f"{name}-snapshot",
        name=plan.snapshot_name,
        source_disk=filled.id,
        zone=plan.zone,
        labels=plan.labels,
        # Its name follows from what it holds: a disk made anew with the same content needs no other one.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(after)),
    )
    copy = compute.Disk(
        f"{name}-disk-copy",
        name=plan.copy_name,
        type=plan.copy_type,
        snapshot=snapshot.id,
        access_mode="READ_ONLY_MANY",
        size=plan.size_gb,
        zone=plan.zone,
        labels=plan.labels,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return [copy]
