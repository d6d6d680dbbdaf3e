"""The serving image on a model that the weights image staged: it answers, streams and ends in order."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fake_gcs import FakeGcs
from fake_hub import REVISION, Blob, FakeHub

from tests.docker.containers import ROOT, Container, Containers

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]
CONTRACT = json.loads((ROOT / "images/serve/contract.json").read_text())
ROUTES = {name: route["path"] for name, route in CONTRACT["routes"].items()}
READY_SECONDS = 120


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models as they lie on the Hub, one folder each: t5 and gpt2."""
    folder = tmp_path_factory.mktemp("repositories")
    python = ROOT / "images/serve/.venv/bin/python"
    maker = Path(__file__).with_name("tiny_models.py")
    done = subprocess.run([python, maker, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@dataclass(frozen=True)
class Server:
    """A container that serves, and a client for it."""

    container: Container
    client: httpx.Client

    def wait_ready(self) -> None:
        """Asks until the model answers, as a startup probe does."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            assert self.container.state()["Running"], self.container.logs()
            try:
                if self.client.get(ROUTES["ready"]).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.3)
        pytest.fail(f"not ready after {READY_SECONDS} s:\n{self.container.logs()}")


Serve = Callable[[Path], Server]


@pytest.fixture
def serve(image: Callable[[str], str], containers: Containers) -> Serve:
    """Starts the serving image with a folder mounted where a bucket would be."""

    def start(bucket: Path) -> Server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            "MODEL_PATH": f"{CONTRACT['mount_path']}/model",
            "MODEL_NAME": "acme/tiny",
            "PORT": str(port),
            "MAX_INPUT_TOKENS": "64",
            "MAX_NEW_TOKENS": "16",
            "MAX_QUEUE": "4",
            "THREADS": "1",
            "DTYPE": "float32",
        }
        mount = ("--volume", f"{bucket}:{CONTRACT['mount_path']}:ro")
        container = containers.start(image("serve"), environment=environment, options=mount)
        return Server(container, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))

    return start


@pytest.fixture(params=["t5", "gpt2"])
def staged(
    request: pytest.FixtureRequest,
    image: Callable[[str], str],
    containers: Containers,
    repositories: Path,
    hub: FakeHub,
    gcs: FakeGcs,
    tmp_path: Path,
) -> Path:
    """A bucket as a folder, with a model that the weights container has staged; readable by any user."""
    for path in (repositories / request.param).iterdir():
        hub.blobs[path.name] = Blob(path.read_bytes(), large=path.suffix == ".safetensors")
    arguments = ["--repo", "acme/tiny", "--revision", REVISION, "--target", "gs://models/model"]
    arguments += ["--format", "safetensors", "--dtype", "float32"]
    environment = {"HF_ENDPOINT": hub.url, "STORAGE_EMULATOR_HOST": gcs.url, "NO_GCE_CHECK": "true"}
    job = containers.start(image("weights"), "stage", *arguments, environment=environment)
    assert job.wait() == 0, job.logs()
    bucket = tmp_path / "bucket"
    (bucket / "model").mkdir(parents=True)
    for name, stored in gcs.objects.items():
        (bucket / name).write_bytes(stored.content)
    return bucket


def events(response: httpx.Response) -> list[dict[str, object]]:
    lines = [line for line in response.text.splitlines() if line]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_staged_model_is_served_as_text_as_json_and_as_a_stream_and_the_server_ends_with_status_0(
    serve: Serve, staged: Path
) -> None:
    server = serve(staged)
    server.wait_ready()
    plain = server.client.post(
        ROUTES["predict"], content="Hello, cloud", headers={"Content-Type": "text/plain"}
    )
    predicted = server.client.post(ROUTES["predict"], json={"prompt": "Hello, cloud"})
    assert (plain.status_code, predicted.status_code) == (200, 200)
    assert predicted.json() == {"generated_text": plain.text}
    streamed = server.client.post(ROUTES["generate"], json={"prompt": "Hello, cloud", "stream": True})
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    *tokens, end = events(streamed)
    assert end["done"] is True
    assert "".join(str(event["token"]) for event in tokens) == end["generated_text"] == plain.text
    assert server.container.execute("cat", "/proc/1/comm") == "tini"
    assert server.container.execute("id", "-u") != "0"
    assert server.container.stop(grace=10) == 0, server.container.logs()


def test_a_folder_without_a_manifest_is_refused_in_one_line_that_names_it(
    serve: Serve, tmp_path: Path
) -> None:
    # pytest's own folder is closed to other users, such as the container's.
    (tmp_path / "bucket/model").mkdir(parents=True)
    server = serve(tmp_path / "bucket")
    assert server.container.wait() not in (0, 137)
    assert f"{CONTRACT['mount_path']}/model/manifest.json does not exist" in server.container.logs()
    assert "Traceback" not in server.container.logs()
