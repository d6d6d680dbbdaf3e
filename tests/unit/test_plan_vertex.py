"""What a plan decides about deployments on Vertex AI."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from rehearsal.cloud.aiplatform.quotas import demand
from stacks.config_vertex import VertexAccelerator
from stacks.plan.contract_data import serve_contract, torchserve_contract
from stacks.plan.hardware import accelerators, compute_machines
from stacks.plan.vertex.cost import quotas
from stacks.plan.vertex.facts import serving_facts
from stacks.plan.vertex.machines import Replica, cheapest_first, gpu_counts
from tests.unit.config_sources import plan
from tests.unit.vertex_stacks import T4, of, planned, stack


@pytest.mark.parametrize(
    ("model", "engine", "image", "predict", "layout"),
    [
        ("gpt2", "torchserve", "torchserve", "/predictions/gpt2", "mar-float32"),
        (
            "databricks/dolly-v2-3b",
            "torchserve",
            "torchserve",
            "/predictions/dolly-v2-3b",
            "mar-float16",
        ),
        ("google/flan-t5-base", "transformers", "serve", "/predict", "safetensors-float32"),
    ],
)
def test_the_original_s_models_are_planned_with_their_containers_routes(
    tmp_path: Path, model: str, engine: str, image: str, predict: str, layout: str
) -> None:
    found = planned(tmp_path, model=model, machine=T4, engine=engine)
    container = found.registered.container
    contract = torchserve_contract() if image == "torchserve" else serve_contract()
    ready = contract.routes["health" if image == "torchserve" else "ready"].path
    assert (container.image, container.predict_route, container.health_route) == (image, predict, ready)
    assert (container.port, container.startup_probe.path) == (contract.port, ready)
    # TorchServe's own route answers before the model has been loaded.
    assert bool(container.startup_probe.command) == (image == "torchserve")
    assert container.startup_probe.command == contract.startup_command
    assert found.registered.artifact_uri == found.staged.uri
    assert found.staged.uri.endswith(f"/{found.staged.revision}/{layout}")
    assert set(container.env) <= set(contract.environment)
    assert not any(name.startswith("AIP_") for name in container.env)
    assert found.replica.accelerator_type == "NVIDIA_TESLA_T4"
    assert found.weights.runner == "vertex"


def test_left_to_itself_a_deployment_gets_the_cheapest_machine_that_holds_it(tmp_path: Path) -> None:
    small, large = planned(tmp_path), planned(tmp_path, model="databricks/dolly-v2-3b")
    assert (small.replica.machine_type, small.replica.accelerator) == ("e2-standard-2", None)
    assert large.sizing.need_bytes <= large.sizing.have_bytes
    chosen = compute_machines()[large.replica.machine_type]
    assert chosen.hourly_usd is not None
    cheaper = [one for one in cheapest_first(None) if one.price < chosen.hourly_usd.value]
    assert cheaper
    assert all(one.memory_bytes < large.sizing.need_bytes for one in cheaper)
    on_gpu = planned(tmp_path, machine={"accelerator": "nvidia-l4"})
    assert (on_gpu.replica.machine_type, on_gpu.replica.accelerator_count) == ("g2-standard-4", 1)


def test_a_smaller_machine_runs_fewer_requests_at_once_and_says_so(tmp_path: Path) -> None:
    whole = plan(stack(model="databricks/dolly-v2-3b", machine={"type": "e2-standard-4"}), tmp_path)
    rows = int(of(whole).registered.container.env["MAX_BATCH"])
    assert 1 <= rows < 8
    assert any(f"memory is for {rows} requests at once, not for 8" in note for note in whole.notes)


def test_quota_is_counted_for_the_most_replicas_and_twice_during_a_switch(tmp_path: Path) -> None:
    whole = plan(stack(machine=T4, scaling={"min": 1, "max": 3}), tmp_path)
    found = {quota.what: quota for quota in of(whole).quotas}
    assert (found["CPUs"].steady, found["CPUs"].peak) == (24, 48)
    assert (found["nvidia-tesla-t4"].steady, found["nvidia-tesla-t4"].peak) == (3, 6)
    assert found["nvidia-tesla-t4"].quota == "CustomModelServingT4GPUsPerProjectPerRegion"
    assert any("48 CPUs, 6 nvidia-tesla-t4 in europe-west4" in note for note in whole.notes)
    assert not any("all" in note.split() for note in whole.notes)


def test_an_up_that_switches_every_deployment_takes_the_sum_of_their_quotas(tmp_path: Path) -> None:
    config = stack(machine=T4)
    config["llm:deployments"]["other"] = {**config["llm:deployments"]["chat"], "scaling": {"max": 2}}
    config["llm:deployments"]["small"] = {"topology": "vertex", "model": "gpt2", "machine": {"spot": True}}
    notes = plan(config, tmp_path).notes
    (told,) = [note for note in notes if "switches all 3 deployments" in note]
    assert "48 CPUs, 6 nvidia-tesla-t4, 4 spot CPUs in europe-west4" in told
    assert sum("a switch takes quota for two at once" in note for note in notes) == 3


def test_spot_machines_are_counted_against_quotas_of_their_own(tmp_path: Path) -> None:
    found = planned(tmp_path, machine={**T4, "spot": True})
    assert [(quota.what, quota.quota) for quota in found.quotas] == [
        ("spot CPUs", "CustomModelServingPreemptibleCPUsPerProjectPerRegion"),
        ("spot nvidia-tesla-t4", "CustomModelServingPreemptibleT4GPUsPerProjectPerRegion"),
    ]
    assert found.idle_cost is not None
    assert found.idle_cost.arithmetic.endswith("(unconfirmed); spot costs less")


@pytest.mark.parametrize("gpu", get_args(VertexAccelerator))
@pytest.mark.parametrize("spot", [False, True])
def test_the_rehearsed_cloud_charges_the_quotas_that_the_plan_names(gpu: str, spot: bool) -> None:
    replica = cheapest_first(gpu)[0]
    planned_for = {each.quota: each.steady for each in quotas(replica, 2, spot=spot)}
    assert replica.gpu is not None
    machine = {
        "machineType": replica.machine.name,
        "acceleratorType": replica.gpu.vertex_name,
        "acceleratorCount": replica.count,
    }
    resources = {"machineSpec": machine, "minReplicaCount": 1, "maxReplicaCount": 2, "spot": spot}
    assert planned_for == demand({"dedicatedResources": resources})


def test_idling_is_priced_for_the_fewest_replicas_with_the_gpu(tmp_path: Path) -> None:
    one = planned(tmp_path, machine=T4).idle_cost
    two = planned(tmp_path, machine=T4, scaling={"min": 2}).idle_cost
    assert one is not None
    assert two is not None
    assert one.hourly_usd == pytest.approx((0.379998 + 0.35) * 1.15)
    assert two.hourly_usd == pytest.approx(2 * one.hourly_usd)
    assert not one.confirmed
    assert planned(tmp_path, machine={"type": "g4-standard-96"}).idle_cost is None


def test_replicas_are_at_least_one_and_follow_the_environment(tmp_path: Path) -> None:
    for environment in ("dev", "prod"):
        found = of(plan(stack(environment), tmp_path))
        assert (found.min_replicas, found.max_replicas) == (1, 1)
    found = planned(tmp_path, scaling={"max": 4, "metric": "cpu-utilization", "target": 75})
    assert (found.min_replicas, found.max_replicas) == (1, 4)
    assert found.metrics == {"aiplatform.googleapis.com/prediction/online/cpu/utilization": 75}
    usual = planned(tmp_path, machine=T4, scaling={"max": 2, "metric": "accelerator-duty-cycle"})
    assert usual.metrics == {"aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle": 60}


def test_a_metric_that_decides_nothing_is_warned_of(tmp_path: Path) -> None:
    said = plan(stack(scaling={"metric": "cpu-utilization"}), tmp_path).warnings
    assert any("decides nothing without scaling.max" in line for line in said)


def test_a_replica_with_some_of_a_machine_s_gpus_has_a_part_of_the_machine(tmp_path: Path) -> None:
    part = planned(tmp_path, machine={"type": "a2-highgpu-4g"})
    assert (part.replica.accelerator_count, part.registered.container.env["THREADS"]) == (1, "12")
    machine = compute_machines()["a2-highgpu-4g"]
    gpu = cheapest_first("nvidia-tesla-a100")[0].gpu
    assert [Replica(machine, gpu, count).parts for count in (1, 2, 3, 4)] == [4, 2, 1, 1]


def test_whole_machines_are_paid_for_and_all_their_cpus_are_charged(tmp_path: Path) -> None:
    machine = {"type": "a2-highgpu-4g"}
    for least, machines in ((1, 1), (4, 1), (5, 2)):
        found = planned(tmp_path, machine=machine, scaling={"min": least})
        assert found.idle_cost is not None
        assert found.idle_cost.hourly_usd == pytest.approx(machines * 14.69354 * 1.15)
        said = f"{machines} × a2-highgpu-4g (room for 4 replicas) at $14.694 on demand in us-central1"
        assert found.idle_cost.arithmetic.startswith(said)
        assert [(quota.what, quota.steady) for quota in found.quotas] == [
            ("CPUs", 48 * least),
            ("nvidia-tesla-a100", least),
        ]


def test_a_price_is_confirmed_where_the_machine_s_and_the_attached_gpu_s_are() -> None:
    machines = compute_machines()
    attached = Replica(machines["n1-standard-8"], accelerators()["nvidia-tesla-t4"], 1)
    assert attached.price_confirmed is serving_facts().gpu_hourly_usd.confirmed is False
    assert Replica(machines["n1-standard-8"]).price_confirmed
    assert Replica(machines["a2-highgpu-4g"], accelerators()["nvidia-tesla-a100"], 1).price_confirmed
    assert not Replica(machines["g4-standard-96"], accelerators()["nvidia-rtx-pro-6000"], 1).price_confirmed


def test_torchserve_has_a_copy_of_the_model_on_each_gpu(tmp_path: Path) -> None:
    found = planned(tmp_path, engine="torchserve", machine={**T4, "count": 2})
    env = found.registered.container.env
    assert (env["WORKERS"], env["THREADS"], found.replica.accelerator_count) == ("2", "4", 2)
    assert planned(tmp_path, engine="torchserve", machine=T4).registered.container.env["WORKERS"] == "1"


def test_the_server_gives_up_before_its_endpoint_does(tmp_path: Path) -> None:
    seconds = {
        kind: planned(tmp_path, endpoint={"kind": kind}).registered.container.env["REQUEST_SECONDS"]
        for kind in ("public", "dedicated", "private-service-connect")
    }
    assert seconds == {"public": "58", "dedicated": "598", "private-service-connect": "598"}


def test_an_endpoint_keeps_its_number_whatever_is_served_and_another_kind_has_another(tmp_path: Path) -> None:
    first = planned(tmp_path)
    other = planned(tmp_path, model="google/flan-t5-base", traffic={"steps": [10, 100]})
    assert (first.endpoint, first.registered.model_id) == (other.endpoint, other.registered.model_id)
    assert first.registered.artifact_uri != other.registered.artifact_uri
    public = planned(tmp_path, endpoint={"kind": "public"})
    assert public.endpoint.endpoint_id != first.endpoint.endpoint_id
    private = planned(tmp_path, endpoint={"kind": "private-service-connect"})
    assert private.endpoint.projects == ("acme-ml-dev",)
    assert first.endpoint.projects == ()


def test_the_engine_waits_for_every_step_of_a_switch(tmp_path: Path) -> None:
    one = planned(tmp_path)
    three = planned(tmp_path, traffic={"steps": [10, 50, 100], "stepSeconds": 600})
    assert three.traffic_steps == (10, 50, 100)
    assert three.update_seconds - three.create_seconds == 3 * 600
    assert one.update_seconds - one.create_seconds == 60


def test_a_large_model_gets_more_time_to_start_and_never_more_than_there_is(tmp_path: Path) -> None:
    small = planned(tmp_path).registered.container
    machine = {"type": "n2-highmem-80"}
    large = planned(tmp_path, model="google/flan-ul2", machine=machine).registered.container
    most = serving_facts().deployment_seconds_max.value
    assert small.deployment_seconds < large.deployment_seconds <= most
    window = large.startup_probe.period_seconds * large.startup_probe.failure_threshold
    assert window < large.deployment_seconds
    assert large.startup_probe.timeout_seconds > large.startup_probe.period_seconds


def test_a_region_that_is_not_known_to_have_the_machine_is_warned_of(tmp_path: Path) -> None:
    for machine, region in ((T4, "europe-north1"), ({"type": "g2-standard-4"}, "europe-north1")):
        said = plan(stack(region=region, machine=machine), tmp_path).warnings
        assert any("is not known to be in europe-north1 (unconfirmed)" in line for line in said)
    assert not any("not known" in line for line in plan(stack(machine=T4), tmp_path).warnings)


def test_the_stack_has_one_metadata_store_where_some_deployment_wants_it(tmp_path: Path) -> None:
    assert plan(stack(), tmp_path).metadata_store is None
    kept = plan(stack("prod", metadataStore=True), tmp_path).metadata_store
    gone = plan(stack("dev", metadataStore=True), tmp_path).metadata_store
    assert kept is not None
    assert gone is not None
    assert (kept.name, kept.region, kept.keep, gone.keep) == ("default", "europe-west4", True, False)


def test_who_may_ask_has_a_role_of_one_s_own_or_is_told_to_have_more(tmp_path: Path) -> None:
    invokers, own = ["group:ml@example.com"], "projects/acme-ml-dev/roles/predictor"
    usual = plan(stack(access={"invokers": invokers}), tmp_path)
    assert of(usual).invoker_role == "roles/aiplatform.user"
    assert any("undeploy from it, too; to let them ask alone" in note for note in usual.notes)
    narrow = plan(stack(access={"invokers": invokers, "role": own}), tmp_path)
    assert of(narrow).invoker_role == own
    nobody = plan(stack(), tmp_path)
    assert not any("undeploy from it" in note for note in (*narrow.notes, *nobody.notes))


def test_a_lasting_environment_keeps_its_endpoints(tmp_path: Path) -> None:
    policies = [of(plan(stack(name), tmp_path)).endpoint.deletion_policy for name in ("dev", "prod")]
    assert policies == ["DELETE", "PREVENT"]


def test_only_what_vertex_ai_needs_is_enabled(tmp_path: Path) -> None:
    apis = plan(stack(), tmp_path).foundation.apis
    assert "aiplatform.googleapis.com" in apis
    assert not {"run.googleapis.com", "container.googleapis.com"} & set(apis)


def test_gpus_go_with_the_machines_that_have_or_take_them() -> None:
    machines = compute_machines()
    assert list(gpu_counts(machines["n1-standard-8"], "nvidia-tesla-t4")) == [1, 2, 4]
    assert list(gpu_counts(machines["a2-highgpu-2g"], "nvidia-tesla-a100")) == [1, 2]
    for name, gpu in (
        ("a2-highgpu-2g", "nvidia-l4"),
        ("e2-standard-4", "nvidia-tesla-t4"),
        ("n1-standard-8", "nvidia-l4"),
    ):
        assert list(gpu_counts(machines[name], gpu)) == []
