"""A model that the start downloads itself, from the address that Vertex AI gives."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import pytest
from conftest import environment
from weights_handler import settings, start
from weights_handler.errors import StartupError

PREFIX = "projects/1/models/2/artifacts"
URI = f"gs://models/{PREFIX}"
LISTING = "/storage/v1/b/models/o"
MEDIA = f"/download{LISTING}/"


class Bucket:
    """Objects of a bucket, and how it misbehaves."""

    def __init__(self, folder: Path) -> None:
        self.objects = {f"{PREFIX}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        self.spoiled: dict[str, int] = {}
        """How many more times an object's bytes are sent with one of them changed."""
        self.refusal: int | None = None
        self.sent: list[str] = []
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    """Cloud Storage's JSON API, as far as reading goes."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        name = unquote(address.path.removeprefix(MEDIA))
        if self.bucket.refusal is not None:
            self._send(self.bucket.refusal, json.dumps({"error": {"message": "refused"}}).encode())
        elif address.path == LISTING:
            prefix = parse_qs(address.query).get("prefix", [""])[0]
            items = [self._object(each) for each in self.bucket.objects if each.startswith(prefix)]
            self._send(200, json.dumps({"items": items}).encode())
        elif name in self.bucket.objects:
            self._media(name)
        elif (name := unquote(address.path.removeprefix(f"{LISTING}/"))) in self.bucket.objects:
            self._send(200, json.dumps(self._object(name)).encode())
        else:
            self._send(404, b"{}")

    def _object(self, name: str) -> dict[str, str]:
        content = self.bucket.objects[name]
        checksum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        size = str(len(content))
        return {"name": name, "bucket": "models", "size": size, "generation": "1", "crc32c": checksum}

    def _media(self, name: str) -> None:
        content = self.bucket.objects[name]
        self.bucket.sent.append(name.rpartition("/")[2])
        if self.bucket.spoiled.get(name):
            self.bucket.spoiled[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(span[1]), int(span[2]) + 1) if span else (0, len(content))
        checksum = self._object(name)["crc32c"]
        headers = {
            "X-Goog-Generation": "1",
            "X-Goog-Hash": f"crc32c={checksum}",
            "Content-Range": f"bytes {first}-{min(last, len(content)) - 1}/{len(content)}",
        }
        self._send(206, content[first:last], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def bucket(gpt2: Path) -> Iterator[Bucket]:
    """A bucket that holds the model."""
    state = Bucket(gpt2)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"bucket": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def vertex(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment that Vertex AI gives a container."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
    given = environment(
        tmp_path,
        AIP_STORAGE_URI=URI,
        MODEL_CACHE=tmp_path / "cache",
        AIP_HEALTH_ROUTE="/ping",
        AIP_PREDICT_ROUTE="/predictions/gpt2",
    )
    del given["MODEL_PATH"]
    return given


def begin(vertex: dict[str, str], scratch: Path) -> list[str]:
    scratch.mkdir()
    return start.command(vertex, scratch)


def test_the_model_of_the_platforms_address_is_served(vertex, bucket, gpt2, tmp_path):
    weights = f"{PREFIX}/model.safetensors"
    bucket.spoiled[weights] = 1
    assert begin(vertex, tmp_path / "one")[-1] == "gpt2=model.mar"
    folder = settings.from_environment(vertex).model_path
    assert folder == tmp_path / "cache/models" / PREFIX
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in gpt2.iterdir()
    }
    assert bucket.sent.count("model.safetensors") == 2, "changed bytes are downloaded again"
    (folder / "model.safetensors").unlink()
    bucket.sent.clear()
    begin(vertex, tmp_path / "two")
    assert set(bucket.sent) == {"model.safetensors"}, "what is complete stays"


def test_a_folder_that_is_named_goes_before_the_platforms_address(vertex, bucket, gpt2, tmp_path):
    begin({**vertex, "MODEL_PATH": str(gpt2)}, tmp_path / "one")
    begin({**vertex, "AIP_STORAGE_URI": str(gpt2)}, tmp_path / "two")
    assert bucket.sent == []


def test_bytes_that_stay_wrong_are_not_served(vertex, bucket, tmp_path):
    bucket.spoiled[f"{PREFIX}/model.safetensors"] = 9
    with pytest.raises(StartupError, match="after 3 downloads a file's checksum is still another") as caught:
        begin(vertex, tmp_path / "one")
    assert caught.value.code == 13


@pytest.mark.parametrize(
    ("status", "words"), [(403, "grant roles/storage.objectViewer"), (404, "is the address right")]
)
def test_a_refusal_says_what_to_do(vertex, bucket, tmp_path, status, words):
    bucket.refusal = status
    with pytest.raises(StartupError, match=words):
        begin(vertex, tmp_path / "one")


def test_a_model_that_was_never_staged_is_said_to_be_none(vertex, bucket, tmp_path):
    del bucket.objects[f"{PREFIX}/manifest.json"]
    with pytest.raises(StartupError, match=r"there is no manifest\.json: stage the model"):
        begin(vertex, tmp_path / "one")


@pytest.mark.parametrize("name", ["../../../../elsewhere", "."])
def test_an_object_that_would_lie_outside_of_the_folder_is_not_downloaded(vertex, bucket, tmp_path, name):
    bucket.objects[f"{PREFIX}/{name}"] = b"x"
    with pytest.raises(StartupError, match=f"'{re.escape(name)}' would lie outside of"):
        begin(vertex, tmp_path / "one")
    assert bucket.sent == []


def test_an_address_that_is_none_is_refused_as_no_model(vertex, tmp_path):
    with pytest.raises(StartupError, match="MODEL_PATH is not set"):
        begin({**vertex, "AIP_STORAGE_URI": "gs://"}, tmp_path / "one")
