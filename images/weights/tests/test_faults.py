"""Faults on the way: afterwards the model is complete, or there is no manifest."""

import hashlib
import signal
import subprocess
from pathlib import Path

import pytest
from checkpoint import sharded, single
from fake_hub import FakeContent

MIB = 1024 * 1024
RUN_AND_TELL_PEAK = """
import pathlib, re, sys
from weights.cli import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def complete(hub, staged, names) -> None:
    objects = staged()
    assert "manifest.json" in objects
    assert {name: objects[name] for name in names} == {name: hub.blobs[name].content for name in names}


def start_and_reach(gcs, program, received: int) -> subprocess.Popen[str]:
    """Start a run and return when the store has that many bytes and answers no more."""
    gcs.stop_at = received
    process = program.start()
    assert gcs.reached.wait(60), "the run did not get that far"
    return process


def let_go(gcs) -> None:
    gcs.stop_at = 1 << 62
    gcs.go_on.set()


def test_after_kill_9_half_way_the_next_run_uploads_only_what_was_not_complete(hub, gcs, program, staged):
    hub.blobs = sharded(shards=3, elements=1_000_000)
    process = start_and_reach(gcs, program, 6_000_000)
    process.kill()
    process.communicate()
    let_go(gcs)
    assert "manifest.json" not in staged()
    gcs.log.clear()
    assert program.run().returncode == 0
    complete(hub, staged, hub.blobs)
    assert not gcs.requests("POST", "model-00001-of-00003")
    assert gcs.requests("POST", "model-00003-of-00003")


def test_sigterm_cancels_the_upload_and_writes_no_manifest(hub, gcs, program, staged):
    hub.blobs = single(elements=10_000_000)
    process = start_and_reach(gcs, program, 12 * MIB)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.startswith("weights: interrupted: ")
    assert err.count("\n") == 1
    assert not {"model.safetensors", "manifest.json"} & staged().keys()
    assert gcs.requests("DELETE", "upload_id")
    assert gcs.sessions == {}


def test_sigterm_while_waiting_for_another_attempt_ends_the_run(hub, gcs, program, staged):
    hub.storm = 1000
    process = program.start()
    assert process.stdout is not None
    assert "503" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert staged() == {}


def test_a_cut_connection_is_resumed_where_it_broke(hub, program, staged):
    hub.blobs = single(elements=1_000_000)
    hub.cuts = 3
    assert program.run().returncode == 0
    complete(hub, staged, ["model.safetensors"])
    starts = [headers["Range"] for _, path, headers in hub.log if path.endswith("model.safetensors")]
    assert any(f"bytes={hub.cut_after}-" in start for start in starts)


def test_a_storm_of_503_from_the_hub_is_weathered(hub, program, staged):
    hub.storm = 3
    result = program.run()
    assert result.returncode == 0
    assert '"severity": "WARNING"' in result.stdout
    complete(hub, staged, ["model.safetensors"])


def test_a_storm_of_503_from_the_store_is_weathered(hub, gcs, program, staged):
    gcs.storm = 3
    assert program.run().returncode == 0
    complete(hub, staged, ["model.safetensors"])


def test_a_chunk_whose_answer_was_lost_is_not_sent_twice(hub, gcs, program, staged):
    hub.blobs = single(elements=5_000_000)
    gcs.lost_answers = 4
    assert program.run().returncode == 0
    complete(hub, staged, ["model.safetensors"])
    size = sum(len(content) for content in staged().values())
    assert gcs.received == size


def test_a_session_that_the_store_forgot_is_begun_again(hub, gcs, program, staged):
    hub.blobs = single(elements=5_000_000)
    gcs.forget = 1
    assert program.run().returncode == 0
    complete(hub, staged, ["model.safetensors"])


def test_an_expired_signature_is_renewed_at_the_hub(hub, program, staged):
    hub.blobs = single(elements=5_000_000)
    with FakeContent(hub) as content:
        content.expired = 2
        result = program.run()
    assert result.returncode == 0
    assert "planted-signature" not in result.stdout + result.stderr
    complete(hub, staged, ["model.safetensors"])


def test_the_hub_is_asked_once_where_a_large_file_is(hub, program):
    hub.blobs = single(elements=10_000_000)
    with FakeContent(hub) as content:
        assert program.run().returncode == 0
        assert len(content.requests("GET", "model.safetensors")) >= 5
    assert len(hub.requests("GET", "resolve/" + "0123456789abcdef0123456789abcdef01234567/model.safe")) == 1


def test_a_permission_that_arrives_late_is_waited_for(hub, gcs, program, staged):
    gcs.denials = 3
    assert program.run().returncode == 0
    complete(hub, staged, ["model.safetensors"])


@pytest.mark.parametrize(
    ("attribute", "variable", "code", "word"),
    [
        ("denials", "WEIGHTS_PERMISSION_SECONDS", 14, "roles/storage.objectUser"),
        ("storm", "WEIGHTS_RETRY_SECONDS", 20, "503"),
    ],
)
def test_patience_ends_with_its_budget(gcs, program, staged, attribute, variable, code, word):
    setattr(gcs, attribute, 10**6)
    result = program.run(**{variable: "0"})
    assert result.returncode == code
    assert word in result.stderr
    assert len(gcs.log) == 1
    assert staged() == {}


def test_two_runs_at_once_both_end_well_and_leave_one_complete_model(hub, gcs, program, staged):
    hub.blobs = single(elements=3_000_000)
    processes = [program.start() for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    complete(hub, staged, ["model.safetensors", "config.json"])
    assert gcs.sessions == {}


def test_an_equal_object_that_somebody_else_completed_first_is_accepted(hub, gcs, program, staged):
    content = hub.blobs["model.safetensors"].content
    gcs.rival("model.safetensors", content, sha256=hashlib.sha256(content).hexdigest())
    result = program.run()
    assert result.returncode == 0
    assert "another run has staged model.safetensors" in result.stdout
    complete(hub, staged, ["model.safetensors"])


def test_another_object_that_somebody_else_completed_first_is_not_overwritten(gcs, program, staged):
    gcs.rival("model.safetensors", b"something else", sha256="0" * 64)
    result = program.run()
    assert result.returncode == 20
    assert staged()["model.safetensors"] == b"something else"
    assert "manifest.json" not in staged()


def test_a_manifest_that_somebody_else_wrote_first_is_kept_only_if_it_describes_the_same(
    gcs, program, staged
):
    gcs.rival("manifest.json", b"{}")
    assert program.run().returncode == 20
    assert staged()["manifest.json"] == b"{}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_200_mb_pass_through_far_less_memory(hub, program, staged):
    hub.blobs = single(elements=50_000_000)
    process = program.start(command=("-c", RUN_AND_TELL_PEAK))
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    assert int(out.split()[-1]) * 1024 < 160 * MIB
    complete(hub, staged, ["model.safetensors"])
