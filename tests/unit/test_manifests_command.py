"""`llmstack manifests`: what it prints can be read back, is what the plan holds, and is in a usable order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from llmstack.main import app
from providers.modelops.kubernetes_jobs import object_name
from stacks.config import from_stack_file
from stacks.plan import build_plan
from stacks.plan.types_gke import GkeTpuPlan
from tests.unit.tpu_project import make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a checkout with a deployment on TPUs and one on Cloud Run."""
    made = make_project(tmp_path / "project")
    monkeypatch.chdir(made)
    return made


def plan_of(project: Path) -> GkeTpuPlan:
    return build_plan(from_stack_file(project / "Pulumi.dev.yaml")).on_tpu["llama"]


def manifests(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, ["manifests", *words])
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done


def test_every_object_of_the_plan_is_a_document_and_nothing_else_is(project: Path) -> None:
    documents = list(yaml.safe_load_all(manifests("dev").stdout))
    planned = [each.manifest for each in plan_of(project).objects]
    printed = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    assert len(printed) == len(documents) == len(planned) + 1
    assert sum(kind == "Job" for kind, _ in printed) == 1
    for manifest in planned:
        found = printed[manifest["kind"], manifest["metadata"]["name"]]
        assert json.dumps(found, sort_keys=True) == json.dumps(manifest, sort_keys=True, default=dict)


def test_namespaces_come_first_and_what_needs_the_weights_last(project: Path) -> None:
    kinds = [each["kind"] for each in yaml.safe_load_all(manifests("dev").stdout)]
    assert kinds[0] == "Namespace"
    assert kinds.index("ServiceAccount") < kinds.index("Deployment")
    stages = [each["stage"] for each in json.loads(manifests("dev", "--json").stdout)]
    assert stages == sorted(stages, key=["base", "staging", "fill", "serve"].index)


def test_the_job_that_stages_the_model_is_printed_as_the_provider_makes_it(project: Path) -> None:
    found = json.loads(manifests("dev", "--json").stdout)
    (job,) = [each["manifest"] for each in found if each["stage"] == "staging"]
    plan = plan_of(project)
    assert job["kind"] == "Job"
    assert job["metadata"]["namespace"] == plan.namespace
    assert job["metadata"]["name"] == object_name(plan.weights.execution_labels["llm-target"])
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == list(plan.weights.args)
    assert f"{plan.staged.uri}" in container["args"]
    accounts = [each["manifest"] for each in found if each["manifest"]["kind"] == "ServiceAccount"]
    assert pod["serviceAccountName"] in [each["metadata"]["name"] for each in accounts]
    assert "google.com/tpu" not in json.dumps(pod)


def test_where_the_model_is_staged_outside_the_cluster_there_is_no_job(project: Path) -> None:
    text = (project / "Pulumi.dev.yaml").read_text()
    outside = text.replace("      scaling: {min: 2, max: 3}\n", "      weights: {runner: cloud-run}\n")
    (project / "Pulumi.dev.yaml").write_text(outside)
    assert "Job" not in [each["kind"] for each in yaml.safe_load_all(manifests("dev").stdout)]


@pytest.mark.usefixtures("project")
def test_a_comment_names_deployment_and_stage_of_each_object() -> None:
    text = manifests("dev", "llama").stdout
    assert text.count("\n# deployment llama, stage ") == text.count("---\n")
    assert "# deployment llama, stage serve (made when the weights are where" in text


def test_an_image_of_the_stack_is_by_tag_and_says_so(project: Path) -> None:
    text = (project / "Pulumi.dev.yaml").read_text()
    disk = text.replace("      scaling: {min: 2, max: 3}\n", "      weights: {volume: disk}\n")
    (project / "Pulumi.dev.yaml").write_text(disk)
    shown = manifests("dev").stdout
    ours = {name for each in plan_of(project).objects for name in each.images}
    assert ours == {"weights"}
    comment = "# image weights of this stack, by its tag: pulumi up writes the digest of what it has built"
    assert comment in shown


def test_other_deployments_have_no_objects_and_that_is_said(project: Path) -> None:
    assert "assistant is on topology cloud-run" in manifests("dev", "assistant", status=2).stderr
    wrong = manifests("dev", "lama", status=2).stderr
    assert "there is no deployment 'lama' in stack dev: did you mean llama?" in wrong
    head, _, _ = (project / "Pulumi.dev.yaml").read_text().partition("    llama:")
    only = head + "    assistant: {topology: cloud-run, model: gpt2}\n"
    (project / "Pulumi.dev.yaml").write_text(only)
    assert "stack dev has no deployment on topology gke-tpu" in manifests("dev", status=2).stderr


def test_a_wrong_stack_file_is_told_as_other_commands_tell_it(project: Path) -> None:
    text = (project / "Pulumi.dev.yaml").read_text()
    (project / "Pulumi.dev.yaml").write_text(text.replace("ct5lp-hightpu-8t", "ct5lp-hightpu-4t"))
    stderr = manifests("dev", status=1).stderr
    assert "llm:deployments.llama.tpu.machine" in stderr
    assert "2x4 is 8 chips = 2 hosts of 4 chips" in stderr
    assert CliRunner().invoke(app, ["plan", "dev"]).stderr == stderr


@pytest.mark.usefixtures("project")
def test_the_plan_of_a_stack_shows_slices_chips_nodes_and_what_they_cost() -> None:
    done = CliRunner().invoke(app, ["plan", "dev"])
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    assert "8 chips of v5e (2x4) on one ct5lp-hightpu-8t, in us-west4-a" in shown
    assert "$19.20 to $28.80 for 2 to 3 slices of $9.60 (on demand, United States)" in shown
    assert "tpu-llama: 2 to 3" in shown
    idle = "$19.43 per hour when idle: cluster $0.10, at least 1 × e2-standard-4 $0.13, slices $19.20"
    assert idle in shown
    assert "Cluster dev" in shown
    assert json.loads(CliRunner().invoke(app, ["plan", "dev", "--json"]).stdout)["cluster"]["name"] == "dev"
