"""The nodes that a node pool has, and the addresses of a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.cluster.machines import chips_of, machine
from rehearsal.cluster.node_pools import UnknownMachineError, pool_nodes


def pool(**more: Any) -> dict[str, Any]:
    """A pool of a TPU machine."""
    return {"name": "tpu", "nodeConfig": {"machineType": "ct5lp-hightpu-8t"}, **more}


def test_a_tpu_machine_has_its_chips_its_labels_and_its_taint() -> None:
    (node,) = pool_nodes("llm", "us-central1-a", pool())
    assert (node.capacity["google.com/tpu"], node.allocatable["google.com/tpu"]) == ("8", "8")
    assert node.labels["cloud.google.com/gke-tpu-accelerator"] == "tpu-v5-lite-podslice"
    assert node.labels["cloud.google.com/gke-tpu-topology"] == "2x4"
    assert node.labels["cloud.google.com/gke-nodepool"] == "tpu"
    assert node.labels["topology.kubernetes.io/zone"] == "us-central1-a"
    assert node.taints == [{"key": "google.com/tpu", "value": "present", "effect": "NoSchedule"}]


def test_a_slice_of_several_machines_has_the_topology_that_is_asked_for() -> None:
    config = {"machineType": "ct5lp-hightpu-4t"}
    nodes = pool_nodes(
        "llm",
        "us-central1-a",
        pool(nodeConfig=config, placementPolicy={"type": "COMPACT", "tpuTopology": "2x4"}, nodeCount=2),
    )
    assert [node.labels["cloud.google.com/gke-tpu-topology"] for node in nodes] == ["2x4", "2x4"]
    assert len({node.name for node in nodes}) == 2


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 3),
        ({"nodeLocations": ["us-central1-a"]}, 1),
        ({"nodeLocations": ["us-central1-a"], "nodeCount": 2}, 2),
        ({"nodeLocations": ["us-central1-a"], "autoscaling": {"minNodeCount": 0, "maxNodeCount": 4}}, 4),
        ({"autoscaling": {"totalMinNodeCount": 0, "totalMaxNodeCount": 4}}, 4),
    ],
)
def test_the_nodes_of_a_regional_pool_are_counted_as_google_does(given: dict[str, Any], count: int) -> None:
    assert len(pool_nodes("llm", "us-central1", pool(**given))) == count


def test_what_pods_can_use_is_less_than_the_machine_has() -> None:
    found = machine("e2-standard-4")
    assert found is not None
    assert (round(found.allocatable_cpu, 2), round(found.allocatable_memory, 1)) == (3.92, 13.3)
    shared = machine("e2-medium")
    assert shared is not None
    assert round(shared.allocatable_cpu, 2) == 0.94


def test_a_machine_that_is_not_known_is_named() -> None:
    with pytest.raises(UnknownMachineError, match="machine type z9-huge is not known here"):
        pool_nodes("llm", "us-central1", pool(nodeConfig={"machineType": "z9-huge"}))
    with pytest.raises(ValueError, match="'2by4' is no TPU topology"):
        chips_of("2by4")
