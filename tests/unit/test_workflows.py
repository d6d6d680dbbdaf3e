"""What the GitHub workflows must hold to, whatever else is changed in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
FILES = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
WITH_IDENTITY = {"deploy.yml", "deploy-stack.yml", "preview.yml"}
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
ENVIRONMENTS = ("dev", "staging", "prod")
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"


def load(name: str) -> dict[str, Any]:
    """A workflow; YAML 1.1 takes its key `on` for a truth value."""
    content = yaml.safe_load((CHECKOUT / ".github/workflows" / name).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in FILES:
        for name, job in load(path.name)["jobs"].items():
            yield path.name, name, job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for file, name, job in jobs():
        for step in job.get("steps", []):
            yield f"{file}: {name}", step


def triggers(file: str) -> set[str]:
    found = load(file)["on"]
    return {found} if isinstance(found, str) else set(found)


def test_there_are_the_workflows_of_a_pull_request_and_of_a_merge() -> None:
    assert {path.name for path in FILES} == {"pull-request.yml", "comment.yml", *WITH_IDENTITY}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_workflow_runs_a_pull_requests_code_with_the_repositorys_rights(path: Path) -> None:
    assert "pull_request_target" not in triggers(path.name)
    assert load(path.name)["permissions"] == {}
    if "workflow_run" in triggers(path.name):
        checkouts = [
            step
            for where, step in steps()
            if where.startswith(path.name) and "checkout" in step.get("uses", "")
        ]
        assert checkouts
        assert all(set(step["with"]) == {"persist-credentials"} for step in checkouts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_identity_token_is_asked_for_by_deploy_and_preview_alone(path: Path) -> None:
    asked = "id-token" in path.read_text(encoding="utf-8")
    assert asked == (path.name in WITH_IDENTITY)


def test_a_forks_pull_request_starts_nothing_that_may_write_or_that_knows_a_secret() -> None:
    for _, job in load("pull-request.yml")["jobs"].items():
        assert job["permissions"] == {"contents": "read"}
    text = (CHECKOUT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "github.token" not in text


def test_the_real_preview_is_for_branches_of_this_repository_only() -> None:
    for job in load("preview.yml")["jobs"].values():
        assert SAME_REPOSITORY in job["if"]


def test_only_the_comment_may_write_to_a_pull_request() -> None:
    writers = {file for file, _, job in jobs() if "write" in (job["permissions"].get("pull-requests") or "")}
    assert writers == {"comment.yml"}
    writes = {key for _, _, job in jobs() for key, value in job["permissions"].items() if value == "write"}
    assert writes == {"id-token", "pull-requests"}


@pytest.mark.parametrize(("file", "name", "job"), list(jobs()), ids=lambda value: str(value)[:40])
def test_every_job_has_a_time_limit_and_says_what_it_may_do(
    file: str, name: str, job: dict[str, Any]
) -> None:
    assert isinstance(job["permissions"], dict)
    if "uses" in job:
        assert job["uses"].startswith("./.github/workflows/")
    else:
        assert 0 < job["timeout-minutes"] <= 360


def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it() -> None:
    found = [line for path in FILES for line in path.read_text().splitlines() if re.search(r"\buses:", line)]
    foreign = [line for line in found if "uses: ./" not in line]
    assert foreign
    for line in foreign:
        assert re.fullmatch(rf"\s*(- )?uses: {PINNED.pattern} # v\d+\.\d+\.\d+", line), line


def test_one_action_has_one_pin_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for _, step in steps():
        if "uses" in step:
            action, _, commit = step["uses"].partition("@")
            pins.setdefault(action, set()).add(commit)
    assert {action: len(commits) for action, commits in pins.items()} == dict.fromkeys(pins, 1)


def test_a_checkout_leaves_no_token_behind() -> None:
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize(("where", "step"), list(steps()), ids=lambda value: str(value)[:40])
def test_a_script_gets_values_through_its_environment_only(where: str, step: dict[str, Any]) -> None:
    assert "${{" not in step.get("run", ""), where


def test_a_stack_is_deployed_by_one_run_at_a_time_and_none_is_cut_off() -> None:
    (job,) = load("deploy-stack.yml")["jobs"].values()
    assert job["concurrency"] == {"group": "pulumi-${{ inputs.stack }}", "cancel-in-progress": False}
    assert job["environment"] == "${{ inputs.stack }}"


def test_a_merge_goes_from_dev_over_staging_to_prod() -> None:
    deploy = load("deploy.yml")
    assert deploy["on"]["push"] == {"branches": ["main"]}
    assert set(deploy["on"]) == {"push", "workflow_dispatch"}
    assert tuple(job["with"]["stack"] for job in deploy["jobs"].values()) == ENVIRONMENTS
    assert [job.get("needs") for job in deploy["jobs"].values()] == [None, *ENVIRONMENTS[:-1]]


@pytest.mark.parametrize("file", ["deploy-stack.yml", "preview.yml"])
def test_a_real_engine_ignores_the_stand_ins(file: str) -> None:
    engines = [
        step
        for where, step in steps()
        if where.startswith(file) and "-m llmstack.deploy " in step.get("run", "")
    ]
    (engine,) = engines
    assert engine["env"]["PULUMI_IGNORE_AMBIENT_PLUGINS"] == "true"


@pytest.mark.parametrize("file", ["deploy-stack.yml", "preview.yml"])
def test_nothing_is_installed_after_google_has_let_the_run_in(file: str) -> None:
    order = [
        step.get("uses", step.get("run", ""))
        for where, step in steps()
        if where.startswith(file) and "list" not in where
    ]
    auth = next(index for index, what in enumerate(order) if what.startswith("google-github-actions/auth@"))
    assert not any("install" in what for what in order[auth:])
    assert any("install-engine" in what for what in order[:auth])


def test_what_a_rehearsal_uploads_is_what_the_comment_downloads() -> None:
    uploads = [step["with"] for _, step in steps() if "upload-artifact" in step.get("uses", "")]
    downloads = [step["with"] for _, step in steps() if "download-artifact" in step.get("uses", "")]
    (upload,) = uploads
    assert len(downloads) == 2
    for download in downloads:
        assert upload["name"].startswith(download["pattern"].removesuffix("*"))
        assert upload["path"] == download["path"]
    assert load("comment.yml")["on"]["workflow_run"]["workflows"] == [load("pull-request.yml")["name"]]


def test_a_rehearsal_that_never_runs_leaves_a_file_that_is_no_report() -> None:
    first, *others = load("pull-request.yml")["jobs"]["rehearse"]["steps"]
    assert ': > "$RUNNER_TEMP/results/$STACK.json"' in first["run"]
    assert not any("mkdir" in step.get("run", "") for step in others)


def test_a_comment_is_written_only_for_a_run_that_has_run() -> None:
    condition = load("comment.yml")["jobs"]["comment"]["if"]
    (ended,) = re.findall(r"fromJSON\('(.*)'\)", condition)
    assert json.loads(ended) == ["success", "failure", "timed_out"]
