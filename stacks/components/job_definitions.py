"""What a weights job runs, where its platform keeps no definition: as our own provider takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from stacks.plan.types_weights import WeightsJobPlan


def vertex_definition(
    plan: WeightsJobPlan, image: pulumi.Input[str], account: pulumi.Input[str]
) -> dict[str, Any]:
    """What a custom job runs, in the names of the provider's `VertexDefinition`.

    Args:
        plan: the job.
        image: reference of the weights image, by digest.
        account: e-mail address of whom it runs as.
    """
    machine = plan.vertex
    if machine is None:
        raise ValueError(f"{plan.job_name}: a custom job needs a machine")
    return {
        **_definition(plan, image, account),
        "machineType": machine.machine_type,
        "bootDiskGb": machine.boot_disk_gb,
        "bootDiskType": machine.boot_disk_type,
    }


def kubernetes_definition(
    plan: WeightsJobPlan, image: pulumi.Input[str], access: pulumi.Input[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a Job in a cluster runs, in the names of the provider's `KubernetesDefinition`.

    Args:
        plan: the job.
        image: reference of the weights image, by digest.
        access: how to reach the cluster.
    """
    place = plan.kubernetes
    if place is None:
        raise ValueError(f"{plan.job_name}: a job in a cluster needs a place in it")
    return {
        **_definition(plan, image, place.service_account),
        "cluster": access,
        "cpu": plan.cpu,
        "memory": plan.memory,
        "maxRetries": plan.max_retries,
        "nodeSelector": dict(place.node_selector),
    }


def _definition(plan: WeightsJobPlan, image: pulumi.Input[str], account: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "image": image,
        "args": list(plan.args),
        "env": dict(plan.env),
        "serviceAccount": account,
        "timeoutSeconds": plan.task_timeout_seconds,
        "labels": dict(plan.labels),
    }
