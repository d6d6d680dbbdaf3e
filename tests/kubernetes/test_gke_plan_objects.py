"""What the plan makes of deployments on TPUs, put before a real API server and a real scheduler."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime import rpc

from providers.modelops.kubernetes_definition import KubernetesDefinition, job_object
from rehearsal.cluster.node_pools import NodeSpec, pool_nodes
from rehearsal.standins.kubernetes.objects import Refusal
from stacks.plan.hardware import tpu_machines
from stacks.plan.types import StackPlan
from tests.components.conftest import Registered
from tests.kubernetes.nodes import Manifest, Placement, Pool, Scheduler, pools_of
from tests.unit.config_sources import plan as plan_of
from tests.unit.gke_stacks import LARGE_NODES, LLAMA, PUBLISHED, REGION, stack
from tests.unit.recorded_plan import registered
from tests.unit.test_recipes import BLOCKS, named, planned

GEMMA = "google/gemma-2b"
DISK = {"volume": "disk"}
GATEWAY = {"expose": "gateway", "host": "llm.example.com", "certificateMap": "llm"}
ENGINES = ("jetstream", "vllm-tpu")
ON_TPU = [block for block in BLOCKS if "topology: gke-tpu" in block[1]]
_STAGED, _POOL = "modelops:index:StagedModel", "gcp:container/nodePool:NodePool"
_LARGE = "ct5lp-hightpu-8t"


@dataclass(frozen=True)
class PlannedPool(Pool):
    """A pool with the inputs that the component gives it."""

    location: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def specs(self) -> list[NodeSpec]:
        """Its nodes; one that is scaled has as many as it may."""
        return pool_nodes("llm", self.location, self.inputs)


@dataclass
class Planned:
    """A plan, with all that its components would put into the cluster, and the pools."""

    plan: StackPlan
    objects: list[Manifest]
    jobs: list[Manifest]
    """Of `StagedModel`, which makes them itself."""
    pools: list[PlannedPool]

    @classmethod
    def of(cls, plan: StackPlan) -> Planned:
        """Runs the components."""
        resources = registered(plan)
        objects = [each.manifest for found in plan.on_tpu.values() for each in found.objects]
        assert plan.cluster
        pools = [_pool(each, plan.cluster.location) for each in resources if each.type == _POOL]
        return cls(plan, objects, list(_jobs(plan, resources)), pools)

    def place(self, scheduler: Scheduler) -> dict[str, Placement]:
        """Where all of it goes."""
        return scheduler.place([*self.objects, *self.jobs], self.pools)

    def change(self, deployment: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Puts a mistake into a server."""
        space = self.plan.on_tpu[deployment].namespace
        for index, each in enumerate(self.objects):
            if each["kind"] == "Deployment" and each["metadata"]["namespace"] == space:
                manifest = copy.deepcopy(dict(each))
                change(manifest)
                self.objects[index] = manifest


def _pool(each: Registered, location: str) -> PlannedPool:
    # What the recorder has for a cluster's unknown id stays out: it says nothing about nodes.
    inputs = {key: value for key, value in each.inputs.items() if value != rpc.UNKNOWN}
    return PlannedPool(inputs["name"], inputs["nodeConfig"]["machineType"], location=location, inputs=inputs)


def _jobs(plan: StackPlan, resources: list[Registered]) -> Iterator[Manifest]:
    for name, deployment in plan.on_tpu.items():
        (staged,) = [each for each in resources if each.type == _STAGED and each.name.startswith(f"{name}-")]
        if deployment.weights.kubernetes is None:
            continue
        definition = KubernetesDefinition.model_validate(staged.inputs["definition"])
        manifest = job_object(definition, f"stage-{name}", staged.inputs["targetLabel"])
        manifest["metadata"]["namespace"] = deployment.namespace
        yield manifest


def planned_stack(folder: Path, **deployments: Mapping[str, Any]) -> Planned:
    """A stack with several deployments, each with gemma unless it says otherwise."""
    wanted = {
        name: {"topology": "gke-tpu", "model": GEMMA, **deployment}
        for name, deployment in deployments.items()
    }
    return Planned.of(plan_of({**stack(), "llm:deployments": wanted}, folder))


def assert_all_placed(found: Planned, placements: Mapping[str, Placement]) -> None:
    """Servers are on their own slices, jobs on the nodes without TPUs."""
    assert found.plan.cluster
    cpu = found.plan.cluster.cpu_pool.name
    by_owner: dict[str, list[Placement]] = {}
    for each in placements.values():
        by_owner.setdefault(each.owner.partition("/")[0], []).append(each)
    servers = sorted(each.pool for each in by_owner.pop("Deployment"))
    assert servers == sorted(
        each.pool.name for each in found.plan.on_tpu.values() for _ in range(each.replicas)
    ), [each.reason for each in placements.values() if each.reason]
    assert {each.pool for each in by_owner.pop("Job")} == {cpu}
    assert by_owner == {}


@pytest.fixture(scope="module")
def every_machine(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """Each machine type that is a slice of its own, with each engine."""
    deployments = {
        f"{engine.partition('-')[0]}-{machine.name.rpartition('-')[2]}-{machine.accelerator}": {
            "engine": engine,
            "tpu": {"accelerator": machine.accelerator, "machine": machine.name},
        }
        for machine in tpu_machines().values()
        for engine in ENGINES
    }
    return planned_stack(tmp_path_factory.mktemp("machines"), **deployments)


def test_servers_of_every_machine_and_engine_are_on_their_slices_and_jobs_are_not(
    scheduler: Scheduler, every_machine: Planned
) -> None:
    assert len(every_machine.plan.on_tpu) == len(tpu_machines()) * len(ENGINES)
    found = {each.pool.machine_type for each in every_machine.plan.on_tpu.values()}
    assert found == set(tpu_machines())
    assert_all_placed(every_machine, every_machine.place(scheduler))


def test_every_form_of_volume_identity_and_access_is_accepted_and_placed(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    found = planned_stack(
        tmp_path,
        copied={"weights": DISK, "scaling": {"min": 2}, "identity": "service-account"},
        alone={"weights": DISK, "access": {"expose": "internal"}},
        scaled={"engine": "vllm-tpu", "scaling": {"min": 1, "max": 3, "surge": 1}, "access": GATEWAY},
        small={
            "model": LLAMA,
            "engine": "jetstream",
            "dtype": "int8",
            "server": {"metricsPort": 9100, "quantizeKvCache": True},
            "scaling": {"min": 1, "max": 2},
        },
        newer={"tpu": {"accelerator": "v6e", "capacity": "spot"}, "weights": DISK},
        waits={"tpu": {"capacity": "flex-start", "maxRunHours": 4}, "weights": {"runner": "cloud-run"}},
        reserved={"tpu": {"capacity": "reservation", "reservation": "bought"}},
    )
    kinds = {each["kind"] for each in found.objects}
    assert {"HTTPRoute", "PodMonitoring", "HorizontalPodAutoscaler", "PersistentVolume", "Job"} <= kinds
    assert_all_placed(found, found.place(scheduler))


def test_googles_converter_is_accepted_and_finds_a_node_that_holds_the_model_twice(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    config = {**stack(weights=PUBLISHED, identity="service-account"), "llm:cluster": LARGE_NODES}
    found = Planned.of(plan_of(config, tmp_path))
    converter = found.plan.on_tpu["llama"].converter
    assert converter
    placements = found.place(scheduler)
    assert_all_placed(found, placements)
    assert pools_of(placements, f"Job/{converter.job_name}") == ["cpu"]
    small = [
        dataclasses.replace(
            each,
            inputs={
                **each.inputs,
                "nodeConfig": {**each.inputs["nodeConfig"], "machineType": "e2-standard-4"},
            },
        )
        if each.name == "cpu"
        else each
        for each in found.pools
    ]
    (waiting,) = [
        each
        for each in scheduler.place([*found.objects, *found.jobs], small).values()
        if each.owner == f"Job/{converter.job_name}"
    ]
    assert "Insufficient memory" in waiting.reason


@pytest.mark.parametrize(("page", "text"), ON_TPU, ids=[named(text)[0] for _, text in ON_TPU])
def test_every_shipped_example_is_accepted_and_placed(
    scheduler: Scheduler, page: Path, text: str, tmp_path: Path
) -> None:
    found = Planned.of(planned(tmp_path, text, named(text)[0]))
    assert_all_placed(found, found.place(scheduler))


def test_replicas_beyond_the_slices_of_the_plan_stay_pending(scheduler: Scheduler, tmp_path: Path) -> None:
    found = planned_stack(tmp_path, chat={"tpu": {"machine": _LARGE}, "scaling": {"min": 2}})
    found.change("chat", lambda one: one["spec"].update(replicas=3))
    placements = found.place(scheduler)
    assert pools_of(placements, "Deployment/server") == ["", "tpu-chat", "tpu-chat"]
    (waiting,) = [each for each in placements.values() if each.node is None]
    assert "2 Insufficient google.com/tpu" in waiting.reason


def pod(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The specification of a server's pods."""
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def _two_hosts_of_four(found: Planned) -> None:
    """Pods ask for eight chips, and the slice that they name is two machines of four."""
    found.pools[:] = [
        dataclasses.replace(
            each,
            inputs={
                **each.inputs,
                "autoscaling": {"minNodeCount": 2, "maxNodeCount": 2},
                "placementPolicy": {"type": "COMPACT", "tpuTopology": "2x4"},
                "nodeConfig": {**each.inputs["nodeConfig"], "machineType": "ct5lp-hightpu-4t"},
            },
        )
        if each.name == "tpu-chat"
        else each
        for each in found.pools
    ]


def _greedy_conversion(found: Planned) -> None:
    """The conversion asks for the chips of the slice, and is there first."""
    (job,) = found.jobs
    greedy = copy.deepcopy(dict(job))
    server = next(one for one in found.objects if one["kind"] == "Deployment")
    spec = pod(greedy)
    spec["nodeSelector"], spec["tolerations"] = pod(server)["nodeSelector"], pod(server)["tolerations"]
    spec["containers"][0]["resources"]["limits"]["google.com/tpu"] = "8"
    found.jobs[:], found.objects[:] = [], [one for one in found.objects if one is not server]
    found.objects += [greedy, server]


def _disk_elsewhere(found: Planned) -> None:
    """The disk was made in another zone than the slice."""
    for index, each in enumerate(found.objects):
        if each["kind"] == "PersistentVolume":
            volume = copy.deepcopy(dict(each))
            (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
            term["matchExpressions"][0]["values"] = [f"{REGION}-a"]
            found.objects[index] = volume


MISTAKES: dict[str, tuple[Callable[[Planned], None], dict[str, Any], str]] = {
    "eight chips on machines of four": (_two_hosts_of_four, {}, "2 Insufficient google.com/tpu"),
    "a conversion that takes the chips": (_greedy_conversion, {}, "1 Insufficient google.com/tpu"),
    "a disk in another zone": (_disk_elsewhere, {"weights": DISK}, "affinity"),
    "a label that GKE does not have": (
        lambda found: found.change(
            "chat",
            lambda one: pod(one)["nodeSelector"].update(
                {"cloud.google.com/gke-tpu-accelerator": "tpu-v5e-slice"}
            ),
        ),
        {},
        "didn't match Pod's node affinity/selector",
    ),
    "no toleration of the slice's taint": (
        lambda found: found.change("chat", lambda one: pod(one).update(tolerations=[])),
        {},
        "untolerated taint",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_with_a_mistake_put_back_a_pod_finds_no_node(
    scheduler: Scheduler, mistake: str, tmp_path: Path
) -> None:
    change, deployment, says = MISTAKES[mistake]
    found = planned_stack(tmp_path, chat={"tpu": {"machine": _LARGE}, **deployment})
    change(found)
    waiting = [each for each in found.place(scheduler).values() if each.node is None]
    assert waiting
    assert any(says in each.reason for each in waiting), waiting


def test_a_field_that_the_plan_misspells_is_refused(scheduler: Scheduler, tmp_path: Path) -> None:
    found = planned_stack(tmp_path, chat={})
    found.change("chat", lambda one: pod(one).update(nodeSelecter=pod(one).pop("nodeSelector")))
    with pytest.raises(Refusal, match="nodeSelecter: field not declared in schema"):
        scheduler.accepts([one for one in found.objects if one["kind"] == "Deployment"])
