"""A model that the process downloads itself, from the address that Vertex AI gives."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket import Bucket, bucket_of
from serve.download import PARTIAL
from serve.errors import Exit
from test_process import refusal, server, started

PREFIX = "projects/1/models/2/artifacts"
URI = f"gs://models/{PREFIX}"
WEIGHTS = f"{PREFIX}/model.safetensors"


@pytest.fixture
def bucket(t5: Path) -> Iterator[Bucket]:
    """A bucket that holds the encoder-decoder model."""
    with bucket_of(t5, PREFIX) as bucket:
        yield bucket


@pytest.fixture
def vertex(environment: dict[str, str], bucket: Bucket, tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has to download the model."""
    given = {name: value for name, value in environment.items() if name != "MODEL_PATH"}
    return given | {
        "AIP_STORAGE_URI": URI,
        "MODEL_CACHE": str(tmp_path / "cache"),
        "STORAGE_EMULATOR_HOST": bucket.url,
        "PORT": "0",
    }


def folder_of(vertex: dict[str, str]) -> Path:
    return Path(vertex["MODEL_CACHE"]) / "models" / PREFIX


def test_the_model_is_downloaded_and_answers_as_the_one_on_disk(
    vertex: dict[str, str], environment: dict[str, str], bucket: Bucket, t5: Path, tmp_path: Path
) -> None:
    bucket.spoiled[WEIGHTS] = 1
    asked = {"prompt": "Tell me a joke", "max_new_tokens": 12}
    with server(vertex, tmp_path / "log") as (_, client):
        downloaded = client.post("/predict", json=asked).json()
    with server(environment, tmp_path / "log2") as (_, client):
        assert client.post("/predict", json=asked).json() == downloaded
    for file in t5.iterdir():
        assert (folder_of(vertex) / file.name).read_bytes() == file.read_bytes()
    assert bucket.sent.count(WEIGHTS) == 2, "changed bytes are downloaded again"
    assert len(list(folder_of(vertex).iterdir())) == len(list(t5.iterdir()))


def test_a_server_that_downloads_is_healthy_but_not_ready_and_continues_after_it_was_killed(
    vertex: dict[str, str], bucket: Bucket, tmp_path: Path
) -> None:
    bucket.stuck = WEIGHTS
    with started(vertex, tmp_path / "log") as (process, client):
        while WEIGHTS not in bucket.sent:
            time.sleep(0.05)
            assert process.poll() is None
        health, ready = client.get("/health"), client.get("/ready")
        early = client.post("/predict", json={"prompt": "early"})
        process.kill()
        process.wait()
    assert [health.status_code, ready.status_code, early.status_code] == [200, 503, 503]
    assert ready.json()["status"] == "loading"
    complete = {path.name for path in folder_of(vertex).iterdir() if not path.name.endswith(PARTIAL)}
    assert "manifest.json" in complete
    assert "model.safetensors" not in complete

    bucket.stuck = None
    first, bucket.sent = bucket.sent, []
    with server(vertex, tmp_path / "log2") as (_, client):
        assert client.post("/predict", json={"prompt": "Tell me", "max_new_tokens": 2}).status_code == 200
    again = set(first) & set(bucket.sent)
    assert again == {WEIGHTS}, "what was complete is kept"


def test_sigterm_ends_a_server_that_waits_for_the_bucket(
    vertex: dict[str, str], bucket: Bucket, tmp_path: Path
) -> None:
    bucket.stuck = WEIGHTS
    with started(vertex, tmp_path / "log") as (process, _):
        while WEIGHTS not in bucket.sent:
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == Exit.OK
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "roles/storage.objectViewer"),
        (404, "is the address right?"),
    ],
)
def test_a_bucket_that_refuses_ends_the_process_with_one_line_that_says_why(
    vertex: dict[str, str], bucket: Bucket, status: int, words: str
) -> None:
    bucket.refusal = status
    code, line = refusal(vertex)
    assert code == Exit.MODEL_FILES
    assert words in line["message"]
    assert URI in line["message"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("bytes", "checksum is still another"),
        ("no manifest", "there is no manifest.json"),
        ("missing file", "model.safetensors is missing"),
        ("outside", "outside the model's folder"),
        ("folder", "outside the model's folder"),
        ("cut", "has 1 bytes, the manifest says"),
    ],
)
def test_a_damaged_model_in_the_bucket_ends_the_process_with_one_line_that_says_so(
    vertex: dict[str, str], bucket: Bucket, damage: str, words: str
) -> None:
    name = f"{PREFIX}/manifest.json"
    if damage == "bytes":
        bucket.spoiled[WEIGHTS] = 99
    elif damage == "no manifest":
        del bucket.objects[name]
    elif damage == "missing file":
        del bucket.objects[WEIGHTS]
    elif damage == "cut":
        bucket.objects[WEIGHTS] = b"x"
    elif damage == "outside":
        bucket.objects[name] = bucket.objects[name].replace(b"config.json", b"../../evil")
        bucket.objects[f"{PREFIX}/../../evil"] = b"x"
    elif damage == "folder":
        bucket.objects[name] = bucket.objects[name].replace(b'"config.json"', b'"."')
        bucket.objects[f"{PREFIX}/."] = b"x"
    code, line = refusal(vertex)
    assert code == Exit.MODEL_FILES
    assert words in line["message"]
    assert not (folder_of(vertex).parent.parent / "evil").exists()
    assert list(folder_of(vertex).parent.iterdir()) == [folder_of(vertex)]


def test_a_model_larger_than_the_disk_is_refused_before_any_of_it_is_downloaded(
    vertex: dict[str, str], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = bucket.resource

    def huge(name: str) -> dict[str, str]:
        return resource(name) | ({"size": str(2**60)} if name == WEIGHTS else {})

    monkeypatch.setattr(bucket, "resource", huge)
    code, line = refusal(vertex)
    assert code == Exit.MODEL_FILES
    assert "MODEL_CACHE" in line["message"]
    assert WEIGHTS not in bucket.sent


def test_a_mounted_model_wins_over_the_address_and_nothing_is_asked_of_the_bucket(
    vertex: dict[str, str], bucket: Bucket, t5: Path, tmp_path: Path
) -> None:
    bucket.refusal = 403
    with server(vertex | {"MODEL_PATH": str(t5)}, tmp_path / "log") as (_, client):
        assert client.get("/ready").status_code == 200
