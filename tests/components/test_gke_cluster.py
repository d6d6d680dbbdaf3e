"""What the cluster of a stack's TPU deployments becomes: reach, nodes, grants, and no credential."""

from __future__ import annotations

import pytest

from stacks.plan.types_gke import ClusterPlan
from stacks.stack import build_stack, export_stack
from tests.components.conftest import UNKNOWN, Plan, Recorder
from tests.components.gke import Run, kubeconfig, kubernetes, named, roles, text
from tests.components.test_stack import text as on_cloud_run

ADDRESS = "  llm:cluster: {dnsEndpoint: false, authorizedNetworks: [203.0.113.0/24]}"


@pytest.fixture
def recorded(plan_of: Plan, run: Run) -> Recorder:
    plan = plan_of(text())
    return run(lambda: build_stack(plan))


def of(plan_of: Plan, run: Run, **changes: str) -> tuple[Recorder, ClusterPlan]:
    plan = plan_of(text(**changes))
    assert plan.cluster is not None
    return run(lambda: build_stack(plan)), plan.cluster


def test_the_cluster_is_as_planned(plan_of: Plan, run: Run) -> None:
    recorder, plan = of(plan_of, run)
    cluster = named(recorder, "cluster-cluster").inputs
    assert cluster["name"] == plan.name
    assert cluster["location"] == plan.location == "us-west4"
    assert cluster["nodeLocations"] == list(plan.zones)
    assert cluster["releaseChannel"] == {"channel": "REGULAR"}
    assert cluster["workloadIdentityConfig"] == {"workloadPool": "acme-ml-dev.svc.id.goog"}
    assert cluster["privateClusterConfig"]["enablePrivateNodes"] is True
    assert cluster["networkingMode"] == "VPC_NATIVE"
    assert cluster["datapathProvider"] == "ADVANCED_DATAPATH"
    assert cluster["addonsConfig"]["gcsFuseCsiDriverConfig"] == {"enabled": True}
    assert cluster["monitoringConfig"]["managedPrometheus"] == {"enabled": True}
    assert cluster["gatewayApiConfig"] == {"channel": "CHANNEL_DISABLED"}
    assert cluster["removeDefaultNodePool"] is True
    assert not {"enableTpu", "tpuConfig"} & cluster.keys()


def test_nothing_is_asked_while_the_program_runs(recorded: Recorder) -> None:
    assert recorded.calls == []


def test_the_control_plane_has_a_name_and_no_open_address(recorded: Recorder) -> None:
    cluster = named(recorded, "cluster-cluster").inputs
    assert cluster["controlPlaneEndpointsConfig"] == {
        "dnsEndpointConfig": {"allowExternalTraffic": True},
        "ipEndpointsConfig": {"enabled": False},
    }
    assert "masterAuthorizedNetworksConfig" not in cluster


def test_an_address_is_open_to_named_networks_alone(plan_of: Plan, run: Run) -> None:
    recorder, _ = of(plan_of, run, more=ADDRESS)
    cluster = named(recorder, "cluster-cluster").inputs
    assert cluster["masterAuthorizedNetworksConfig"]["cidrBlocks"] == [{"cidrBlock": "203.0.113.0/24"}]
    assert cluster["controlPlaneEndpointsConfig"]["dnsEndpointConfig"] == {"allowExternalTraffic": False}
    assert kubeconfig(recorder)["clusters"][0]["cluster"] == {
        "server": "https://203.0.113.7",
        "certificate-authority-data": "PEM",
    }


@pytest.mark.parametrize("more", ["", ADDRESS])
def test_the_provider_logs_in_as_whoever_deploys_and_holds_no_credential(
    plan_of: Plan, run: Run, more: str
) -> None:
    recorder, _ = of(plan_of, run, more=more)
    provider = named(recorder, "cluster-kubernetes")
    (user,) = kubeconfig(recorder)["users"]
    assert user["user"].keys() == {"exec"}
    assert user["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    # Readable in every preview, since there is nothing in it to hide.
    assert provider.secrets == frozenset()
    assert "canary-key" not in str([each.inputs for each in recorder.resources])


def test_the_provider_uses_the_name_of_the_control_plane(recorded: Recorder) -> None:
    (cluster,) = kubeconfig(recorded)["clusters"]
    assert cluster["cluster"] == {"server": "https://gke-1.us-west4.gke.goog"}


def test_only_another_cluster_makes_other_objects(recorded: Recorder) -> None:
    provider, cluster = named(recorded, "cluster-kubernetes"), named(recorded, "cluster-cluster")
    assert provider.inputs["clusterIdentifier"] == "cluster-cluster-id"
    assert [urn.rpartition("::")[2] for urn in provider.replaced_with] == [cluster.name]
    objects = kubernetes(recorded)
    assert objects
    assert all("::cluster-kubernetes::" in each.provider for each in objects)


def test_the_program_wins_over_whoever_changed_a_field_before(
    plan_of: Plan, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What somebody has in the environment decides nothing.
    monkeypatch.setenv("PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY", "false")
    monkeypatch.setenv("PULUMI_K8S_ENABLE_PATCH_FORCE", "false")
    provider = named(of(plan_of, run)[0], "cluster-kubernetes")
    assert provider.inputs["enableServerSideApply"] == "true"
    assert provider.inputs["enablePatchForce"] == "true"


def test_what_describes_the_first_nodes_alone_is_no_drift(recorded: Recorder) -> None:
    assert set(named(recorded, "cluster-cluster").ignored) == {"initialNodeCount", "nodeConfig"}
    for pool in recorded.of("NodePool"):
        assert pool.ignored == ("initialNodeCount",)


def test_nodes_may_log_and_pull_images_and_read_no_bucket(recorded: Recorder) -> None:
    grants = {name: role for name, (role, _) in roles(recorded).items() if name.startswith("cluster-")}
    assert sorted(grants.values()) == [
        "roles/artifactregistry.reader",
        "roles/container.defaultNodeServiceAccount",
    ]
    for pool in recorded.of("NodePool"):
        node = pool.inputs["nodeConfig"]
        assert node["serviceAccount"] == "test-cluster-nodes@p.iam.gserviceaccount.com"
        assert node["workloadMetadataConfig"] == {"mode": "GKE_METADATA"}
        assert node["shieldedInstanceConfig"]["enableSecureBoot"] is True


def test_the_cpu_pool_has_limits_and_is_where_the_slices_are(plan_of: Plan, run: Run) -> None:
    recorder, plan = of(
        plan_of, run, more="  llm:cluster: {cpuPool: {machine: e2-standard-8, min: 2, max: 5}}"
    )
    pool = named(recorder, "cluster-cpu").inputs
    assert pool["name"] == plan.cpu_pool.name
    assert pool["autoscaling"]["totalMinNodeCount"] == 2
    assert pool["autoscaling"]["totalMaxNodeCount"] == 5
    assert pool["nodeLocations"] == list(plan.zones)
    assert pool["nodeConfig"]["machineType"] == "e2-standard-8"
    assert pool["nodeConfig"]["diskType"] == plan.cpu_pool.disk_type


def test_private_nodes_have_a_way_out_unless_the_network_has_one(plan_of: Plan, run: Run) -> None:
    recorder, _ = of(plan_of, run)
    nat = named(recorder, "cluster-nat").inputs
    assert (nat["router"], nat["region"]) == ("test", "us-west4")
    assert named(recorder, "cluster-router").inputs["network"] == "default"
    own, _ = of(plan_of, run, more="  llm:cluster: {nat: false}")
    assert own.of("Router") == own.of("RouterNat") == []


def test_a_cluster_in_one_zone_names_only_other_zones(plan_of: Plan, run: Run) -> None:
    recorder, plan = of(plan_of, run, more="  gcp:zone: us-west4-a\n  llm:cluster: {zonal: true}")
    cluster = named(recorder, "cluster-cluster").inputs
    assert cluster["location"] == plan.location == "us-west4-a"
    assert "nodeLocations" not in cluster


def test_protection_follows_the_environment(plan_of: Plan, run: Run) -> None:
    def protected(environment: str) -> bool:
        recorder, _ = of(plan_of, run, environment=environment)
        return bool(named(recorder, "cluster-cluster").inputs["deletionProtection"])

    assert (protected("dev"), protected("prod")) == (False, True)


def test_a_stack_without_tpus_has_no_cluster(plan_of: Plan, run: Run) -> None:
    plan = plan_of(on_cloud_run())
    recorder = run(lambda: build_stack(plan))
    assert recorder.of("Cluster") == recorder.of("NodePool") == recorder.of("kubernetes") == []


def test_outputs_say_where_deployments_answer_and_how_to_reach_the_cluster(plan_of: Plan, run: Run) -> None:
    plan = plan_of(text())
    outputs = run(lambda: export_stack(plan, build_stack(plan))).outputs
    assert outputs["addresses"] == {
        "assistant": f"http://server.test-assistant.svc.cluster.local:{plan.on_tpu['assistant'].server.http_port}"
    }
    assert outputs["cluster"] == {"endpoint": "https://gke-1.us-west4.gke.goog"}
    assert outputs["connect"].endswith("test --location us-west4 --project acme-ml-dev --dns-endpoint")
    assert outputs["urls"] == {}


def test_a_first_preview_knows_the_objects_and_not_the_cluster(plan_of: Plan, run: Run) -> None:
    plan = plan_of(text())
    recorder = run(lambda: export_stack(plan, build_stack(plan)), preview=True)
    known = run(lambda: build_stack(plan))
    assert named(recorder, "cluster-kubernetes").inputs["kubeconfig"] == UNKNOWN
    assert {each.name for each in recorder.resources} == {each.name for each in known.resources}
    assert {each.name: each.inputs for each in kubernetes(recorder)} == {
        each.name: each.inputs for each in kubernetes(known)
    }
