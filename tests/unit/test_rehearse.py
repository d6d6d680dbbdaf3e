"""The parts of a dress rehearsal that need no engine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pulumi.automation.events import EngineEvent

from llmstack.rehearse.ambient import without_credentials
from llmstack.rehearse.base import BaseError, base_version
from llmstack.rehearse.changes import Watcher
from rehearsal.given import put_given
from rehearsal.runner.choose import choose_runner, starts_services
from rehearsal.runner.stub import StubRunner
from rehearsal.runner.types import Image, StartError, WorkloadSpec
from rehearsal.standins.docker_images import snapshot_folder
from rehearsal.world import World
from stacks.config import from_stack_file
from stacks.plan import build_plan
from stacks.plan.types import StackPlan

BUCKET = "gcp:storage/bucket:Bucket"
DIGEST = "sha256:" + "7" * 64


def step(op: str, name: str = "models", kind: str = BUCKET, custom: bool = True, **more: Any) -> EngineEvent:
    """The event before a step, as the engine writes it."""
    urn = f"urn:pulumi:dev::llm::llm:index:Foundation${kind}::{name}"
    state = {"type": kind, "urn": urn, "custom": custom, "id": "x", "parent": "", "provider": ""}
    old, new = more.pop("old", None), more.pop("new", None)
    metadata: dict[str, Any] = {"op": op, "urn": urn, "type": kind, "provider": "", **more}
    metadata["old"] = {**state, "inputs": old} if old is not None or op not in ("create",) else None
    metadata["new"] = {**state, "inputs": new} if new is not None or op not in ("delete",) else None
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "resourcePreEvent": {"metadata": metadata}})


def watched(*events: EngineEvent) -> Watcher:
    watcher = Watcher()
    for event in events:
        watcher.on_event(event)
    return watcher


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        (["create"], "create"),
        (["update"], "update"),
        (["delete"], "delete"),
        (["create-replacement", "replace", "delete-replaced"], "replace"),
        (["delete-replaced", "replace", "create-replacement"], "replace"),
        (["delete-replaced"], "delete"),
    ],
)
def test_the_steps_of_one_resource_are_one_change(ops: list[str], expected: str) -> None:
    (change,) = watched(*(step(op) for op in ops)).changes()
    assert change.op == expected
    assert change.loses_data == (expected in ("replace", "delete"))


def test_what_stays_and_what_only_groups_is_no_change() -> None:
    assert watched(step("same"), step("read"), step("refresh")).changes() == ()
    assert watched(step("create", kind="llm:index:Foundation", custom=False)).changes() == ()
    assert watched(step("create", kind="pulumi:providers:gcp")).changes() == ()


def test_a_change_shows_its_properties_and_what_forces_a_replacement() -> None:
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    event = step(
        "replace",
        old={"location": "US-EAST1", "labels": {"a-b": "1"}, "token": "[secret]"},
        new={"location": "US-CENTRAL1", "labels": {}, "token": "[secret]", "url": unknown},
        keys=["location"],
        detailedDiff={
            "location": {"diffKind": "update-replace", "inputDiff": True},
            'labels["a-b"]': {"diffKind": "delete", "inputDiff": True},
            "token": {"diffKind": "update", "inputDiff": True},
            "url": {"diffKind": "add", "inputDiff": True},
        },
    )
    (change,) = watched(event).changes()
    shown = {each.path: (each.before, each.after, each.replaces) for each in change.properties}
    assert shown == {
        "location": ("US-EAST1", "US-CENTRAL1", True),
        'labels["a-b"]': ("1", None, False),
        "token": ("[secret]", "[secret]", False),
        "url": (None, "(known after up)", False),
    }


def test_losses_come_first() -> None:
    changes = watched(step("update", "a"), step("delete", "b", "gcp:x/y:Z"), step("delete", "z")).changes()
    assert [change.name for change in changes] == ["z", "b", "a"]


def test_errors_are_kept_once_and_without_colours() -> None:
    said = {"message": "<{%reset%}>no quota<{%reset%}>\n", "color": "", "severity": "error"}
    event = EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": said})
    assert watched(event, event).errors == "no quota"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout whose working tree is ahead of its one commit."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--initial-branch=main", ".")
    (root / "Pulumi.yaml").write_text("name: llm\n")
    (root / "Pulumi.dev.yaml").write_text("config: {}\n")
    git(root, "add", ".")
    git(root, "commit", "--message=one")
    (root / "Pulumi.dev.yaml").write_text("config: {changed: true}\n")
    (root / "Pulumi.new.yaml").write_text("config: {}\n")
    (root / ".venv").mkdir()
    return root


def test_the_base_is_the_commit_and_the_working_tree_stays_as_it_is(project: Path) -> None:
    with base_version(project, "main") as base:
        source = base.stack_file("dev")
        assert source is not None
        assert source.read_text() == "config: {}\n"
        assert base.stack_file("new") is None
        assert (base.root / ".venv").resolve() == project / ".venv"
        assert base.label.startswith("main (")
    assert not base.root.exists()
    status = subprocess.run(
        ["git", "status", "--short"], cwd=project, capture_output=True, text=True, check=True
    )
    assert status.stdout.split() == ["M", "Pulumi.dev.yaml", "??", "Pulumi.new.yaml"]
    assert (project / "Pulumi.dev.yaml").read_text() == "config: {changed: true}\n"


def test_the_base_may_be_a_folder_and_is_copied(project: Path, tmp_path: Path) -> None:
    with base_version(tmp_path, str(project)) as base:
        (base.root / "Pulumi.dev.yaml").write_text("spoiled")
    assert (project / "Pulumi.dev.yaml").read_text() == "config: {changed: true}\n"


def test_a_file_of_the_base_has_the_permissions_that_it_has_in_the_working_tree(project: Path) -> None:
    (project / "Pulumi.yaml").chmod(0o664)
    (project / "Pulumi.dev.yaml").chmod(0o755)
    with base_version(project, "main") as base:
        assert (base.root / "Pulumi.yaml").stat().st_mode & 0o777 == 0o664
        # Whether a file can be run is a change that git knows of.
        assert not (base.root / "Pulumi.dev.yaml").stat().st_mode & 0o111


@pytest.mark.parametrize("wanted", ["no-such-branch", "--output=/tmp/x", "main:Pulumi.yaml"])
def test_what_is_no_version_is_refused_in_one_line(project: Path, wanted: str) -> None:
    with pytest.raises(BaseError, match="neither a folder nor a commit"), base_version(project, wanted):
        pass


def test_a_folder_without_the_project_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseError, match=r"no Pulumi\.yaml"), base_version(project, str(tmp_path / "empty")):
        pass


def test_nothing_that_reaches_a_real_cloud_is_left_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = (
        "GOOGLE_CREDENTIALS",
        "PULUMI_ACCESS_TOKEN",
        "CLOUDSDK_CORE_PROJECT",
        "GITHUB_TOKEN",
        "HF_TOKEN",
    )
    for name in (*secrets, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "LLMSTACK_REHEARSAL"):
        monkeypatch.setenv(name, "x")
    before = dict(os.environ)
    with without_credentials():
        assert not set(secrets) & set(os.environ)
        assert "ACTIONS_ID_TOKEN_REQUEST_TOKEN" not in os.environ
        assert "LLMSTACK_REHEARSAL" not in os.environ
        assert os.environ["PATH"] == before["PATH"]
        assert isinstance(choose_runner(), StubRunner)
        assert not starts_services()
    assert dict(os.environ) == before


def test_with_stubbed_containers_nothing_but_the_weights_job_runs(tmp_path: Path) -> None:
    image = Image("serve", DIGEST, tmp_path, tmp_path)
    spec = WorkloadSpec("w", tmp_path, tmp_path, image, (), ("serve",), {})
    with pytest.raises(StartError, match="only the weights job runs"):
        StubRunner().start(spec)
    assert not (tmp_path / "log").exists()


def plan_with(tmp_path: Path, more: str) -> StackPlan:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(
        "config:\n  gcp:project: acme-ml-dev\n  gcp:region: us-central1\n  llm:environment: dev\n"
        "  llm:deployments:\n    a: {topology: cloud-run, model: gpt2}\n" + more
    )
    return build_plan(from_stack_file(path))


def test_what_a_stack_takes_for_granted_is_there_before_it(tmp_path: Path) -> None:
    plan = plan_with(
        tmp_path,
        "  llm:hubTokenSecret: projects/acme-shared/secrets/hf\n"
        f"  llm:images: {{serve: {{digest: '{DIGEST}'}}}}\n",
    )
    world = World(tmp_path)
    put = put_given(world, plan)
    secret = "secretmanager.googleapis.com/projects/acme-shared/secrets/hf"
    assert put[:2] == [secret, f"{secret}/versions/1"]
    assert len(put) == 3
    assert put[2].endswith(f"/dockerImages/serve@{DIGEST}")
    assert all(world.get(name) is not None for name in put)
    assert world.secrets.get(f"{secret}/versions/1") == b"rehearsed-secret"
    assert snapshot_folder(world, DIGEST).is_dir()
    assert put_given(world, plan) == []


def test_an_account_that_may_call_and_is_not_the_stacks_own_exists_already(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "")
    own = plan.deployments["a"].account.email
    callers = f'["serviceAccount:web@acme-web.iam.gserviceaccount.com", "serviceAccount:{own}", "allUsers"]'
    entry = f"    b: {{topology: cloud-run, model: gpt2, access: {{invokers: {callers}}}}}\n"
    put = put_given(World(tmp_path), plan_with(tmp_path, entry))
    account = "projects/acme-web/serviceAccounts/web@acme-web.iam.gserviceaccount.com"
    assert put == [f"iam.googleapis.com/{account}"]


def test_a_bucket_from_which_weights_come_is_there_and_empty_before_the_stack(tmp_path: Path) -> None:
    weights = "weights: {source: 'gs://uploads/llama/base'}"
    entry = (
        "    b: {topology: gke-tpu, engine: jetstream, model: meta-llama/Llama-2-7b-hf, "
        f"tpu: {{zone: us-central1-a}}, {weights}}}\n"
    )
    plan, world = plan_with(tmp_path, entry), World(tmp_path)
    assert put_given(world, plan) == ["storage.googleapis.com/buckets/uploads"]
    assert world.objects.list("uploads", "") == []
    assert put_given(world, plan) == []


def test_a_stack_that_makes_everything_itself_is_given_nothing(tmp_path: Path) -> None:
    assert put_given(World(tmp_path), plan_with(tmp_path, "")) == []
