"""What a deployment on TPUs becomes: pool, rights, weights, objects, and in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from providers.modelops.kubernetes_definition import KubernetesDefinition, job_object
from stacks.plan.types_gke import GkeTpuPlan
from stacks.stack import build_stack
from tests.components.conftest import Plan, Recorder
from tests.components.gke import DISK, LARGE, LLAMA, Run, before, kubernetes, named, roles, text

PRINCIPAL = (
    "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/"
    "acme-ml-dev.svc.id.goog/subject/ns/test-assistant/sa/"
)
GATEWAY = (
    "      access: {expose: gateway, host: llm.example.com, certificateMap: llm,"
    " invokers: ['user:a@example.com']}\n"
)


@pytest.fixture
def recorded(plan_of: Plan, run: Run) -> Recorder:
    plan = plan_of(text())
    return run(lambda: build_stack(plan))


def played(plan_of: Plan, run: Run, **changes: str) -> tuple[Recorder, GkeTpuPlan]:
    plan = plan_of(text(**changes))
    return run(lambda: build_stack(plan)), plan.on_tpu["assistant"]


def pool_of(plan_of: Plan, run: Run, tpu: str) -> dict[str, Any]:
    recorder, _ = played(plan_of, run, deployment=f"      tpu: {tpu}\n")
    return named(recorder, "assistant-pool").inputs


def test_every_object_is_sent_as_planned_and_to_the_stacks_cluster(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(plan_of, run)
    sent = {each.name.removeprefix("assistant-"): each for each in kubernetes(recorder)}
    assert sent.keys() == {each.name for each in plan.objects}
    for each in plan.objects:
        assert sent[each.name].inputs == json.loads(json.dumps(each.manifest))
        version = each.manifest["apiVersion"]
        token = version if "/" in version else f"core/{version}"
        assert sent[each.name].type == f"kubernetes:{token}:{each.kind}"


def test_the_pool_is_as_planned(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(plan_of, run, deployment=LARGE)
    pool = named(recorder, "assistant-pool").inputs
    assert pool["name"] == plan.pool.name
    assert pool["cluster"] == "cluster-cluster-id"
    assert pool["nodeLocations"] == [plan.pool.zone]
    assert (pool["autoscaling"]["minNodeCount"], pool["autoscaling"]["maxNodeCount"]) == (1, 1)
    assert pool["upgradeSettings"] == {"strategy": "SURGE", "maxSurge": 0, "maxUnavailable": 1}
    node = pool["nodeConfig"]
    assert node["machineType"] == "ct5lp-hightpu-8t"
    assert (node["diskType"], node["diskSizeGb"]) == (plan.pool.disk_type, plan.pool.disk_gb)
    assert node["resourceLabels"] == plan.pool.resource_labels
    # GKE refuses a placement for a slice on one host, and sets labels and taint of TPU nodes itself.
    assert "placementPolicy" not in pool
    assert not {"labels", "taints", "reservationAffinity", "maxRunDuration", "flexStart"} & node.keys()
    assert node["spot"] is False


def test_hosts_of_one_slice_are_placed_by_its_topology(plan_of: Plan, run: Run) -> None:
    plan = plan_of(text())
    one = plan.on_tpu["assistant"]
    pool = replace(one.pool, topology="4x4", hosts=4, min_nodes=0, max_nodes=4, placement_topology="4x4")
    wide = replace(plan, deployments={"assistant": replace(one, pool=pool)})
    found = named(run(lambda: build_stack(wide)), "assistant-pool").inputs
    assert found["placementPolicy"] == {"type": "COMPACT", "tpuTopology": "4x4"}
    assert (found["autoscaling"]["minNodeCount"], found["autoscaling"]["maxNodeCount"]) == (0, 4)
    assert found["initialNodeCount"] == 0


def test_spot_nodes_are_spot_nodes(plan_of: Plan, run: Run) -> None:
    assert pool_of(plan_of, run, "{capacity: spot}")["nodeConfig"]["spot"] is True


def test_a_reservation_is_named_as_the_api_wants_it(plan_of: Plan, run: Run) -> None:
    pool = pool_of(plan_of, run, "{capacity: reservation, reservation: tpus}")
    assert pool["nodeConfig"]["reservationAffinity"] == {
        "consumeReservationType": "SPECIFIC_RESERVATION",
        "key": "compute.googleapis.com/reservation-name",
        "values": ["tpus"],
    }


def test_flex_start_nodes_come_when_asked_for_and_go_after_their_time(plan_of: Plan, run: Run) -> None:
    pool = pool_of(plan_of, run, "{capacity: flex-start, maxRunHours: 3}")
    node = pool["nodeConfig"]
    assert (node["flexStart"], node["maxRunDuration"]) == (True, "10800s")
    assert node["reservationAffinity"] == {"consumeReservationType": "NO_RESERVATION"}
    assert pool["upgradeSettings"] == {"strategy": "SHORT_LIVED"}
    assert pool["management"]["autoRepair"] is False
    assert pool["autoscaling"]["minNodeCount"] == 0


def test_pods_are_granted_roles_themselves_and_as_small_as_the_work_allows(recorded: Recorder) -> None:
    own = {name: each for name, each in roles(recorded).items() if name.startswith("assistant-")}
    assert own == {
        "assistant-reads-bucket": ("roles/storage.objectViewer", PRINCIPAL + "server"),
        "assistant-weights-writes-bucket": ("roles/storage.objectUser", PRINCIPAL + "weights"),
        "assistant-weights-reads-token": ("roles/secretmanager.secretAccessor", PRINCIPAL + "weights"),
    }
    assert [each.name for each in recorded.of("Account")] == ["cluster-account"]


def test_a_borrowed_account_has_both_halves(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(plan_of, run, deployment="      identity: service-account\n")
    accounts = {each.name: each.inputs["accountId"] for each in recorder.of("Account")}
    for part, account in (("assistant", "server"), ("assistant-weights", "weights")):
        borrow = named(recorder, f"{part}-pods").inputs
        assert borrow["role"] == "roles/iam.workloadIdentityUser"
        assert borrow["member"] == f"serviceAccount:acme-ml-dev.svc.id.goog[test-assistant/{account}]"
        annotation = plan.object(f"{account}-account").manifest["metadata"]["annotations"]
        assert annotation["iam.gke.io/gcp-service-account"].startswith(f"{accounts[f'{part}-account']}@")
    assert roles(recorder)["assistant-reads-bucket"][1].startswith("serviceAccount:")
    assert "assistant-pods" in before(recorder, "assistant-deployment")


def test_a_checkpoint_in_another_bucket_may_be_read_by_its_job_alone(plan_of: Plan, run: Run) -> None:
    source = "      weights: {source: 'gs://uploads/gemma'}\n"
    recorder, _ = played(plan_of, run, deployment=source)
    grant = named(recorder, "assistant-weights-reads-source").inputs
    assert (grant["bucket"], grant["role"]) == ("uploads", "roles/storage.objectViewer")
    assert grant["member"] == PRINCIPAL + "weights"
    assert "assistant-weights-reads-source" in before(recorder, "assistant-weights-staged")
    assert "assistant-weights-reads-token" not in {each.name for each in recorder.resources}


def test_the_weights_job_is_what_our_own_provider_takes_and_holds_no_chip(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(plan_of, run)
    staged = named(recorder, "assistant-weights-staged").inputs
    cluster = "projects/acme-ml-dev/locations/us-west4/clusters/test"
    assert staged["job"] == f"{cluster}/k8s/namespaces/test-assistant/jobs/test-assistant-weights"
    definition = KubernetesDefinition.model_validate(staged["definition"])
    body = job_object(definition, "weights-a", staged["targetLabel"])
    pod = body["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-nodepool": "cpu"}
    assert pod["serviceAccountName"] == "weights"
    (container,) = pod["containers"]
    assert "google.com/tpu" not in json.dumps(container["resources"])
    assert container["image"].endswith("@sha256:" + "a" * 64)
    assert container["args"] == list(plan.weights.args)
    assert definition.cluster.endpoint == "https://gke-1.us-west4.gke.goog"
    assert definition.env["HF_TOKEN_SECRET"] == "projects/acme-ml-dev/secrets/shared-token/versions/latest"


def test_weights_may_be_staged_outside_the_cluster(plan_of: Plan, run: Run) -> None:
    recorder, _ = played(plan_of, run, deployment="      weights: {runner: cloud-run}\n")
    job = named(recorder, "assistant-weights-job").inputs
    assert job["location"] == "us-west4"
    assert "definition" not in named(recorder, "assistant-weights-staged").inputs
    assert "assistant-weights-account" in {each.name for each in recorder.of("Account")}
    assert "assistant-weights-staged" in before(recorder, "assistant-deployment")


def test_the_hub_token_is_in_no_object_and_no_definition(plan_of: Plan, run: Run) -> None:
    plan = plan_of(text().replace("llm:hubTokenSecret: shared-token", "llm:hubToken: {secure: AAAA}"))
    recorder = run(lambda: build_stack(plan, "hf_canary"))
    version = recorder.one("SecretVersion")
    assert version.secrets == {"secretData"}
    assert "hf_canary" not in str([each.inputs for each in recorder.resources if each is not version])
    assert version.name in before(recorder, "assistant-weights-staged")


def test_no_slice_is_made_before_the_weights_are_there(recorded: Recorder) -> None:
    assert "assistant-weights-staged" in before(recorded, "assistant-pool")
    assert "assistant-pool" not in before(recorded, "assistant-weights-staged")


def test_servers_start_when_all_that_they_need_is_there(recorded: Recorder) -> None:
    assert {
        "assistant-namespace",
        "assistant-server-account",
        "assistant-policy-server",
        "assistant-reads-bucket",
        "assistant-weights-staged",
        "assistant-pool",
        "cluster-cpu",
        "cluster-nat",
    } <= before(recorded, "assistant-deployment")


def test_what_is_removed_goes_before_what_it_stands_on(recorded: Recorder) -> None:
    """Destroying goes the other way round than making."""
    for each in kubernetes(recorded):
        assert "cluster-cluster" in before(recorded, each.name)
        assert "cluster-cpu" in before(recorded, each.name)
        if each.name != "assistant-namespace":
            assert "assistant-namespace" in before(recorded, each.name)
    for server in ("assistant-deployment", "assistant-service"):
        assert "assistant-pool" in before(recorded, server)


@pytest.mark.parametrize("name", ["deployment", "service"])
def test_the_engine_waits_longer_than_the_cluster_for_replicas(plan_of: Plan, run: Run, name: str) -> None:
    recorder, plan = played(plan_of, run)
    progress = named(recorder, "assistant-deployment").inputs["spec"]["progressDeadlineSeconds"]
    # A Service is there when it has a pod, which is no sooner than a node is.
    create, update = (int(each.removesuffix("s")) for each in named(recorder, f"assistant-{name}").timeouts)
    assert create == update > progress
    assert create > plan.ready_seconds


# --- Disks ---


def test_one_replica_reads_the_disk_that_the_job_filled(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(plan_of, run, deployment=DISK)
    assert plan.disk is not None
    disk = named(recorder, "assistant-disk").inputs
    assert (disk["name"], disk["type"], disk["zone"]) == (plan.disk.name, plan.disk.type, plan.pool.zone)
    assert disk["size"] == plan.disk.size_gb
    job = named(recorder, f"assistant-fill-{plan.disk.content}")
    assert "assistant-disk" in before(recorder, job.name)
    assert "assistant-weights-staged" in before(recorder, job.name)
    assert job.name in before(recorder, "assistant-deployment")
    assert recorder.of("Snapshot") == []


def test_several_replicas_read_a_copy_made_once_the_first_disk_is_filled(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(plan_of, run, deployment=DISK + "      scaling: {min: 2}\n")
    assert plan.disk is not None
    assert f"assistant-fill-{plan.disk.content}" in before(recorder, "assistant-snapshot")
    assert not named(recorder, "assistant-snapshot").replaced_with
    copy = named(recorder, "assistant-disk-copy").inputs
    assert (copy["type"], copy["accessMode"]) == ("hyperdisk-ml", "READ_ONLY_MANY")
    assert copy["name"] == plan.disk.copy_name
    assert "assistant-disk-copy" in before(recorder, "assistant-deployment")
    assert "assistant-disk-copy" in before(recorder, "assistant-serve-volume")


def test_a_job_that_filled_a_disk_runs_again_for_another_content_alone(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(plan_of, run, deployment=DISK)
    assert plan.disk is not None
    job = named(recorder, f"assistant-fill-{plan.disk.content}")
    assert set(job.ignored) == {"spec", "metadata"}
    assert [urn.rpartition("::")[2] for urn in job.replaced_with] == ["assistant-disk"]
    assert job.deleted_first
    assert "ttlSecondsAfterFinished" not in job.inputs["spec"]
    # A failed one is another matter.
    assert job.inputs["metadata"]["annotations"]["pulumi.com/replaceUnready"] == "true"
    images = [
        each["image"]
        for kind in ("initContainers", "containers")
        for each in job.inputs["spec"]["template"]["spec"][kind]
    ]
    assert all(image.endswith("@sha256:" + "a" * 64) for image in images)
    deadline = job.inputs["spec"]["activeDeadlineSeconds"]
    assert all(int(wait.removesuffix("s")) > deadline for wait in job.timeouts)


# --- Who reaches it ---


def test_an_internal_load_balancer_answers_at_the_address_that_it_is_given(plan_of: Plan, run: Run) -> None:
    plan = plan_of(text(deployment="      access: {expose: internal}\n"))
    urls: list[str] = []
    run(lambda: build_stack(plan).on_tpu["assistant"].url.apply(urls.append))
    assert urls == [f"http://10.0.0.9:{plan.on_tpu['assistant'].server.http_port}"]


def test_a_gateway_lets_in_named_people_to_its_own_host(plan_of: Plan, run: Run) -> None:
    recorder, _ = played(plan_of, run, deployment=GATEWAY)
    grant = named(recorder, "assistant-invoker-user:a@example.com").inputs
    assert grant["role"] == "roles/iap.httpsResourceAccessor"
    assert grant["condition"]["expression"] == 'request.host == "llm.example.com"'
    channel = named(recorder, "cluster-cluster").inputs["gatewayApiConfig"]["channel"]
    assert channel == "CHANNEL_STANDARD"


# --- Google's converter ---

CONVERTER = "      weights: {converter: published}\n"
LARGE_NODES = "  llm:cluster: {cpuPool: {machine: e2-highmem-8}}\n"


def test_googles_converter_runs_on_what_is_staged_before_any_slice_or_server(plan_of: Plan, run: Run) -> None:
    recorder, plan = played(
        plan_of, run, model=LLAMA, deployment=CONVERTER + "      engine: jetstream\n", more=LARGE_NODES
    )
    assert plan.converter is not None
    job = named(recorder, f"assistant-{plan.converter.job_name}")
    assert {"assistant-weights-staged", "assistant-converter-writes-bucket"} <= before(recorder, job.name)
    for later in ("assistant-pool", "assistant-deployment", "assistant-service"):
        assert job.name in before(recorder, later)
    assert roles(recorder)["assistant-converter-writes-bucket"] == (
        "roles/storage.objectUser",
        PRINCIPAL + "converter",
    )
    assert "ttlSecondsAfterFinished" not in job.inputs["spec"]
    deadline = job.inputs["spec"]["activeDeadlineSeconds"]
    assert all(int(wait.removesuffix("s")) > deadline for wait in job.timeouts)
    granted = [name for name, (_, member) in roles(recorder).items() if member == PRINCIPAL + "converter"]
    assert granted == ["assistant-converter-writes-bucket"]
