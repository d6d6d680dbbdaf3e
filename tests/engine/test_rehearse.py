"""Dress rehearsals, by the command that a person uses: a new stack, a change, two that must not pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.lab import STACK, make_project

CANARY = "v1:TheCipherOfARealSecret:cipher"
NEW = f"""
  gcp:project: llm-test
  gcp:region: us-central1
  llm:environment: prod
  llm:hubToken: {{secure: "{CANARY}"}}
  llm:deployments:
    assistant:
      topology: cloud-run
      model: google/flan-t5-small
"""
CHANGE = """
  gcp:project: llm-test
  gcp:region: REGION
  llm:environment: dev
  llm:hubTokenSecret: hf-token
  llm:deployments:
    assistant:
      topology: cloud-run
      model: MODEL
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs the command with a temporary folder of its own; nothing may be left in it, running or not."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    real = {
        "GOOGLE_PROJECT": "a-real-project",
        "PULUMI_BACKEND_URL": "gs://real",
        "PULUMI_CONFIG_PASSPHRASE": "x",
    }
    environment = {**os.environ, **real, "TMPDIR": str(scratch)}

    def start(root: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
        done = subprocess.run(
            [sys.executable, "-m", "llmstack.main", "rehearse", STACK, "--json", *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert list(scratch.iterdir()) == []
        assert not [
            p for p in psutil.process_iter(["cmdline"]) if str(scratch) in " ".join(p.info["cmdline"] or ())
        ]
        return done.returncode, json.loads(done.stdout), done.stdout + done.stderr

    return start


def checks(report: dict[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["passed"] for check in report["checks"]}


def test_a_new_protected_stack_passes_and_its_file_and_secret_stay_untouched(
    tmp_path: Path, run: Any
) -> None:
    root = make_project(tmp_path / "head", NEW)
    before = {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}
    base = make_project(tmp_path / "base", NEW)
    (base / f"Pulumi.{STACK}.yaml").unlink()
    markdown = tmp_path / "comment.md"
    code, report, said = run(root, "--base", str(base), "--markdown", str(markdown))
    assert code == 0, said
    assert "the stack is new" in report["base"]
    assert {change["op"] for change in report["changes"]} == {"create"}
    assert all(checks(report).values())
    assert checks(report).keys() >= {"second preview is empty", "destroy is blocked", "nothing is left over"}
    assert report["containers"] == "stubbed"
    written = markdown.read_text(encoding="utf-8")
    assert "Containers are stubbed" in written
    for secret in (CANARY, "rehearsed-secret"):
        assert secret not in said + written
    assert {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()} == before
    assert not (root / ".rehearsal").exists()


def test_a_change_shows_what_is_updated_and_what_data_is_lost(tmp_path: Path, run: Any) -> None:
    base = make_project(tmp_path / "base", CHANGE.replace("REGION", "us-east4").replace("MODEL", "gpt2"))
    head = make_project(
        tmp_path / "head", CHANGE.replace("REGION", "us-central1").replace("MODEL", "google/flan-t5-small")
    )
    code, report, said = run(head, "--base", str(base))
    assert code == 0, said
    assert report["base"] == "base"
    assert all(checks(report).values())
    found = {change["name"]: change for change in report["changes"]}
    lost = {
        name for name, change in found.items() if change["holds"] and change["op"] in ("replace", "delete")
    }
    assert lost == {"foundation-models", "foundation-images"}
    model = [
        each for each in found["assistant-service"]["properties"] if each["after"] == "google/flan-t5-small"
    ]
    assert [each["before"] for each in model] == ["gpt2"]
    (location,) = [each for each in found["foundation-models"]["properties"] if each["path"] == "location"]
    assert (location["before"], location["after"], location["replaces"]) == ("US-EAST4", "US-CENTRAL1", True)
    # Neither image changed between the two.
    contexts = [
        each["path"] for name in found if name.startswith("image-") for each in found[name]["properties"]
    ]
    assert "contextHash" not in contexts


def test_a_stack_on_vertex_passes(tmp_path: Path, run: Any) -> None:
    config = CHANGE.replace("REGION", "europe-west4").replace("MODEL", "gpt2")
    root = make_project(
        tmp_path / "head",
        config.replace("topology: cloud-run", "topology: vertex\n      metadataStore: true"),
    )
    code, report, said = run(root)
    assert code == 0, said
    assert all(checks(report).values())
    assert checks(report).keys() >= {"second preview is empty", "nothing is left over"}
    made = {change["name"] for change in report["changes"] if change["op"] == "create"}
    assert {"assistant-endpoint", "assistant-model", "assistant-deployment"} <= made


def test_a_stack_that_is_never_done_does_not_pass(tmp_path: Path, run: Any) -> None:
    root = make_project(tmp_path / "head", CHANGE.replace("REGION", "us-central1").replace("MODEL", "gpt2"))
    program = (root / "__main__.py").read_text(encoding="utf-8")
    (root / "__main__.py").unlink()
    # A label that is another one at each run: the second preview finds something to do.
    (root / "__main__.py").write_text(
        "import dataclasses\nimport os\nimport stacks.stack as stack\nkept = stack.build_stack\n"
        "def build(plan, token=None):\n"
        "    labels = {**plan.foundation.labels, 'run': str(os.getpid())}\n"
        "    foundation = dataclasses.replace(plan.foundation, labels=labels)\n"
        "    return kept(dataclasses.replace(plan, foundation=foundation), token)\n"
        "stack.build_stack = build\n" + program,
        encoding="utf-8",
    )
    code, report, _ = run(root)
    assert code == 1
    assert checks(report)["second preview is empty"] is False
    (check,) = [each for each in report["checks"] if each["name"] == "second preview is empty"]
    assert "update foundation-models" in check["detail"]


def test_a_wrong_configuration_ends_the_rehearsal_before_the_engine(tmp_path: Path, run: Any) -> None:
    root = make_project(tmp_path / "head", CHANGE.replace("REGION", "us-central1").replace("MODEL", "gtp2"))
    code, report, _ = run(root)
    assert code == 1
    assert checks(report) == {"configuration": False}
    assert "gtp2" in report["checks"][0]["detail"]
    assert report["figures"] == []
    assert report["changes"] == []
