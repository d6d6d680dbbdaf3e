"""A folder as a target: a file is there complete or not at all, and nothing else stays."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tool import ENVIRONMENT, assert_whole, content, convert, sharded_folder, single_folder, weights

EXIT_CODES = json.loads((Path(__file__).parents[1] / "contract.json").read_text())["exit_codes"]

# Stops for good after so many bytes were written, in the middle of a file.
STOP_IN_WRITE = """
import os, sys, time
from weights import folder
from weights.cli import main

before, write, stop_at = 0, os.write, int(sys.argv.pop(1))

def slow(descriptor, view):
    global before
    count = write(descriptor, view[: max(stop_at - before, 0)]) if before + len(view) > stop_at else None
    if count is not None:
        print("stopped", flush=True)
        time.sleep(1000)
    before += len(view)
    return write(descriptor, view)

folder.os.write = slow
sys.exit(main(sys.argv[1:]))
"""

# Writes to a file of the source when the first byte of the target is written.
CHANGE_IN_WRITE = """
import sys
from pathlib import Path
from weights import folder
from weights.cli import main

path, content, write = Path(sys.argv.pop(1)), sys.argv.pop(1).encode(), folder.os.write

def change(descriptor, view):
    folder.os.write = write
    path.write_bytes(content)
    return write(descriptor, view)

folder.os.write = change
sys.exit(main(sys.argv[1:]))
"""


# Stops for good before the first note of a finished file is removed, when the manifest is there already.
STOP_BEFORE_FORGETTING = """
import sys, time
from pathlib import Path
from weights.cli import main

unlink = Path.unlink

def stop(path, missing_ok=False):
    if path.name.endswith(".done"):
        print("stopped", flush=True)
        time.sleep(1000)
    unlink(path, missing_ok)

Path.unlink = stop
sys.exit(main(sys.argv[1:]))
"""


def start_and_stop_at(count: int, source: Path, target: Path) -> subprocess.Popen[str]:
    """Start a conversion that stops for good after so many bytes."""
    return start_and_stop(STOP_IN_WRITE, str(count), *convert(source, target))


def start_and_stop(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a script that runs the program and stops for good somewhere, and wait until it has."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "stopped\n":
            return process
    raise AssertionError(process.communicate()[1])


def test_after_kill_9_in_the_middle_the_next_run_makes_only_what_was_not_finished(tmp_path):
    source, target = sharded_folder(tmp_path / "in", elements=100_000), tmp_path / "out"
    process = start_and_stop_at(500_000, source, target)
    process.kill()
    process.communicate()
    left = content(target)
    assert "manifest.json" not in left
    first, second = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"
    assert first in left
    assert second in left
    assert "model-00003-of-00003.safetensors" not in left
    assert any(name.endswith(".part") for name in left)
    times = {name: (target / name).stat().st_mtime_ns for name in (first, second)}
    result = weights(*convert(source, target))
    assert result.returncode == 0, result.stderr
    assert_whole(target)
    assert times == {name: (target / name).stat().st_mtime_ns for name in (first, second)}


def test_a_finished_file_that_was_spoilt_since_is_made_again(tmp_path):
    source, target = sharded_folder(tmp_path / "in", elements=100_000), tmp_path / "out"
    process = start_and_stop_at(500_000, source, target)
    process.kill()
    process.communicate()
    first = target / "model-00001-of-00003.safetensors"
    first.write_bytes(b"\x00" * first.stat().st_size)
    assert weights(*convert(source, target)).returncode == 0
    clean = tmp_path / "clean"
    assert weights(*convert(source, clean)).returncode == 0
    assert_whole(target)
    assert first.read_bytes() == (clean / first.name).read_bytes()


def test_sigterm_leaves_no_half_written_file(tmp_path):
    source, target = single_folder(tmp_path / "in", 100_000), tmp_path / "out"
    process = start_and_stop_at(50_000, source, target)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_CODES["interrupted"]
    assert err.startswith("weights: interrupted: ")
    assert content(target) == {}


def test_a_second_writer_waits_for_the_first_and_finds_its_work_done(tmp_path):
    source, target = single_folder(tmp_path / "in", 5_000_000), tmp_path / "out"
    command = [sys.executable, "-m", "weights", *convert(source, target)]
    runs = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=100) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert_whole(target)


def test_a_second_writer_gives_up_when_its_budget_is_spent(tmp_path):
    source, target = single_folder(tmp_path / "in"), tmp_path / "out"
    (target / ".weights").mkdir(parents=True)
    with (target / ".weights" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = weights(*convert(source, target), WEIGHTS_RETRY_SECONDS="0")
    assert result.returncode == EXIT_CODES["unavailable"]
    assert "another run writes to" in result.stderr
    assert set(content(target)) == {".weights/lock"}


def test_a_lock_file_that_a_dead_run_left_is_taken_over(tmp_path):
    source, target = single_folder(tmp_path / "in"), tmp_path / "out"
    (target / ".weights").mkdir(parents=True)
    (target / ".weights" / "lock").touch()
    assert weights(*convert(source, target)).returncode == 0
    assert_whole(target)


def test_a_model_that_is_there_is_left_as_it_is(tmp_path):
    source, target = single_folder(tmp_path / "in"), tmp_path / "out"
    assert weights(*convert(source, target)).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    result = weights(*convert(source, target))
    assert result.returncode == 0
    assert "staged already" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before


@pytest.mark.parametrize("held", [False, True])
def test_notes_that_a_run_killed_after_the_manifest_left_go_with_the_next_run_unless_one_is_at_work(
    tmp_path, held
):
    source, target = single_folder(tmp_path / "in"), tmp_path / "out"
    process = start_and_stop(STOP_BEFORE_FORGETTING, *convert(source, target))
    process.kill()
    process.communicate()
    left = content(target)
    assert "manifest.json" in left
    assert any(name.endswith(".done") for name in left)
    with (target / ".weights" / "lock").open("r+") as lock:
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        result = weights(*convert(source, target))
    assert result.returncode == 0, result.stderr
    assert "staged already" in result.stdout
    if held:
        assert content(target) == left
    else:
        assert_whole(target)


def test_another_dtype_replaces_the_model_and_what_only_the_old_one_had(tmp_path):
    target = tmp_path / "out"
    assert weights(*convert(sharded_folder(tmp_path / "a"), target)).returncode == 0
    (target / "notes.txt").write_text("a person's")
    assert weights(*convert(single_folder(tmp_path / "b"), target, "float16")).returncode == 0
    (target / "notes.txt").unlink()
    assert assert_whole(target)["dtype"] == "float16"
    assert not list(target.glob("model-*"))


def test_what_an_interrupted_run_for_another_model_finished_does_not_stay(tmp_path):
    first, target = single_folder(tmp_path / "a", 50_000), tmp_path / "out"
    (first / "spiece.model").write_bytes(bytes(300_000))
    process = start_and_stop_at(150_000, first, target)
    process.kill()
    process.communicate()
    assert (target / "model.safetensors").exists()
    assert weights(*convert(sharded_folder(tmp_path / "b"), target)).returncode == 0
    assert_whole(target)  # transformers would load model.safetensors, and not the shards


def test_a_disk_that_is_full_has_its_own_code_and_no_half_file(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    script = f'mount -t tmpfs -o size=1m none {mount} && "$@"; code=$?; ls -A {mount}/out >&2; exit $code'
    isolated = ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no user mount a small disk (unshare --map-root-user)")
    source = single_folder(tmp_path / "in", 1_000_000)
    result = weights(*convert(source, mount / "out"), before=isolated)
    assert result.returncode == EXIT_CODES["storage_full"], result.stderr
    assert result.stderr.startswith("weights: storage_full: ")
    assert "free space" in result.stderr
    assert result.stderr.count("\n") == 1, "the folder is not empty"


def test_a_limit_on_the_size_of_files_is_named(tmp_path):
    source = single_folder(tmp_path / "in", 1_000_000)
    target = tmp_path / "out"
    result = weights(*convert(source, target), before=("prlimit", "--fsize=100000"))
    assert result.returncode == EXIT_CODES["storage_full"], result.stderr
    assert content(target) == {}


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    source, target = single_folder(tmp_path / "in"), tmp_path / "out"
    target.mkdir(mode=0o555)
    rights = "-dac_override,-dac_read_search"  # what lets root write everywhere
    before = ("setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}") if os.geteuid() == 0 else ()
    result = weights(*convert(source, target), before=before)
    assert result.returncode == EXIT_CODES["permission"], result.stderr
    assert str(target) in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_in_the_way_is_named(tmp_path):
    source = single_folder(tmp_path / "in")
    (tmp_path / "out").write_text("a file")
    result = weights(*convert(source, tmp_path / "out"))
    assert result.returncode == EXIT_CODES["usage"], result.stderr
    assert result.stderr.count("\n") == 1


def test_when_the_source_changed_between_two_runs_nothing_of_the_old_one_is_kept(tmp_path):
    source, target = single_folder(tmp_path / "in", 100_000), tmp_path / "out"
    process = start_and_stop_at(1, source, target)
    process.kill()
    process.communicate()
    time.sleep(0.01)
    single_folder(tmp_path / "in", 200_000)
    assert weights(*convert(source, target)).returncode == 0
    assert_whole(target)
    clean = tmp_path / "clean"
    assert weights(*convert(source, clean)).returncode == 0
    assert (clean / "model.safetensors").read_bytes() == (target / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "changed", "kind"),
    [
        ("tokenizer.json", "[]", "integrity"),
        ("tokenizer.json", "longer than it was", "integrity"),
        ("tokenizer.json", "", "unavailable"),
        ("config.json", '{"model_type": "t5", "torch_dtype": "float32"}', "unavailable"),
    ],
    ids=["as long as before", "longer", "shorter", "written again"],
)
def test_a_source_that_is_written_to_meanwhile_makes_no_model(tmp_path, name, changed, kind):
    source, target = single_folder(tmp_path / "in"), tmp_path / "out"
    result = subprocess.run(
        [sys.executable, "-c", CHANGE_IN_WRITE, source / name, changed, *convert(source, target)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == EXIT_CODES[kind], result.stderr
    assert name in result.stderr
    assert result.stderr.count("\n") == 1
    assert "manifest.json" not in content(target)
    assert weights(*convert(source, target)).returncode == 0
    assert_whole(target)
