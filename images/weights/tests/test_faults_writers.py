"""Others that write to the same place or delete there: in the end it has one model or none, no mixture."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoint import single
from conftest import PREFIX
from fake_hub import FakeHub

PLACE = f"gs://models/{PREFIX}"


@pytest.fixture
def other(program):
    """The program with a Hub that has other content of the same sizes under another name."""
    with FakeHub("acme/other") as hub:
        hub.blobs = single()
        weights = hub.blobs["model.safetensors"]
        weights.content = weights.content[:-4000] + bytes(4000)
        yield replace(program, environment=program.environment | {"HF_ENDPOINT": hub.url}), hub


def at_completion(gcs, name: str, action: Callable[[], None]) -> None:
    """Do something, once, when an object of that name has all its bytes and is not there yet."""

    def act(completing: str) -> None:
        if completing.endswith(name):
            gcs.before_completion = lambda _name: None
            action()

    gcs.before_completion = act


def whole(staged, hub, name: str) -> None:
    """What is there is the model of that Hub, all of it, and the manifest says so."""
    found = staged()
    manifest = json.loads(found.pop("manifest.json"))
    assert manifest["repository"] == name
    assert {file["name"] for file in manifest["files"]} == found.keys()
    assert found == {file: hub.blobs[file].content for file in found}


def refused(process_or_result, out_and_err=None) -> None:
    err = process_or_result.stderr if out_and_err is None else out_and_err[1]
    assert process_or_result.returncode == 20, err
    assert err.startswith("weights: unavailable: ")
    assert err.count("\n") == 1


def test_runs_of_two_models_at_once_never_leave_a_mixture(hub, program, other, staged):
    rival, rival_hub = other
    processes = [program.start(), rival.start(repo="acme/other")]
    codes = []
    for process in processes:
        _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode in (0, 20), err
        assert err.count("\n") == (process.returncode == 20)
    if "manifest.json" in staged():
        name = json.loads(staged()["manifest.json"])["repository"]
        whole(staged, {"acme/tiny": hub, "acme/other": rival_hub}[name], name)
    else:
        # One that had ended well may have been overtaken by the other, which found its own files replaced.
        assert 20 in codes
    assert program.run().returncode == 0
    whole(staged, hub, "acme/tiny")


@pytest.mark.parametrize("moment", ["model.safetensors", "manifest.json"])
def test_a_run_that_another_model_overtakes_gives_way(gcs, program, other, staged, moment):
    rival, rival_hub = other
    codes = []
    at_completion(gcs, moment, lambda: codes.append(rival.run(repo="acme/other").returncode))
    refused(program.run())
    assert codes == [0]
    whole(staged, rival_hub, "acme/other")


def test_a_file_replaced_between_the_last_look_and_the_manifest_takes_the_manifest_away(
    gcs, program, other, staged
):
    rival, rival_hub = other
    replaced, go_on = threading.Event(), threading.Event()
    processes: list[subprocess.Popen[str]] = []

    def replace_one() -> None:
        def pause(completed: str) -> None:
            if completed.endswith("model.safetensors"):
                gcs.after_completion = lambda _name: None
                replaced.set()
                go_on.wait(60)

        gcs.after_completion = pause
        processes.append(rival.start(repo="acme/other"))
        assert replaced.wait(60)

    at_completion(gcs, "manifest.json", replace_one)
    result = program.run()
    refused(result)
    assert "model.safetensors was changed or deleted meanwhile" in result.stderr
    assert "manifest.json" not in staged()
    go_on.set()
    _, err = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 0, err
    whole(staged, rival_hub, "acme/other")


def test_a_run_that_replaces_a_file_of_a_model_just_finished_takes_that_manifest_away(
    hub, gcs, program, other, staged
):
    rival, _ = other
    reached, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        reached.set()
        go_on.wait(60)

    assert program.run().returncode == 0
    del gcs.objects[f"{PREFIX}/manifest.json"]
    at_completion(gcs, "model.safetensors", pause)
    process = rival.start(repo="acme/other")
    assert reached.wait(60)
    assert program.run().returncode == 0  # finds all files and writes the manifest
    go_on.set()
    refused(process, process.communicate(timeout=60))
    assert "manifest.json" not in staged()
    assert program.run().returncode == 0
    whole(staged, hub, "acme/tiny")


@pytest.mark.parametrize("change", ["deleted", "changed"])
def test_a_file_of_the_target_that_goes_or_changes_meanwhile_ends_the_run_without_a_manifest(
    hub, gcs, program, staged, change
):
    def spoil() -> None:
        if change == "deleted":
            del gcs.objects[f"{PREFIX}/config.json"]
        else:
            gcs.put(f"{PREFIX}/config.json", b"{'model_type': 't6'}")

    at_completion(gcs, "model.safetensors", spoil)
    result = program.run()
    refused(result)
    assert "config.json was changed or deleted meanwhile; run this again" in result.stderr
    assert "manifest.json" not in staged()
    assert program.run().returncode == 0
    whole(staged, hub, "acme/tiny")


def test_a_file_of_a_folder_that_goes_meanwhile_ends_the_run_without_a_manifest(hub, program, tmp_path):
    folder = tmp_path / "model"

    def delete() -> None:
        if hub.log[-1][1].endswith("tokenizer_config.json"):
            (folder / "config.json").unlink()

    hub.watch = delete
    result = program.run(target=str(folder))
    refused(result)
    assert "config.json was changed or deleted meanwhile" in result.stderr
    assert not (folder / "manifest.json").exists()
    hub.watch = lambda: None
    assert program.run(target=str(folder)).returncode == 0
    assert (folder / "config.json").read_bytes() == hub.blobs["config.json"].content


def test_two_runs_for_one_folder_take_turns_and_the_later_one_finds_the_model(hub, program, tmp_path):
    hub.blobs = single(elements=3_000_000)
    folder = tmp_path / "model"
    processes = [program.start(target=str(folder)) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    weights = folder / "model.safetensors"
    assert weights.read_bytes() == hub.blobs["model.safetensors"].content
    assert hub.given["model.safetensors"] < len(weights.read_bytes()) + 64 * 1024
    assert {path.name for path in folder.iterdir()} >= {"manifest.json", "config.json"}
    assert not (folder / ".weights").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_a_signal_ends_a_run_before_a_silent_hub_and_cleans_up(
    hub, gcs, program, staged, tmp_path, kind, number
):
    hub.blobs = single(elements=10_000_000)
    silent, go_on = threading.Event(), threading.Event()

    def fall_silent() -> None:
        if hub.asked["model.safetensors"] > 3:
            silent.set()
            go_on.wait(60)

    hub.watch = fall_silent
    folder = tmp_path / "model"
    process = program.start(target=PLACE if kind == "bucket" else str(folder))
    assert silent.wait(60)
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=30)  # far less than the minute that a read may take
    finally:
        go_on.set()
    assert process.returncode == 143
    assert err.startswith("weights: interrupted: ")
    assert err.count("\n") == 1
    assert gcs.sessions == {}
    assert not {"model.safetensors", "manifest.json"} & staged().keys()
    assert not [path for path in folder.rglob("*") if path.suffix == ".part"]
    assert not {"model.safetensors", "manifest.json"} & {path.name for path in folder.rglob("*")}


FILL = """
mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"
"""


def test_a_disk_that_is_full_ends_the_run_with_its_own_code_and_leaves_no_half_file(hub, program, tmp_path):
    hub.blobs = single(elements=3_000_000)
    folder = tmp_path / "small"
    folder.mkdir()
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c", FILL, "sh", str(folder)]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here: it takes user namespaces")
    process = program.start(target=str(folder))
    process.kill()
    process.communicate()
    check = 'set +e; "$@"; code=$?; ls -AR "$PLACE"; exit $code'
    done = subprocess.run(
        [*isolated, "sh", "-c", check, "sh", *[str(part) for part in process.args]],
        env=program.environment | {"PLACE": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 15, done.stderr
    assert done.stderr.startswith("weights: storage_full: ")
    assert "free space" in done.stderr
    assert not [line for line in done.stdout.splitlines() if line.endswith((".part", "model.safetensors"))]
    assert not Path(folder, "manifest.json").exists()
