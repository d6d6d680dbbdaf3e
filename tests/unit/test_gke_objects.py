"""The Kubernetes objects of a deployment on TPUs: what they say, and what is found when that is wrong."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.plan.gke.check import check_objects
from stacks.plan.gke.manifests import with_references
from stacks.plan.gke.server import flag
from stacks.plan.types_gke import GkeTpuPlan, KubernetesObject
from tests.unit.config_sources import plan
from tests.unit.gke_mistakes import MISTAKES, changed, put_args, server, template, without
from tests.unit.gke_stacks import LARGE_NODES, PUBLISHED, llama, stack

GOLDENS = Path(__file__).parents[1] / "goldens" / "gke"
DISK = {"volume": "disk"}
GATEWAY = {
    "expose": "gateway",
    "host": "llm.example.com",
    "certificateMap": "llm",
    "invokers": ["group:ml@example.com"],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "jetstream": {"scaling": {"min": 2}},
    "int8": {"dtype": "int8", "server": {"quantizeKvCache": True, "batchSize": 80}},
    "gemma": {"model": "google/gemma-2b", "tpu": {"accelerator": "v6e"}},
    "llama-3": {"model": "meta-llama/Meta-Llama-3-8B", "access": {"expose": "internal"}},
    "vllm": {"engine": "vllm-tpu", "scaling": {"min": 1, "max": 3, "surge": 1}, "access": GATEWAY},
    "disk": {"weights": DISK, "scaling": {"min": 2}, "identity": "service-account"},
    "one disk": {"weights": DISK},
    "metrics": {"server": {"metricsPort": 9100}, "scaling": {"min": 1, "max": 2}},
    "job elsewhere": {"weights": {"runner": "cloud-run"}},
}
CONVERTED = {"weights": PUBLISHED, "identity": "service-account"}


def pod(found: GkeTpuPlan, name: str = "deployment") -> dict[str, Any]:
    return dict(found.object(name).manifest["spec"]["template"]["spec"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_objects_of_a_plan_have_no_mistake(variant: str, tmp_path: Path) -> None:
    found = llama(tmp_path, **VARIANTS[variant])
    assert check_objects(found) == []
    for each in found.objects:
        # Anchors and aliases aside, what is written is what the cluster's client sends.
        assert yaml.safe_load(yaml.safe_dump(dict(each.manifest))) == each.manifest


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_put_back_into_the_objects_is_found_out(mistake: str, tmp_path: Path) -> None:
    name, change, reason = MISTAKES[mistake]
    broken = changed(llama(tmp_path, scaling={"min": 2}), name, change)
    assert any(reason in problem.reason for problem in check_objects(broken))


def test_scales_of_another_quantisation_are_found_out(tmp_path: Path) -> None:
    found = llama(tmp_path, dtype="int8")
    broken = changed(found, "deployment", lambda one: put_args(one, quantize_type="int8_blockwise"))
    assert [each.reason for each in check_objects(broken)] == ["is not how the weights are quantised"]


@pytest.mark.parametrize("part", ["server_identity", "weights_identity"])
def test_an_identity_of_pods_elsewhere_is_found_out(part: str, tmp_path: Path) -> None:
    found = llama(tmp_path)
    moved = dataclasses.replace(getattr(found, part), namespace="default")
    broken = dataclasses.replace(found, **{part: moved})
    assert [each.reason for each in check_objects(broken)] == ["is not where the pods are"]


@pytest.mark.parametrize("name", ["namespace", "server-account", "weights-account"])
def test_an_object_that_is_missing_is_found_out(name: str, tmp_path: Path) -> None:
    found = check_objects(without(llama(tmp_path), name))
    assert found
    assert all("nothing makes" in problem.reason for problem in found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: server(one)["resources"]["requests"].update({"google.com/tpu": "8"}), "must not hold"),
        (lambda one: template(one).pop("nodeSelector"), "must not hold"),
        (
            lambda one: template(one).update(nodeSelector={"cloud.google.com/gke-tpu-topology": "2x4"}),
            "must not hold",
        ),
        (
            lambda one: template(one)["volumes"][1]["persistentVolumeClaim"].update(claimName="checkpoint"),
            "is a claim that nothing makes",
        ),
    ],
)
def test_a_job_that_would_take_chips_or_an_unknown_disk_is_found_out(
    change: Callable[[Any], object], reason: str, tmp_path: Path
) -> None:
    broken = changed(llama(tmp_path, weights=DISK), "fill-job", change)
    assert [reason in problem.reason for problem in check_objects(broken)] == [True]


def test_the_server_loads_what_the_job_writes_whatever_the_volume(tmp_path: Path) -> None:
    for variant in VARIANTS.values():
        found = llama(tmp_path, **variant)
        args = tuple(server({"spec": {"template": {"spec": pod(found)}}})["args"])
        target = found.weights.args[found.weights.args.index("--target") + 1]
        place = target.removeprefix(f"gs://{found.staged.bucket}/")
        folder = f"/models/{place}"
        if found.engine == "jetstream":
            assert flag(args, "checkpoint_path") == f"{folder}/model.safetensors"
            assert flag(args, "tokenizer_path") == f"{folder}/tokenizer.model"
            written = found.weights.args[found.weights.args.index("--format") + 1]
            assert flag(args, "quantize_weights") == str(written == "jetstream-int8")
        else:
            assert flag(args, "model") == folder


def test_more_readers_than_one_get_a_disk_that_any_number_reads(tmp_path: Path) -> None:
    one, two = llama(tmp_path, weights=DISK), llama(tmp_path, weights=DISK, scaling={"min": 2})
    assert one.disk
    assert two.disk
    assert (one.disk.type, one.disk.copy_type) == ("pd-balanced", None)
    assert (two.disk.type, two.disk.copy_type) == ("pd-balanced", "hyperdisk-ml")
    modes = {each.name: each.manifest["spec"]["accessModes"] for each in two.objects if "claim" in each.name}
    assert modes == {"fill-claim": ["ReadWriteOnce"], "serve-claim": ["ReadOnlyMany"]}
    assert pod(one)["volumes"][0]["persistentVolumeClaim"]["claimName"] == one.disk.name
    assert pod(two)["volumes"][0]["persistentVolumeClaim"]["claimName"] == two.disk.copy_name
    newer = llama(tmp_path, weights=DISK, tpu={"accelerator": "v6e"}).disk
    assert newer
    assert newer.copy_type == "hyperdisk-ml", "v6e machines take no persistent disk"


def test_disks_slices_and_the_nodes_of_jobs_are_in_one_zone(tmp_path: Path) -> None:
    whole = plan(stack(weights=DISK, tpu={"zone": "us-west1-b"}), tmp_path)
    found = whole.on_tpu["llama"]
    assert whole.cluster
    assert found.disk
    assert (found.pool.zone, found.disk.zone) == ("us-west1-b", "us-west1-b")
    assert whole.cluster.cpu_pool.zones == whole.cluster.zones == ("us-west1-b",)


def test_another_model_gets_another_disk_and_no_object_another_logical_name(tmp_path: Path) -> None:
    tpu = {"machine": "ct5lp-hightpu-8t"}
    one = llama(tmp_path, weights=DISK, tpu=tpu)
    other = llama(tmp_path, weights=DISK, tpu=tpu, model="meta-llama/Meta-Llama-3-8B")
    assert one.disk
    assert other.disk
    assert one.disk.name != other.disk.name
    assert [each.name for each in one.objects] == [each.name for each in other.objects]
    assert one.pool == other.pool
    assert one.namespace == other.namespace


def test_both_forms_of_identity_have_both_halves(tmp_path: Path) -> None:
    direct, borrowed = llama(tmp_path), llama(tmp_path, identity="service-account")
    assert direct.accounts == ()
    assert direct.server_identity.member("1234") == (
        "principal://iam.googleapis.com/projects/1234/locations/global/workloadIdentityPools/"
        "acme-ml-dev.svc.id.goog/subject/ns/dev-llama/sa/server"
    )
    identity = borrowed.server_identity
    assert identity.account
    assert identity.member("1234") == f"serviceAccount:{identity.account.email}"
    assert identity.workload_member == "serviceAccount:acme-ml-dev.svc.id.goog[dev-llama/server]"
    annotations = borrowed.object("server-account").manifest["metadata"]["annotations"]
    assert annotations == {"iam.gke.io/gcp-service-account": identity.account.email}
    assert {identity.bucket_role for identity in (direct.server_identity, borrowed.server_identity)} == {
        "roles/storage.objectViewer"
    }


def test_references_of_built_images_take_the_places_of_their_addresses(tmp_path: Path) -> None:
    found = llama(tmp_path, weights=DISK)
    assert found.image_names == ("weights",)
    made = with_references(found.object("fill-job"), {"weights": "w@sha256:1"})
    job = made["spec"]["template"]["spec"]
    assert [one["image"] for one in (*job["initContainers"], *job["containers"])] == ["w@sha256:1"] * 2
    assert with_references(found.object("deployment"), {}) == found.object("deployment").manifest


@pytest.mark.parametrize("variant", ["jetstream", "vllm", "disk"])
def test_the_objects_are_those_that_are_recorded(variant: str, tmp_path: Path) -> None:
    compare(GOLDENS / f"{variant}.yaml", llama(tmp_path, **VARIANTS[variant]))


def test_the_objects_with_googles_converter_are_those_that_are_recorded(tmp_path: Path) -> None:
    found = plan({**stack(**CONVERTED), "llm:cluster": LARGE_NODES}, tmp_path)
    compare(GOLDENS / "converter.yaml", found.on_tpu["llama"])


def compare(path: Path, found: GkeTpuPlan) -> None:
    """Holds objects against a record, or renews that."""
    now = yaml.safe_dump_all([plain(each) for each in found.objects], sort_keys=False)
    if os.environ.get("RENEW_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(now, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == now, "if that is right: make goldens"


def plain(each: KubernetesObject) -> Any:
    """An object without anything in it twice, which YAML would write once and refer to."""
    return copy.deepcopy(yaml.safe_load(yaml.dump(dict(each.manifest), Dumper=_Whole)))


class _Whole(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
