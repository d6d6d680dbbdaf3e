"""`llmstack weights`: the image's own program, with its arguments, signals and exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, os, signal, sys, time

def stopped(number, frame):
    print("stopped by", signal.Signals(number).name, flush=True)
    sys.exit(143)

if "-m" not in sys.argv:
    raise SystemExit("not run as a module")
print(json.dumps({"argv": sys.argv[1:], "folder": os.getcwd(), "pid": os.getpid()}), flush=True)
if "wait" in sys.argv:
    signal.signal(signal.SIGTERM, stopped)
    print("waiting", flush=True)
    time.sleep(60)
sys.exit(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 0)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the checkout, whose image has a program that tells what it was given."""
    root = tmp_path / "checkout"
    (root / "stacks" / "plan").mkdir(parents=True)
    (root / "Pulumi.yaml").write_text("name: llm\n")
    (root / "scripts").mkdir()
    installed(root)
    return root


def installed(root: Path) -> None:
    program = root / "images" / "weights" / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\n{PROGRAM}")
    program.chmod(0o755)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "llmstack.main", "weights", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_arguments_and_exit_code_pass_through_from_any_folder_of_the_checkout(checkout: Path) -> None:
    given = ["stage", "--repo", "gpt2", "--dtype", "bfloat16", "--help", "12"]
    code, out, err = run(checkout / "stacks" / "plan", *given)
    told = json.loads(out)
    assert (code, err) == (12, "")
    assert told["argv"] == ["-P", "-m", "weights", *given]
    assert told["folder"] == str(checkout / "stacks" / "plan")


def test_a_signal_reaches_the_program_itself(checkout: Path) -> None:
    process = start(checkout, "wait")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["pid"] == process.pid
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "stopped by SIGTERM\n")


def test_what_is_not_installed_is_installed_with_a_word_and_then_run(checkout: Path) -> None:
    (checkout / "images" / "weights" / ".venv").rename(checkout / "aside")
    script = checkout / "scripts" / "install-images"
    script.write_text('#!/bin/sh\necho "installing $1"\nmv aside images/weights/.venv\n')
    script.chmod(0o755)
    code, out, err = run(checkout, "ls", "here")
    assert code == 0
    assert json.loads(out)["argv"][-2:] == ["ls", "here"]
    assert "images/weights is not installed yet" in err
    assert "installing weights" in err


@pytest.mark.parametrize(
    ("body", "says"), [("exit 3", "cannot be installed"), ("exit 0", "is still missing; run scripts")]
)
def test_what_cannot_be_installed_is_said_in_a_line(checkout: Path, body: str, says: str) -> None:
    (checkout / "images" / "weights" / ".venv").rename(checkout / "aside")
    script = checkout / "scripts" / "install-images"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    code, out, err = run(checkout, "ls", "here")
    assert (code, out) == (1, "")
    assert says in err
    assert "Traceback" not in err


def test_outside_of_a_checkout_there_is_no_such_program(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "ls", "here")
    assert code == 2
    assert "is not inside a checkout" in err


def test_the_real_program_answers_in_its_own_words() -> None:
    if not (ROOT / "images" / "weights" / ".venv").exists():
        pytest.skip("images/weights is not installed: scripts/install-images weights")
    code, out, err = run(ROOT / "docs", "ls", "gs://UPPER/case")
    assert (code, out) == (2, "")
    assert err.startswith("weights: usage: TARGET is 'gs://UPPER/case'")
