"""What a crash leaves in the cloud and not in the state: `llmstack recover` imports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.world import Fault
from tests.engine.background import BackgroundUp, engine_processes, the_line, until
from tests.engine.conftest import MakeLab
from tests.engine.convergence import assert_converged, orphans, recover
from tests.engine.lab import Lab

REFUSED_TWICE = (
    "gcp:artifactregistry/repository:Repository",
    "gcp:cloudrunv2/job:Job",
    "gcp:cloudrunv2/service:Service",
    "gcp:secretmanager/secret:Secret",
    "gcp:serviceaccount/account:Account",
    "gcp:storage/bucket:Bucket",
)
"""Types whose second create answers 409."""
IDEMPOTENT = (
    "docker-build:index:Image",
    "gcp:projects/service:Service",
    "gcp:secretmanager/secretIamMember:SecretIamMember",
    "gcp:storage/bucketIAMMember:BucketIAMMember",
)
VERSION = "gcp:secretmanager/secretVersion:SecretVersion"
BUCKET, SERVICE = "gcp:storage/bucket:Bucket", "gcp:cloudrunv2/service:Service"
MOST_UPS = 16


@pytest.fixture
def lab(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A stack of every type, whose staging job writes a stub in place of the model."""
    monkeypatch.setenv("LLMSTACK_RUNNER", "stub")
    made = make_lab()
    made.pulumi("config", "set", "--secret", "llm:hubToken", "hf_planted_token")
    return made


def crash(lab: Lab, kind: str, *types: str) -> None:
    for each in types:
        lab.world().faults.add(Fault(kind, each, "create"))


def crashed(lab: Lab, kind: str = "crash") -> list[str]:
    """Types of the calls at which the plugin died."""
    return sorted(call.provider for call in lab.world().calls() if call.outcome.startswith(kind))


def up_until_done(lab: Lab, after_a_conflict: Callable[[], object], parallel: int | None = None) -> None:
    """`up` again and again, as a person does who reads what it says once nothing else goes wrong."""
    for _ in range(MOST_UPS):
        crashes = len(crashed(lab))
        result = lab.up(parallel)
        if not result.failed:
            return
        assert "Traceback" not in result.output
        if "Error 409" in result.output:
            assert "`llmstack recover test` imports it" in the_line(result.output, "Error 409")
            if len(crashed(lab)) == crashes:
                after_a_conflict()
    pytest.fail(f"no end after {MOST_UPS} ups: {result.output}")


def test_after_a_crash_after_each_effect_that_google_refuses_to_repeat_recover_lets_up_converge(
    lab: Lab,
) -> None:
    crash(lab, "crash_after", *REFUSED_TWICE)
    said = ""

    def recovered() -> None:
        nonlocal said
        done = recover(lab)
        said += done.stdout
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Next: `pulumi up --stack test`." in done.stdout

    up_until_done(lab, recovered)
    # A dying plugin takes along the answers to what was done beside the crash: not every type has its own.
    assert crashed(lab, "crash_after")
    assert [each for each in REFUSED_TWICE if each not in said] == []
    assert_converged(lab)
    nothing = recover(lab)
    assert (nothing.returncode, "Nothing to recover" in nothing.stdout) == (0, True), nothing.stdout


def test_after_a_crash_before_each_effect_or_after_one_that_may_be_repeated_up_alone_converges(
    lab: Lab,
) -> None:
    crash(lab, "crash_before", *REFUSED_TWICE, VERSION)
    crash(lab, "crash_after", *IDEMPOTENT)
    # One call at a time: a dying plugin takes along the answers to what was done beside the crash.
    up_until_done(lab, lambda: pytest.fail("nothing is there twice"), parallel=1)
    assert crashed(lab, "crash_before") == sorted([*REFUSED_TWICE, VERSION])
    assert crashed(lab, "crash_after") == sorted(IDEMPOTENT)
    assert_converged(lab)


def test_a_secret_version_that_a_crash_doubled_is_found_and_destroyed(lab: Lab) -> None:
    crash(lab, "crash_after", VERSION)
    assert lab.up().failed
    assert not lab.up().failed
    (doubled,) = orphans(lab)
    assert doubled.endswith("/versions/1")

    seen = recover(lab, "--dry-run", "--json")
    assert seen.returncode == 3, seen.stderr
    (row,) = json.loads(seen.stdout)["resources"]
    assert (row["type"], row["state"]) == (VERSION, "duplicate")
    assert orphans(lab) == [doubled]

    done = recover(lab)
    assert done.returncode == 0, done.stderr
    assert "removed" in done.stdout
    assert_converged(lab)


def test_a_lost_state_is_recovered_without_what_belongs_to_others(lab: Lab) -> None:
    assert not lab.up().failed
    version = json.loads(lab.state())
    version["deployment"]["resources"] = []
    (lab.root / "empty.json").write_text(json.dumps(version), encoding="utf-8")
    lab.pulumi("stack", "import", "--file", str(lab.root / "empty.json"))
    service = "run.googleapis.com/projects/llm-test/locations/us-central1/services/test-assistant"
    theirs = {"stack": "another", "managed-by": "llmstack"}
    before = lab.world().get(service)
    assert before is not None
    lab.world().edit(service, lambda body: {**body, "labels": theirs})

    partly = recover(lab)
    assert partly.returncode == 1, partly.stdout + partly.stderr
    assert "not this stack's, by its labels" in " ".join(partly.stdout.split())
    lab.world().edit(service, lambda body: {**body, "labels": before.body["labels"]})
    done = recover(lab)
    assert done.returncode == 0, done.stdout + done.stderr
    converged = lab.up()
    assert not converged.failed, converged.output
    assert_converged(lab)


def test_after_a_kill_of_the_engine_in_the_middle_of_a_create_recover_clears_up(lab: Lab) -> None:
    lab.world().faults.add(Fault("late", BUCKET, "create", seconds=60))
    up = BackgroundUp(lab)
    up.go_on_until(lambda: lab.names("storage.bucket"), "a bucket that the engine does not know yet")
    up.kill()
    until(lambda: not engine_processes(lab), "the end of the killed engine's plugins")
    locked = recover(lab)
    assert locked.returncode == 1
    assert "another engine works on stack test" in locked.stderr
    assert "`pulumi cancel --stack test`" in locked.stderr

    lab.pulumi("cancel", "--yes")
    done = recover(lab)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pending_operations" not in json.loads(lab.state())["deployment"]
    converged = lab.up()
    assert not converged.failed, converged.output
    assert_converged(lab)


def test_a_stack_that_nobody_made_is_named(lab: Lab) -> None:
    (lab.root / "Pulumi.other.yaml").write_text(
        (lab.root / "Pulumi.test.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    asked = subprocess.run(
        [sys.executable, "-m", "llmstack.main", "recover", "other"],
        cwd=lab.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert "there is no stack 'other'" in asked.stderr


def test_without_a_login_the_backend_to_log_in_to_is_named(lab: Lab, tmp_path: Path) -> None:
    ours = (lab.root / "Pulumi.test.yaml").read_text(encoding="utf-8")
    real = ours.replace("llm:environment: local", "llm:environment: prod")
    (lab.root / "Pulumi.real.yaml").write_text(real, encoding="utf-8")
    logged_out = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    asked = subprocess.run(
        [sys.executable, "-m", "llmstack.main", "recover", "real"],
        cwd=lab.root,
        env={**logged_out, "PATH": lab.variables["PATH"], "PULUMI_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert "run `pulumi login gs://pulumi-state-PROJECT`" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1
