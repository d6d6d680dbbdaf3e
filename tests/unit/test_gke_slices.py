"""Which TPU slices a plan makes, and which it refuses with the arithmetic."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from stacks.config_gke import Tpu, TpuScaling
from stacks.plan.gke.slices import (
    ACCELERATOR_LABEL,
    POOL_LABEL,
    TOPOLOGY_LABEL,
    choose_zone,
    pool,
    wanted_slices,
)
from stacks.plan.hardware import TpuSlice, chips_of, tpu_machines, tpu_slices, tpu_topologies, zones
from stacks.plan.report import Report
from stacks.plan.rules import clusters
from tests.unit.config_sources import plan
from tests.unit.gke_stacks import llama, refusals, stack

GENERATIONS = ("v5e", "v6e")
SLICES = [part for generation in GENERATIONS for part in tpu_slices(generation)]
COMBINATIONS = [
    (generation, machine, topology)
    for generation, machine in itertools.product(GENERATIONS, tpu_machines())
    for topology in tpu_topologies(generation)
]


def name(part: TpuSlice) -> str:
    return f"{part.accelerator} {part.topology} {part.machine}"


@pytest.mark.parametrize("part", SLICES, ids=name)
def test_a_pool_makes_just_its_topology(part: TpuSlice) -> None:
    made = pool("a", part, Tpu(), TpuScaling(min=2, max=3, surge=1), "us-west4-a", {})
    assert made.chips_per_node * made.hosts == chips_of(part.topology) == made.chips
    assert made.placement_topology == (part.topology if part.hosts > 1 else None)
    assert (made.min_nodes, made.max_nodes) == ((0, part.hosts) if part.hosts > 1 else (2, 4))
    machine = tpu_machines()[part.machine]
    assert made.disk_type in machine.boot_disks
    assert made.node_labels == {
        ACCELERATOR_LABEL: machine.gke_label,
        TOPOLOGY_LABEL: part.topology,
        POOL_LABEL: "tpu-a",
    }


@pytest.mark.parametrize(("generation", "machine", "topology"), COMBINATIONS)
def test_every_combination_is_one_slice_on_one_host_or_refused_with_a_remedy(
    generation: str, machine: str, topology: str
) -> None:
    report = Report()
    wanted = Tpu.model_validate({"accelerator": generation, "machine": machine, "topology": topology})
    found = wanted_slices(wanted, "jetstream", "p", report)
    right = tpu_machines()[machine]
    alone = right.accelerator == generation and right.single_host_topology == topology
    assert [(part.machine, part.topology, part.hosts) for part in found] == (
        [(machine, topology, 1)] if alone else []
    )
    assert bool(report.problems) != alone
    for problem in report.problems:
        assert problem.path == "p.tpu.machine"
        assert right.accelerator != generation or "chip" in problem.reason
        assert problem.remedy


def test_the_original_pool_is_refused_with_its_arithmetic(tmp_path: Path) -> None:
    found = refusals(tmp_path, tpu={"machine": "ct5lp-hightpu-4t", "topology": "2x4"}, scaling={"min": 2})
    assert found == {
        "tpu.machine": "2x4 is 8 chips = 2 hosts of 4 chips: a multi-host slice, whose pods get 4 "
        "chips each and none 8; jetstream runs on one host; use ct5lp-hightpu-8t: one host of 8 chips, and "
        "pods get all 8"
    }


def test_two_replicas_are_two_slices_and_the_plan_says_how_many_chips(tmp_path: Path) -> None:
    found = llama(tmp_path, tpu={"machine": "ct5lp-hightpu-8t", "topology": "2x4"}, scaling={"min": 2})
    assert (found.pool.min_nodes, found.pool.max_nodes, found.pool.chips, found.pool.hosts) == (2, 2, 8, 1)


def test_a_slice_that_nobody_chose_is_the_smallest_that_holds_the_model(tmp_path: Path) -> None:
    assert llama(tmp_path).pool.machine_type == "ct5lp-hightpu-8t"
    assert llama(tmp_path, server={"batchSize": 8}).pool.machine_type == "ct5lp-hightpu-4t"
    assert llama(tmp_path, model="google/gemma-2b").pool.machine_type == "ct5lp-hightpu-1t"


def test_a_slice_that_is_too_small_is_refused_with_the_sum_and_one_that_does(tmp_path: Path) -> None:
    found = refusals(tmp_path, tpu={"topology": "1x1"})["tpu.topology"]
    assert "weights 12.55 GiB + cache 64.00 GiB" in found
    assert "1x1 is 1 chip = 1 host of 1 chip" in found
    assert "use v5e 2x4, 1 × ct5lp-hightpu-8t (one host) in bfloat16" in found


def test_capacity_decides_on_the_nodes(tmp_path: Path) -> None:
    spot = llama(tmp_path, tpu={"capacity": "spot"}).pool
    assert (spot.spot, spot.flex_start, spot.max_run_seconds) == (True, False, None)
    flex = llama(tmp_path, tpu={"capacity": "flex-start", "maxRunHours": 24}).pool
    assert (flex.spot, flex.flex_start, flex.max_run_seconds, flex.min_nodes) == (False, True, 86400, 0)
    reserved = llama(tmp_path, tpu={"capacity": "reservation", "reservation": "ours"}).pool
    assert (reserved.reservation, reserved.spot, reserved.flex_start) == ("ours", False, False)


def test_the_zone_of_a_reservation_is_warned_of_where_the_region_has_several() -> None:
    wanted, report = Tpu(capacity="reservation", reservation="ours"), Report()
    assert choose_zone(wanted, None, "us-west1", "p", report) == "us-west1-c"
    assert choose_zone(wanted, "us-east5-b", "us-east5", "p", report) == "us-east5-b"
    assert report.warnings == []
    assert choose_zone(wanted, None, "us-east5", "p", report) == "us-east5-a"
    assert report.problems == []
    assert report.warnings == [
        "p.tpu.zone: reservation ours is taken to be in us-east5-a; no node comes if it is in another of "
        "us-east5-a, us-east5-b, us-east5-c: write its zone"
    ]


def test_chips_that_share_sequences_have_a_part_of_the_cache_each(tmp_path: Path) -> None:
    given = {"model": "google/gemma-2b", "tpu": {"topology": "2x4"}}
    heads = llama(tmp_path, **given, server={"batchSize": 64})
    sequences = llama(tmp_path, **given, server={"batchSize": 64, "shardOnBatch": True})
    (weights, whole), (same, part) = heads.sizing.lines, sequences.sizing.lines
    assert weights == same
    assert whole.bytes == 8 * part.bytes, (
        "the model has one head with keys and values, which is in every chip"
    )


@pytest.mark.parametrize(
    ("least", "most", "right"), [(0, 2, True), (2, 2, True), (1, 2, False), (2, 3, False)]
)
def test_a_slice_on_several_hosts_is_there_whole_or_not_at_all(
    least: int, most: int, right: bool, tmp_path: Path
) -> None:
    whole, report = plan(stack(), tmp_path), Report()
    found = whole.on_tpu["llama"]
    part = next(one for one in tpu_slices("v5e") if one.hosts == 2)
    several = pool("llama", part, Tpu(), TpuScaling(), "us-west1-c", {})
    several = dataclasses.replace(several, min_nodes=least, max_nodes=most)
    deployments = {"llama": dataclasses.replace(found, pool=several)}
    clusters.limits(dataclasses.replace(whole, deployments=deployments), report)
    assert [each.reason for each in report.problems] == (
        [] if right else ["is not the size of a slice 2x4, which is there whole or not at all"]
    )


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_zone_is_one_that_has_the_chips_as_far_as_is_known(generation: str) -> None:
    known = zones(generation)
    assert known is not None
    for zone in known.value:
        report = Report()
        region = zone.rpartition("-")[0]
        wanted = Tpu.model_validate({"accelerator": generation})
        assert choose_zone(wanted, zone, region, "p", report) == zone
        assert choose_zone(wanted, None, region, "p", report) in known.value
        assert (report.problems, report.warnings) == ([], [])


def test_a_zone_without_known_chips_is_warned_of_and_one_elsewhere_refused() -> None:
    report = Report()
    assert choose_zone(Tpu(zone="us-west4-c"), None, "us-west4", "p", report) == "us-west4-c"
    assert "us-west4-c is not known to have v5e (unconfirmed)" in report.warnings[0]
    choose_zone(Tpu(zone="us-central1-a"), None, "us-west4", "p", report)
    choose_zone(Tpu(), None, "me-west1", "p", report)
    assert [problem.path for problem in report.problems] == ["p.tpu.zone", "p.tpu.zone"]
    assert "no zone of me-west1 is known to have v5e" in report.problems[1].reason


def test_a_pool_whose_machines_and_placement_do_not_agree_is_told_of_both(tmp_path: Path) -> None:
    whole, report = plan(stack(weights={"volume": "disk"}, scaling={"min": 2}), tmp_path), Report()
    found = whole.on_tpu["llama"]
    assert found.disk
    wrong = dataclasses.replace(
        found,
        pool=dataclasses.replace(found.pool, hosts=2),
        disk=dataclasses.replace(found.disk, copy_type="pd-balanced"),
    )
    broken = dataclasses.replace(whole, deployments={"llama": wrong})
    clusters.slices(broken, report)
    clusters.disks(broken, report)
    assert [each.reason for each in report.problems] == [
        "is 8 chips, and 2 × ct5lp-hightpu-8t of 8 have 16",
        "is no placement policy's topology: it is required for a slice on several hosts, refused for one "
        "host",
        "is no type of disk that many nodes read",
    ]
