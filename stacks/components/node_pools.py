"""Node pools of the cluster: one without TPUs, and one of TPU slices for each deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pulumi
from pulumi_gcp import container

from stacks.plan.types_gke import CpuPoolPlan, TpuPoolPlan

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
"""All of Google's APIs: what nodes may do there is their account's roles' to say."""
_FIRST_NODES: Final = ("initialNodeCount",)
"""It counts once, when the pool is made; a change would make the pool anew, and the limits say the rest."""


def cpu_pool(
    name: str,
    plan: CpuPoolPlan,
    cluster: container.Cluster,
    account: pulumi.Input[str],
    parent: pulumi.Resource,
) -> container.NodePool:
    """Make the pool for weights jobs and for what the cluster itself runs.

    Args:
        name: logical name of the resource.
        plan: machine, limits, zones.
        cluster: where the pool belongs.
        account: whom its nodes run as.
        parent: the component that the pool belongs to.
    """
    return container.NodePool(
        name,
        name=plan.name,
        cluster=cluster.id,
        node_locations=list(plan.zones),
        initial_node_count=1,
        autoscaling={
            "total_min_node_count": plan.min_nodes,
            "total_max_node_count": plan.max_nodes,
            "location_policy": "BALANCED",
        },
        management={"auto_repair": True, "auto_upgrade": True},
        upgrade_settings={"max_surge": 1, "max_unavailable": 0},
        node_config=container.NodePoolNodeConfigArgs(
            machine_type=plan.machine_type,
            disk_type=plan.disk_type,
            disk_size_gb=plan.disk_gb,
            resource_labels=plan.resource_labels,
            **_safe(account),
        ),
        opts=pulumi.ResourceOptions(parent=parent, ignore_changes=list(_FIRST_NODES)),
    )


def tpu_pool(
    name: str,
    plan: TpuPoolPlan,
    cluster: container.Cluster,
    account: pulumi.Input[str],
    parent: pulumi.Resource,
    after: Sequence[pulumi.Resource],
) -> container.NodePool:
    """Make the pool of a deployment's slices.

    A slice on one host needs no placement policy, and GKE refuses one; hosts of a larger slice are placed by
    its topology. No node is made beside the others for an upgrade: that would take a slice nobody has.

    Args:
        name: logical name of the resource.
        plan: machine, topology, limits, and how the nodes are had.
        cluster: where the pool belongs.
        account: whom its nodes run as.
        parent: the component that the pool belongs to.
        after: what must be there first.
    """
    placement = None
    if plan.placement_topology is not None:
        placement = container.NodePoolPlacementPolicyArgs(
            type="COMPACT", tpu_topology=plan.placement_topology
        )
    return container.NodePool(
        name,
        name=plan.name,
        cluster=cluster.id,
        node_locations=[plan.zone],
        initial_node_count=plan.min_nodes,
        autoscaling={
            "min_node_count": plan.min_nodes,
            "max_node_count": plan.max_nodes,
            "location_policy": "ANY" if plan.spot or plan.flex_start else "BALANCED",
        },
        placement_policy=placement,
        # Flex-start nodes are never repaired, and are upgraded by being made anew
        # (cloud.google.com/kubernetes-engine/docs/concepts/dws).
        management={"auto_repair": not plan.flex_start, "auto_upgrade": True},
        upgrade_settings=_upgrades(plan),
        node_config=container.NodePoolNodeConfigArgs(
            machine_type=plan.machine_type,
            disk_type=plan.disk_type,
            disk_size_gb=plan.disk_gb,
            spot=plan.spot,
            flex_start=True if plan.flex_start else None,
            max_run_duration=None if plan.max_run_seconds is None else f"{plan.max_run_seconds}s",
            reservation_affinity=_reservation(plan),
            resource_labels=plan.resource_labels,
            **_safe(account),
        ),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(after), ignore_changes=list(_FIRST_NODES)),
    )


def _safe(account: pulumi.Input[str]) -> dict[str, Any]:
    """What all nodes have: an account of their own, pods' identities, verified boot."""
    return {
        "service_account": account,
        "oauth_scopes": list(_SCOPES),
        "workload_metadata_config": {"mode": "GKE_METADATA"},
        "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
    }


def _upgrades(plan: TpuPoolPlan) -> container.NodePoolUpgradeSettingsArgs:
    if plan.flex_start:
        return container.NodePoolUpgradeSettingsArgs(strategy="SHORT_LIVED")
    return container.NodePoolUpgradeSettingsArgs(strategy="SURGE", max_surge=0, max_unavailable=1)


def _reservation(plan: TpuPoolPlan) -> container.NodePoolNodeConfigReservationAffinityArgs | None:
    if plan.reservation is not None:
        return container.NodePoolNodeConfigReservationAffinityArgs(
            consume_reservation_type="SPECIFIC_RESERVATION",
            key="compute.googleapis.com/reservation-name",
            values=[plan.reservation],
        )
    if not plan.flex_start:
        return None
    return container.NodePoolNodeConfigReservationAffinityArgs(consume_reservation_type="NO_RESERVATION")
