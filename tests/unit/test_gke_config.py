"""What is wrong with a configuration of topology `gke-tpu`, told with the key and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks.plan.gke import cluster, serving
from stacks.plan.gke.facts import jetstream_models
from stacks.plan.gke.host import bytes_for_pods, host_bytes, server_bytes
from stacks.plan.gke.server import MOUNT_BYTES_PER_SECOND
from stacks.plan.hardware import compute_machines, tpu_machines
from tests.unit.config_cases.gke import CASES, CLUSTERS
from tests.unit.config_sources import plan, problems
from tests.unit.gke_stacks import llama, refusals, stack


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_told_with_its_key_and_a_remedy(case: str, tmp_path: Path) -> None:
    deployment, key, text = CASES[case]
    found = refusals(tmp_path, **deployment)
    assert list(found) == [key]
    assert text in found[key]


@pytest.mark.parametrize("case", CLUSTERS)
def test_a_fault_of_the_cluster_is_told_with_its_key_and_a_remedy(case: str, tmp_path: Path) -> None:
    given, key, text = CLUSTERS[case]
    found = problems({**stack(), "llm:cluster": given}, tmp_path).problems
    assert [problem.path for problem in found] == [key]
    assert text in f"{found[0].reason}; {found[0].remedy}"


def test_nodes_that_take_no_disk_of_the_kind_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = compute_machines()["e2-standard-4"].model_copy(update={"boot_disks": ("hyperdisk-balanced",)})
    monkeypatch.setattr(cluster, "compute_machines", lambda: {machine.name: machine})
    (problem,) = problems(stack(), tmp_path).problems
    assert (problem.path, problem.reason) == ("llm:cluster.cpuPool.machine", "takes no pd-balanced disk")


SHORT = {"batchSize": 1, "maxCacheLength": 512}
"""A cache so small that a chip holds Llama 2 in bfloat16, whose loading takes more than its host has."""


def test_a_host_that_the_weights_do_not_pass_through_is_left_for_a_larger_one(tmp_path: Path) -> None:
    mounted = llama(tmp_path, server=SHORT)
    disk = llama(tmp_path, server=SHORT, weights={"volume": "disk"})
    assert (mounted.pool.machine_type, disk.pool.machine_type) == ("ct5lp-hightpu-4t", "ct5lp-hightpu-1t")
    asked = server_bytes(13_476_831_232) + 2**30 + 15 * 2**30
    assert (
        host_bytes(13_476_831_232, mounted=True) == asked > bytes_for_pods(tpu_machines()["ct5lp-hightpu-1t"])
    )


@pytest.mark.parametrize(("key", "value"), [("machine", "ct5lp-hightpu-1t"), ("topology", "1x1")])
def test_a_host_that_somebody_chose_and_is_too_small_is_refused(key: str, value: str, tmp_path: Path) -> None:
    assert refusals(tmp_path, server=SHORT, tpu={key: value}) == {
        f"tpu.{key}": "needs 46.00 GiB of a host's own memory while the weights load, and ct5lp-hightpu-1t "
        "has 43.20 GiB for pods; use ct5lp-hightpu-4t"
    }


def test_no_host_that_is_large_enough_leaves_a_smaller_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "bytes_for_pods", lambda _: 2**30)
    assert refusals(tmp_path, server=SHORT)["model"].endswith(
        "ct5lp-hightpu-8t has 1.00 GiB for pods; choose a smaller model"
    )


def test_what_nobody_has_confirmed_is_warned_of(tmp_path: Path) -> None:
    vllm = stack(engine="vllm-tpu", scaling={"min": 1, "max": 2})
    metrics = stack(server={"metricsPort": 9100})
    given = stack(server={"metricsPort": 9100, "image": "registry.example/jetstream:v1"})
    told = [" ".join(plan(config, tmp_path).warnings) for config in (vllm, metrics, given)]
    assert "vllm-tpu's image as far as is known (unconfirmed)" in told[0]
    assert "needs the Custom Metrics Stackdriver Adapter to read vllm:num_requests_waiting" in told[0]
    assert "knows --prometheus_port is unconfirmed" in told[1]
    assert "prometheus_port" not in told[2]


def test_a_cluster_is_regional_unless_it_is_asked_for_in_one_zone(tmp_path: Path) -> None:
    regional = plan(stack(), tmp_path)
    wanted = {"zonal": True, "releaseChannel": "stable"}
    zonal = plan({**stack(), "gcp:zone": "us-west1-a", "llm:cluster": wanted}, tmp_path)
    assert regional.cluster
    assert zonal.cluster
    assert (regional.cluster.location, regional.deployments["llama"].location) == ("us-west1", "us-west1")
    assert (zonal.cluster.location, zonal.deployments["llama"].location) == ("us-west1-a", "us-west1-a")
    assert zonal.cluster.zones == ("us-west1-c",), "the slices stay where there are some"
    assert zonal.cluster.release_channel == "STABLE"
    assert "roles/storage" not in str((zonal.cluster.project_roles, zonal.cluster.repository_roles))


def test_a_control_plane_that_everybody_may_address_is_warned_of(tmp_path: Path) -> None:
    given = {"dnsEndpoint": False, "authorizedNetworks": ["203.0.113.0/24", "0.0.0.0/0"]}
    told = [
        each for each in plan({**stack(), "llm:cluster": given}, tmp_path).warnings if "llm:cluster" in each
    ]
    assert [each.partition(" is every address")[0] for each in told] == [
        "llm:cluster.authorizedNetworks: 0.0.0.0/0"
    ]


def test_deployments_share_a_cluster_and_have_pools_and_namespaces_of_their_own(tmp_path: Path) -> None:
    config = stack()
    one = config["llm:deployments"]["llama"]
    both = plan({**config, "llm:deployments": {"llama": one, "other": one}}, tmp_path)
    assert both.cluster
    pools = [found.pool.name for found in both.on_tpu.values()]
    assert pools == ["tpu-llama", "tpu-other"]
    assert [found.namespace for found in both.on_tpu.values()] == ["dev-llama", "dev-other"]


def test_a_stack_without_tpus_has_no_cluster(tmp_path: Path) -> None:
    config = stack()
    assistant = {"topology": "cloud-run", "model": "google/flan-t5-base"}
    found = plan({**config, "llm:deployments": {"assistant": assistant}}, tmp_path)
    assert found.cluster is None
    told = plan(
        {**config, "llm:cluster": {"zonal": True}, "llm:deployments": {"assistant": assistant}}, tmp_path
    )
    assert "llm:cluster: no deployment is on topology gke-tpu, so there is no cluster" in told.warnings
    assert "container.googleapis.com" not in found.foundation.apis


def test_the_flags_of_the_original_follow_from_the_model_and_typed_keys(tmp_path: Path) -> None:
    found = llama(tmp_path, server={"batchSize": 30, "maxCacheLength": 2048, "threads": 8})
    folder = (
        "/models/models/meta-llama--Llama-2-7b-hf/01c7f73d771dfac7d292323805ebc428287df4f9/jetstream-bfloat16"
    )
    assert found.server.args == (
        "--model_name=llama-2",
        "--size=7b",
        "--batch_size=30",
        "--max_cache_length=2048",
        "--quantize_weights=False",
        "--quantize_kv_cache=False",
        f"--tokenizer_path={folder}/tokenizer.model",
        f"--checkpoint_path={folder}/model.safetensors",
        "--threads=8",
        "--port=9000",
    )
    assert (found.server.max_input_tokens, found.server.max_new_tokens) == (1792, 256)


def test_flags_of_vllm_follow_from_typed_keys_and_others_come_last(tmp_path: Path) -> None:
    given = {"batchSize": 16, "maxBatchedTokens": 4096, "prefixCaching": False}
    found = llama(tmp_path, engine="vllm-tpu", server={**given, "arguments": ["--seed=1"]})
    assert found.server.args[2:] == (
        "--dtype=bfloat16",
        "--tensor-parallel-size=4",
        "--max-model-len=4096",
        "--max-num-seqs=16",
        "--max-num-batched-tokens=4096",
        "--no-enable-prefix-caching",
        "--host=0.0.0.0",
        "--port=8000",
        "--seed=1",
    )


def test_nodes_that_may_be_long_in_coming_are_waited_for_and_no_longer(tmp_path: Path) -> None:
    for capacity in ("spot", "flex-start"):
        found = plan(stack(tpu={"capacity": capacity}), tmp_path)
        (note,) = [each for each in found.notes if "tpu.capacity" in each]
        minutes = found.on_tpu["llama"].ready_seconds // 60
        assert f"waits {minutes} minutes for replicas" in note
    assert not any("tpu.capacity" in each for each in plan(stack(), tmp_path).notes)


@pytest.mark.parametrize("model", ["meta-llama/Meta-Llama-3-8B", "google/gemma-2b"])
def test_the_other_models_of_the_original_have_their_names_and_sizes(model: str, tmp_path: Path) -> None:
    found = llama(tmp_path, model=model)
    assert "-".join(arg.partition("=")[2] for arg in found.server.args[:2]) in jetstream_models()


def test_vllm_is_chosen_unless_somebody_asks_for_jetstream(tmp_path: Path) -> None:
    found = llama(tmp_path, engine=None)
    assert (found.engine, found.staged.format, found.server.api) == ("vllm-tpu", "safetensors", "openai")


def test_a_start_has_time_for_what_its_engine_compiles(tmp_path: Path) -> None:
    jetstream, vllm = llama(tmp_path).server, llama(tmp_path, engine="vllm-tpu").server
    reading = -(-13_476_831_232 // MOUNT_BYTES_PER_SECOND)
    assert (jetstream.load_seconds, jetstream.startup_seconds) == (300 + reading, 3090)
    assert (vllm.load_seconds, vllm.startup_seconds) == (1800 + reading, 2 * (1800 + reading))


@pytest.mark.parametrize("scaling", [{"min": 3}, {"min": 1, "max": 3}, {"min": 1, "max": 3, "surge": 1}])
def test_an_update_is_waited_for_until_the_last_replica_had_its_turn(
    scaling: dict[str, int], tmp_path: Path
) -> None:
    found = llama(tmp_path, engine="vllm-tpu", scaling=scaling)
    assert found.ready_seconds == 900 + 3 * found.server.startup_seconds
    spec = found.object("deployment").manifest["spec"]
    assert spec["progressDeadlineSeconds"] == found.ready_seconds


def test_eight_bits_are_staged_as_the_server_reads_them_and_take_half(tmp_path: Path) -> None:
    whole, half = llama(tmp_path), llama(tmp_path, dtype="int8")
    assert (half.staged.format, half.staged.dtype) == ("jetstream-int8", "bfloat16")
    assert half.server.load_seconds < whole.server.load_seconds
    assert 2 * half.sizing.lines[0].bytes == whole.sizing.lines[0].bytes


def test_an_upload_in_a_bucket_is_staged_beside_the_hubs_and_needs_no_token(tmp_path: Path) -> None:
    source = "gs://acme-uploads/pytorch/llama-2-7b/base"
    config = stack(weights={"source": source})
    del config["llm:hubTokenSecret"]
    found = plan(config, tmp_path).on_tpu["llama"]
    command, *rest = found.weights.args
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    assert (command, given["--source"]) == ("import", source)
    assert (found.weights.source_bucket, found.weights.hub_token) == ("acme-uploads", False)
    other = plan(stack(weights={"source": f"{source}-2"}), tmp_path).on_tpu["llama"]
    assert len({found.staged.uri, other.staged.uri, llama(tmp_path).staged.uri}) == 3
    assert given["--target"] == found.staged.uri
