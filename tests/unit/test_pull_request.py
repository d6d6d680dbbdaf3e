"""How the comment of a pull request is found, written and updated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llmstack.pull_request.__main__ import main
from llmstack.pull_request.comment import MARKER
from llmstack.pull_request.results import read_results
from llmstack.pull_request.stacks import stacks
from tests.unit.github_api import BOT, TOKEN, Api, serving

RECORDED = Path(__file__).parents[1] / "goldens/pull_request"
HEAD = "c0ffee" * 6 + "c0de"
Run = Callable[..., Result]


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(Api()) as running:
        running.open_pull(7, HEAD)
        yield running


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "dev.json").write_bytes((RECORDED / "dev.json").read_bytes())
    return folder


@pytest.fixture
def run(api: Api, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command as a workflow does; `event` becomes the event's file."""
    import typer

    app = typer.Typer()
    app.command()(main)
    monkeypatch.setenv("GITHUB_API_URL", api.address)
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("GITHUB_REPOSITORY", api.repository)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.delenv("GITHUB_EVENT_PATH", raising=False)

    def start(*arguments: str, event: dict | None = None) -> Result:
        if event is not None:
            path = tmp_path / "event.json"
            path.write_text(json.dumps(event))
            monkeypatch.setenv("GITHUB_EVENT_PATH", str(path))
        return CliRunner().invoke(app, ["--results", str(results), *arguments])

    return start


def bodies(api: Api) -> list[str]:
    return [comment["body"] for comment in api.comments[7]]


def workflow_run(head: str = "acme/llm", sha: str = HEAD, branch: str = "topic") -> dict:
    owner = {"login": head.split("/")[0]}
    return {
        "workflow_run": {
            "head_sha": sha,
            "head_branch": branch,
            "head_repository": {"full_name": head, "owner": owner},
        }
    }


def test_the_first_run_writes_the_comment_and_the_next_one_updates_it(
    api: Api, run: Run, results: Path
) -> None:
    assert run("--pr", "7").exit_code == 0
    (first,) = bodies(api)
    assert first.startswith(MARKER)
    (results / "dev.json").unlink()
    assert run("--pr", "7").exit_code == 0
    (second,) = bodies(api)
    assert second != first


def test_the_comment_is_found_beyond_the_first_page(api: Api, run: Run) -> None:
    for number in range(230):
        api.say(7, f"remark {number}", "a-person")
    mine = api.say(7, f"{MARKER}\nold")
    assert run("--pr", "7").exit_code == 0
    assert len(bodies(api)) == 231
    (found,) = [comment for comment in api.comments[7] if comment["id"] == mine]
    assert "old" not in found["body"]


def test_a_persons_comment_that_begins_with_the_marker_stays_untouched(api: Api, run: Run) -> None:
    api.say(7, f"{MARKER} mine", "a-person")
    api.say(7, f"quoting {MARKER}", BOT)
    assert run("--pr", "7").exit_code == 0
    assert bodies(api)[:2] == [f"{MARKER} mine", f"quoting {MARKER}"]
    assert len(bodies(api)) == 3


def test_a_token_that_may_not_write_leaves_the_text_in_the_summary(
    api: Api, run: Run, tmp_path: Path
) -> None:
    api.read_only = True
    done = run("--pr", "7")
    assert done.exit_code == 0
    assert "pull-requests: write" in done.output
    assert bodies(api) == []
    assert (tmp_path / "summary").read_text().startswith(MARKER)


@pytest.mark.parametrize("head", ["acme/llm", "somebody/llm"])
def test_the_pull_request_of_a_finished_run_is_asked_of_github(api: Api, run: Run, head: str) -> None:
    api.open_pull(7, HEAD, head)
    api.open_pull(8, "0" * 40, head)
    done = run(event=workflow_run(head))
    assert done.exit_code == 0, done.output
    assert len(bodies(api)) == 1
    assert HEAD[:12] in bodies(api)[0]


@pytest.mark.parametrize(
    "event",
    [
        workflow_run(sha="0" * 40),
        workflow_run(branch="another"),
        workflow_run(head="stranger/llm"),
    ],
    ids=["newer commits", "no such branch", "another owner"],
)
def test_a_run_that_no_open_pull_request_has_at_its_head_says_nothing(
    api: Api, run: Run, event: dict
) -> None:
    done = run(event=event)
    assert done.exit_code == 0
    assert "nothing to say" in done.output
    assert bodies(api) == []


def test_a_fork_of_the_same_owner_is_not_taken_for_the_repository(api: Api, run: Run) -> None:
    event = workflow_run()
    event["workflow_run"]["head_repository"]["full_name"] = "acme/other"
    assert run(event=event).exit_code == 0
    assert bodies(api) == []


def test_a_number_that_was_given_is_checked_against_the_commit(api: Api, run: Run) -> None:
    done = run("--pr", "7", "--head", "0" * 40)
    assert done.exit_code == 0
    assert bodies(api) == []
    assert run("--pr", "7", "--head", HEAD).exit_code == 0
    assert len(bodies(api)) == 1


def test_an_event_about_no_pull_request_is_refused(run: Run) -> None:
    assert run(event={"push": {}}).exit_code == 2
    assert run().exit_code == 2


def test_a_bad_gateway_is_tried_again_and_a_comment_is_never_written_twice(api: Api, run: Run) -> None:
    api.failures = 1
    assert run("--pr", "7").exit_code == 0
    assert api.requests[0] == api.requests[1] == "GET /repos/acme/llm/issues/7/comments"
    assert len(bodies(api)) == 1
    assert sum(request.startswith("POST") for request in api.requests) == 1


def test_a_wrong_token_ends_with_one_line(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "another")
    done = run("--pr", "7")
    assert done.exit_code == 1
    assert TOKEN not in done.output
    assert "401" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_summary_needs_no_token_and_asks_nobody(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    assert run("--summary").exit_code == 0
    assert (tmp_path / "summary").read_text().startswith(MARKER)
    assert api.requests == []


def spoiled(field: str, value: object) -> bytes:
    report = json.loads((RECORDED / "dev.json").read_bytes())
    return json.dumps({**report, field: value}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 1}',
        b"x" * (5 * 1024 * 1024),
        spoiled("stack", "prod"),
        spoiled("stack", "<script>"),
        spoiled("unknown", 1),
        spoiled("base", "x" * 1000),
        spoiled("changes", [{"name": "x"}]),
        spoiled("containers", "real"),
    ],
)
def test_what_is_no_report_of_its_stack_is_not_believed(results: Path, content: bytes) -> None:
    (results / "dev.json").write_bytes(content)
    found = read_results(results)
    assert found.reports == []
    assert found.unreadable == ["dev"]


def test_a_link_in_the_results_is_not_followed(results: Path, tmp_path: Path) -> None:
    (tmp_path / "staging.json").write_bytes((RECORDED / "staging.json").read_bytes())
    (results / "staging.json").symlink_to(tmp_path / "staging.json")
    assert read_results(results).unreadable == ["staging"]


def test_files_that_are_named_after_no_stack_are_passed_over(results: Path) -> None:
    (results / "a b.json").write_text("{}")
    (results / "note.txt").write_text("{}")
    found = read_results(results)
    assert [report.stack for report in found.reports] == ["dev"]
    assert found.unreadable == []


def test_the_matrix_has_every_stack_with_a_plain_name(tmp_path: Path) -> None:
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.a-b.yaml", "Pulumi.$(x).yaml", "Pulumi.c d.yaml"):
        (tmp_path / name).touch()
    assert stacks(tmp_path) == ["a-b", "dev"]
