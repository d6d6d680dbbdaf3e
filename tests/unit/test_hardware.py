"""The tables of machines, accelerators, zones and engines agree with each other and name their sources."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stacks.plan import hardware
from stacks.plan.catalog import catalog
from stacks.plan.contracts import weights_contract
from stacks.plan.facts import DATA, Fact, Memory, Sourced
from stacks.plan.gke.facts import servers
from stacks.plan.images import SERVE_IMAGES
from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import GIB

SOURCED: dict[str, Sourced] = {
    **hardware.compute_machines(),
    **hardware.accelerators(),
    **hardware.tpu_chips(),
    **hardware.tpu_machines(),
    **hardware.engines(),
}
GENERATIONS = sorted(hardware.tpu_chips())


@pytest.mark.parametrize("name", SOURCED)
def test_everything_has_a_source_and_a_certainty(name: str) -> None:
    assert SOURCED[name].source
    assert SOURCED[name].certainty in ("C", "D", "U")
    assert SOURCED[name].confirmed == (SOURCED[name].certainty != "U")
    price = getattr(SOURCED[name], "hourly_usd", None)
    if price is not None:
        assert price.value > 0
        assert price.source


def bare_values(node: Any, path: str = "") -> Iterator[str]:
    """Paths of mappings that have a value and lack its source or certainty."""
    if isinstance(node, dict):
        if "value" in node and not {"source", "certainty"} <= set(node):
            yield path
        for key, inner in node.items():
            yield from bare_values(inner, f"{path}.{key}")


@pytest.mark.parametrize("file", sorted(DATA.glob("*.yaml")), ids=lambda file: file.stem)
def test_no_fact_in_a_table_is_without_source(file: Any) -> None:
    assert list(bare_values(yaml.safe_load(file.read_text(encoding="utf-8")))) == []


def test_a_size_in_another_notation_is_no_fact() -> None:
    read = TypeAdapter(Fact[Memory]).validate_python
    assert read({"value": "4Gi", "source": "x", "certainty": "C"}).value == 4 * GIB
    with pytest.raises(ValidationError, match="4GB is not a size such as 512Mi or 4Gi"):
        read({"value": "4GB", "source": "x", "certainty": "C"})


def test_machines_are_named_by_family_and_have_known_accelerators() -> None:
    for name, machine in hardware.compute_machines().items():
        assert name.startswith(f"{machine.family}-")
        assert (machine.accelerator is None) == (machine.accelerator_count == 0)
        assert machine.accelerator is None or machine.accelerator in hardware.accelerators()
        assert machine.boot_disks


def test_a_machine_of_a_family_costs_and_holds_more_with_more_cpus() -> None:
    for family in {machine.family for machine in hardware.compute_machines().values()}:
        members = [one for one in hardware.compute_machines().values() if one.family == family]
        members.sort(key=lambda one: (one.cpus, one.accelerator_count))
        assert [one.memory_bytes for one in members] == sorted(one.memory_bytes for one in members)


@pytest.mark.parametrize(
    ("name", "cpus", "gib", "accelerator", "count"),
    [
        ("e2-standard-4", 4, 16, None, 0),
        ("n1-standard-4", 4, 15, None, 0),
        ("n1-highmem-8", 8, 52, None, 0),
        ("n2-highmem-4", 4, 32, None, 0),
        ("a2-highgpu-1g", 12, 85, "nvidia-tesla-a100", 1),
        ("a2-megagpu-16g", 96, 1360, "nvidia-tesla-a100", 16),
        ("a2-ultragpu-4g", 48, 680, "nvidia-a100-80gb", 4),
        ("a3-highgpu-8g", 208, 1872, "nvidia-h100-80gb", 8),
        ("a3-megagpu-8g", 208, 1872, "nvidia-h100-mega-80gb", 8),
        ("a3-ultragpu-8g", 224, 2952, "nvidia-h200-141gb", 8),
        # A 32 has one L4 and a 24 has two.
        ("g2-standard-24", 24, 96, "nvidia-l4", 2),
        ("g2-standard-32", 32, 128, "nvidia-l4", 1),
    ],
)
def test_a_machine_is_what_google_says(
    name: str, cpus: int, gib: int, accelerator: str | None, count: int
) -> None:
    machine = hardware.compute_machines()[name]
    assert (machine.cpus, machine.memory_bytes) == (cpus, gib * GIB)
    assert (machine.accelerator, machine.accelerator_count) == (accelerator, count)


def test_vertex_trains_on_its_own_list_of_machines() -> None:
    machines = hardware.compute_machines()
    assert machines["e2-standard-4"].vertex_training
    assert machines["e2-standard-2"].vertex_serving
    assert not machines["e2-standard-2"].vertex_training
    assert not machines["n2-standard-128"].vertex_training


def test_vertex_names_its_accelerators_otherwise() -> None:
    found = {name: one.vertex_name for name, one in hardware.accelerators().items()}
    assert found["nvidia-tesla-a100"] == "NVIDIA_TESLA_A100"
    assert found["nvidia-l4"] == "NVIDIA_L4"
    named = [name for name in found.values() if name]
    assert len(named) == len(set(named))
    assert all(name == name.upper() for name in named)


def test_a_gpu_has_the_memory_that_cloud_run_gives_it() -> None:
    for name, limits in cloud_run_limits().gpus.items():
        assert hardware.accelerators()[name].memory_bytes == limits.memory_bytes.value


def test_only_an_n1_takes_a_number_of_gpus_of_its_cpus() -> None:
    attachable = {name: one.n1_counts for name, one in hardware.accelerators().items() if one.n1_counts}
    assert set(attachable) == {"nvidia-tesla-t4", "nvidia-tesla-v100"}
    cpus = {one.cpus for one in hardware.compute_machines().values() if one.family == "n1-standard"}
    for counts in attachable.values():
        assert set(counts.value) <= cpus


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_slice_has_the_chips_of_its_hosts(generation: str) -> None:
    slices = hardware.tpu_slices(generation)
    assert slices
    for one in slices:
        machine = hardware.tpu_machines()[one.machine]
        assert one.chips == math.prod(map(int, one.topology.split("x"))) == one.hosts * machine.chips
        assert one.multi_host == (one.hosts > 1)
        assert one.multi_host or one.topology == machine.single_host_topology
        assert machine.accelerator == one.accelerator == generation


def test_eight_chips_are_one_machine_of_eight_or_two_of_four() -> None:
    found = [(one.machine, one.hosts) for one in hardware.tpu_slices("v5e") if one.topology == "2x4"]
    assert found == [("ct5lp-hightpu-8t", 1), ("ct5lp-hightpu-4t", 2)]


def test_the_label_of_a_v5e_slice_is_the_one_that_gke_knows() -> None:
    assert hardware.tpu_machines()["ct5lp-hightpu-8t"].gke_label == "tpu-v5-lite-podslice"
    assert hardware.tpu_machines()["ct6e-standard-8t"].boot_disks == ("hyperdisk-balanced",)


def test_an_unknown_generation_is_no_slice() -> None:
    with pytest.raises(KeyError):
        hardware.tpu_slices("v9")


@pytest.mark.parametrize("kind", ["a2-highgpu", "a2-ultragpu", "a3-highgpu", "g2-standard", *GENERATIONS])
def test_zones_are_of_known_regions_and_only_warn(kind: str) -> None:
    found = hardware.zones(kind)
    assert found is not None
    assert not found.confirmed
    assert len(found.value) == len(set(found.value))
    assert {hardware.region_of(zone) for zone in found.value} <= set(hardware.regions())


def test_the_zones_of_every_kind_belong_to_a_machine_or_a_tpu() -> None:
    kinds = set(yaml.safe_load((DATA / "zones.yaml").read_text(encoding="utf-8")))
    families = {machine.family for machine in hardware.compute_machines().values()}
    attached = {name for name, gpu in hardware.accelerators().items() if gpu.n1_counts is not None}
    assert kinds <= families | set(GENERATIONS) | attached
    assert attached <= kinds
    assert hardware.zones("e2-standard") is None


@pytest.mark.parametrize("name", hardware.regions())
def test_a_region_has_zones_of_its_own(name: str) -> None:
    region = hardware.regions()[name]
    assert region.zones
    for zone in region.zones:
        assert hardware.region_of(zone) == name
        assert hardware.is_zone_of(zone, name)


def test_cloud_run_is_where_the_regions_say() -> None:
    here = {name for name, region in hardware.regions().items() if region.cloud_run}
    assert here == set(cloud_run_limits().regions.value)


@pytest.mark.parametrize("name", ["us-central1", "us-central1-", "us-central1-aa", "a", "", "us-central1-A"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    assert not hardware.is_zone_of(name, "us-central1")
    with pytest.raises(ValueError, match="is not a zone"):
        hardware.region_of(name)


@given(st.sampled_from(sorted(hardware.regions())), st.sampled_from(sorted(hardware.regions())))
def test_a_zone_is_of_one_region_alone(one: str, other: str) -> None:
    assert hardware.is_zone_of(f"{one}-a", other) == (one == other)


def test_engines_name_known_topologies_kinds_and_devices() -> None:
    kinds = {model.architecture.kind for model in catalog().values()}
    for engine in hardware.engines().values():
        assert set(engine.topologies) <= set(hardware.TOPOLOGIES)
        assert set(engine.kinds) <= kinds
        assert set(engine.devices) <= {"cpu", "gpu", "tpu"}
        assert set(engine.families) <= {"encoder-decoder", "decoder"}


def test_what_is_built_runs_on_a_topology_that_is_and_each_engine_of_it_has_an_image() -> None:
    assert hardware.BUILT_TOPOLOGIES == ("cloud-run", "vertex", "gke-tpu")
    built = {name: engine for name, engine in hardware.engines().items() if engine.built}
    on_cloud_run = {name for name, one in built.items() if "cloud-run" in one.topologies}
    assert on_cloud_run == SERVE_IMAGES.keys() - {"torchserve"}
    at_vertex = {name for name, one in built.items() if "vertex" in one.topologies}
    assert {name for name in at_vertex if "tpu" not in built[name].devices} == SERVE_IMAGES.keys()
    assert {name for name, one in built.items() if "gke-tpu" in one.topologies} == servers().keys()
    for engine in built.values():
        assert set(hardware.BUILT_TOPOLOGIES) & set(engine.topologies)
        assert engine.formats[0] in weights_contract().formats
        if engine.name == "jetstream":
            continue
        for dtype in engine.dtypes if engine.formats[0] != "safetensors" else ():
            assert dtype in weights_contract().formats[engine.formats[0]].dtypes


@pytest.mark.parametrize("name", catalog())
def test_every_model_has_an_engine_on_every_topology_that_serves_on_cpu_or_gpu(name: str) -> None:
    for topology in ("cloud-run", "vertex", "dataflow"):
        assert hardware.engines_for(catalog()[name], topology)


@pytest.mark.parametrize("name", ["vllm", "vllm-tpu", "jetstream"])
def test_that_an_engine_takes_no_encoder_decoder_is_confirmed(name: str) -> None:
    engine = hardware.engines()[name]
    assert engine.confirmed
    assert not engine.takes(catalog()["google/flan-t5-base"])
    assert engine.takes(catalog()["meta-llama/Llama-3.2-1B"])


def test_no_engine_of_the_tpu_topology_takes_t5() -> None:
    assert hardware.engines_for(catalog()["google/flan-t5-base"], "gke-tpu") == ()
    found = {engine.name for engine in hardware.engines_for(catalog()["google/gemma-2b"], "gke-tpu")}
    assert found == {"vllm-tpu", "jetstream"}
