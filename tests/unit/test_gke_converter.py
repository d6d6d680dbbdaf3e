"""Google's published converter in place of the own conversion: what it is given, and where it runs."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmstack.commands.plan_gke import deployment_rows
from rehearsal.cluster import machines
from rehearsal.cluster.pod import not_rehearsed
from stacks.plan.gke import converter as converter_plan
from stacks.plan.gke import nodes
from stacks.plan.gke.check import check_objects
from stacks.plan.gke.converter import SCRIPT
from stacks.plan.gke.facts import JETSTREAM, servers
from stacks.plan.gke.server import flag
from stacks.plan.hardware import compute_machines
from stacks.plan.quantity import GIB
from stacks.plan.types import StackPlan
from stacks.plan.types_converter import ConverterPlan
from stacks.plan.types_gke import GkeTpuPlan
from tests.unit.config_sources import plan, problems
from tests.unit.gke_mistakes import changed, server, template, without
from tests.unit.gke_stacks import LARGE_NODES, PUBLISHED, refusals, stack

LLAMA_3 = "meta-llama/Meta-Llama-3-8B"


def whole(folder: Path, **deployment: Any) -> StackPlan:
    """The plan of a stack whose deployment `llama` has the published converter."""
    wanted = {"weights": PUBLISHED, **deployment}
    return plan({**stack(**wanted), "llm:cluster": LARGE_NODES}, folder)


def published(folder: Path, **deployment: Any) -> tuple[GkeTpuPlan, ConverterPlan]:
    """That deployment, and what is planned of its converter."""
    found = whole(folder, **deployment).on_tpu["llama"]
    assert found.converter is not None
    return found, found.converter


def argument(converter: ConverterPlan, name: str) -> str | None:
    """The value of an argument `-N=VALUE`."""
    return dict(each.partition("=")[::2] for each in converter.args).get(name)


@pytest.mark.parametrize(
    ("deployment", "name", "quantised"),
    [
        ({}, "llama-2", "False"),
        ({"model": LLAMA_3}, "llama-3", "False"),
        ({"dtype": "int8"}, "llama-2", "True"),
    ],
)
def test_it_reads_what_is_staged_and_the_server_loads_what_it_writes(
    deployment: dict[str, Any], name: str, quantised: str, tmp_path: Path
) -> None:
    found, converter = published(tmp_path, **deployment)
    assert (found.staged.format, found.staged.dtype) == ("safetensors", "bfloat16")
    assert argument(converter, "-i") == f"{found.staged.uri}/"
    assert argument(converter, "-n") == name
    assert argument(converter, "-q") == flag(found.server.args, "quantize_weights") == quantised
    assert argument(converter, "-t") == flag(found.server.args, "quantize_type")
    written = (argument(converter, "-o") or "").removeprefix(f"gs://{found.staged.bucket}/")
    assert flag(found.server.args, "checkpoint_path") == f"/models/{written}model.safetensors"
    assert flag(found.server.args, "tokenizer_path") == f"/models/{written}tokenizer.model"
    assert not written.startswith(found.staged.prefix)


def test_no_token_gets_to_it_and_it_holds_no_chips(tmp_path: Path) -> None:
    found, converter = published(tmp_path)
    pod = found.object("converter-job").manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "env" not in container
    assert "token" not in str(pod["volumes"]).lower()
    assert pod["nodeSelector"] == {"cloud.google.com/gke-nodepool": "cpu"}
    assert container["resources"]["requests"]["memory"] == "30Gi"
    assert (converter.identity.reads_token, converter.identity.bucket_role) == (
        False,
        "roles/storage.objectUser",
    )
    assert found.object("policy-converter").manifest["spec"]["podSelector"]["matchLabels"].items() <= (
        found.object("converter-job").manifest["spec"]["template"]["metadata"]["labels"].items()
    )


def test_it_runs_again_only_for_what_changes_its_output(tmp_path: Path) -> None:
    _, one = published(tmp_path)
    _, same = published(tmp_path, server={"batchSize": 8}, scaling={"min": 2})
    upload = {**PUBLISHED, "source": "gs://uploads/llama"}
    others = [
        published(tmp_path, **each)[1]
        for each in ({"dtype": "int8"}, {"model": LLAMA_3}, {"weights": upload}, {"revision": "a" * 40})
    ]
    assert (same.job_name, same.prefix) == (one.job_name, one.prefix)
    assert len({one.job_name, *(each.job_name for each in others)}) == 5
    assert len({one.prefix, *(each.prefix for each in others)}) == 5


def test_the_plan_says_that_nobody_verifies_what_it_writes(tmp_path: Path) -> None:
    (warning,) = [each for each in whole(tmp_path).warnings if "weights.converter" in each]
    assert "nobody verifies what us-docker.pkg.dev/cloud-tpu-images/inference/inference-checkpoint" in warning
    assert any("does not quantise" in each for each in whole(tmp_path, dtype="int8").warnings)


def test_without_an_address_of_its_image_it_cannot_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**servers(), JETSTREAM: servers()[JETSTREAM].model_copy(update={"converter_image": None})}
    monkeypatch.setattr(converter_plan, "servers", lambda: known)
    with pytest.raises(ValueError, match=f"^{JETSTREAM} has no converterImage in tpu_servers.yaml$"):
        whole(tmp_path)


def test_llmstack_plan_shows_where_its_checkpoint_lies(tmp_path: Path) -> None:
    found, converter = published(tmp_path)
    row = dict(deployment_rows(found))["weights"]
    assert (
        f"converted unverified by {converter.image} to gs://{found.staged.bucket}/{converter.prefix}" in row
    )


def test_nodes_that_do_not_hold_a_model_twice_are_refused_and_the_ones_named_hold_it(tmp_path: Path) -> None:
    (problem,) = problems(stack(weights=PUBLISHED), tmp_path).problems
    assert problem.path == "llm:cluster.cpuPool.machine"
    assert "needs 30.00 GiB" in problem.reason
    named = problem.remedy.removeprefix("use ").partition(",")[0]
    found = plan({**stack(weights=PUBLISHED), "llm:cluster": {"cpuPool": {"machine": named}}}, tmp_path)
    assert found.cluster
    assert found.cluster.cpu_pool.machine_type == named


def test_a_model_that_no_node_holds_twice_is_refused_with_the_own_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "smallest_machine", lambda memory: None)
    (problem,) = problems(stack(weights=PUBLISHED), tmp_path).problems
    assert problem.remedy.startswith("leave converter out")


def test_gemma_in_the_layout_of_transformers_is_refused(tmp_path: Path) -> None:
    found = problems(
        {**stack(model="google/gemma-2b", weights=PUBLISHED), "llm:cluster": LARGE_NODES}, tmp_path
    ).problems
    assert [each.path for each in found] == ["llm:deployments.llama.weights.converter"]
    assert "one *.ckpt" in found[0].reason
    assert "weights.converter" in refusals(tmp_path, model="google/gemma-2b", weights=PUBLISHED)


def test_nodes_offer_what_is_counted_on_and_disks_hold_what_is_written(tmp_path: Path) -> None:
    for machine in compute_machines().values():
        known = machines.machine(machine.name)
        if known is not None and not machine.accelerator and machine.name.startswith(("e2", "n2")):
            left = known.allocatable_memory * GIB - nodes.memory_for_pods(machine)
            assert GIB - 1 <= left < GIB + 2, machine.name
    found = whole(tmp_path)
    assert found.cluster
    converter = found.on_tpu["llama"].converter
    assert converter
    assert found.cluster.cpu_pool.disk_gb > nodes.DISK_GB
    assert found.cluster.cpu_pool.disk_gb * 10**9 > converter.scratch
    assert nodes.boot_disk_gb(0) == nodes.DISK_GB


def test_both_forms_of_identity_have_both_halves(tmp_path: Path) -> None:
    direct, _ = published(tmp_path)
    borrowed, converter = published(tmp_path, identity="service-account")
    assert direct.accounts == ()
    assert converter.identity.account in borrowed.accounts
    assert len({account.account_id for account in borrowed.accounts}) == 3
    for found in (direct, borrowed):
        assert check_objects(found) == []


def test_without_it_nothing_of_it_is_there(tmp_path: Path) -> None:
    found = plan(stack(), tmp_path)
    assert not [each for each in found.on_tpu["llama"].objects if "converter" in each.name]
    assert found.cluster
    assert found.cluster.cpu_pool.disk_gb == nodes.DISK_GB


def _argument(index: int, value: str) -> Callable[[Any], None]:
    def put(manifest: Any) -> None:
        server(manifest)["args"][index] = value

    return put


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_argument(3, "-i=gs://other/base/"), "is not the -i"),
        (_argument(4, "-o=gs://other/final/"), "is not the -o"),
        (_argument(5, "-q=True"), "is not the -q"),
        (lambda one: template(one).update(serviceAccountName="default"), "nothing makes"),
        (lambda one: server(one)["resources"]["requests"].update({"google.com/tpu": "8"}), "must not hold"),
    ],
)
def test_a_mistake_put_back_into_its_job_is_found_out(
    change: Callable[[Any], object], reason: str, tmp_path: Path
) -> None:
    broken = changed(published(tmp_path)[0], "converter-job", change)
    assert [reason in problem.reason for problem in check_objects(broken)] == [True]


def test_an_account_that_is_missing_or_another_identitys_half_is_found_out(tmp_path: Path) -> None:
    found, converter = published(tmp_path)
    assert all("nothing makes" in one.reason for one in check_objects(without(found, "converter-account")))
    moved = dataclasses.replace(
        converter, identity=dataclasses.replace(converter.identity, namespace="other")
    )
    broken = dataclasses.replace(found, converter=moved)
    assert [each.reason for each in check_objects(broken)] == ["is not where the pods are"]


# What of the original's script the command changes, without its network.
ORIGINAL = """\
while getopts 's:m:n:q:i:o:' flag; do
    case "${flag}" in
        m) MODEL_PATH="$(echo ${OPTARG} | awk -F'=' '{print $2}')" ;;
        i) INPUT_CKPT_DIR="$(echo ${OPTARG} | awk -F'=' '{print $2}')" ;;
        *) ;;
    esac
done
TO_REPLACE=gs://$(echo ${INPUT_CKPT_DIR} | awk -F'/' '{print $3}')
HUGGINGFACE="False"
INPUT_CKPT_DIR_LOCAL=${INPUT_CKPT_DIR/${TO_REPLACE}/${MODEL_PATH}}
TOKENIZER_PATH=${INPUT_CKPT_DIR_LOCAL}/tokenizer.model
echo "${HUGGINGFACE} ${INPUT_CKPT_DIR_LOCAL} ${TOKENIZER_PATH}"
truncate -s 15G /pt-ckpt/model.safetensors
"""


def converted(converter: ConverterPlan, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the job's command with a script of this text in the place of the image's."""
    path = folder / "checkpoint_converter.sh"
    path.write_text(script.replace("/pt-ckpt", str(folder)), encoding="utf-8")
    places = {SCRIPT: str(path), "/tmp/converter.sh": str(folder / "changed.sh"), "/pt-ckpt": str(folder)}
    local = list(converter.command)
    for here, there in places.items():
        local = [each.replace(here, there) for each in local]
    return subprocess.run([*local, *converter.args], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("model", "tokenizer"), [("llama-2", "tokenizer.model"), ("llama-3", "original/tokenizer.model")]
)
def test_its_script_reads_the_layout_of_transformers_from_the_mounted_bucket(
    model: str, tokenizer: str, tmp_path: Path
) -> None:
    found, converter = published(tmp_path, **({"model": LLAMA_3} if model == "llama-3" else {}))
    ended = converted(converter, ORIGINAL, tmp_path)
    source = f"/models/{found.staged.prefix}"
    assert (ended.stdout, ended.stderr) == (f"True {source} {source}/{tokenizer}\n", "")


def test_a_script_that_is_another_is_not_run(tmp_path: Path) -> None:
    _, converter = published(tmp_path)
    ended = converted(converter, 'HUGGINGFACE="${6}"; echo ran\n', tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "not the converter that is known\n")


def test_a_checkpoint_without_its_tensors_ends_in_an_error(tmp_path: Path) -> None:
    _, converter = published(tmp_path)
    ended = converted(converter, ORIGINAL.replace("15G", "1K"), tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (1, "the checkpoint lacks tensors")


def test_a_rehearsal_says_that_it_did_not_convert(tmp_path: Path) -> None:
    found, _ = published(tmp_path)
    pod = {"spec": found.object("converter-job").manifest["spec"]["template"]["spec"]}
    assert not_rehearsed(pod) == "a rehearsed node has not Google's converter: nothing was converted"
    pod["spec"]["containers"][0]["image"] = "us-docker.pkg.dev/acme/images/weights:v1"
    assert not_rehearsed(pod) is None
