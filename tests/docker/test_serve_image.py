"""The serving images on models that the weights image staged: they answer, stream and end in order."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.docker.containers import ROOT, Container, Containers, docker_ok

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]
CONTRACT = json.loads((ROOT / "images/serve/contract.json").read_text())
ROUTES = {name: route["path"] for name, route in CONTRACT["routes"].items()}
READY_SECONDS = 120
MIB = 2**20


@dataclass(frozen=True)
class Case:
    """An image and a model that it serves."""

    image: str
    repository: str
    format: str


CASES = (
    Case("serve", "t5", "safetensors"),
    Case("serve", "gpt2", "safetensors"),
    Case("serve-ctranslate2", "t5", "ctranslate2"),
)


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


@pytest.fixture(params=CASES, ids=lambda case: f"{case.image}-{case.repository}")
def case(request: pytest.FixtureRequest) -> Case:
    """Each image and model in turn."""
    found: Case = request.param
    return found


Serve = Callable[..., Server]


@pytest.fixture
def serve(image: Callable[[str], str], containers: Containers) -> Serve:
    """Starts a serving image with a folder mounted where a bucket would be.

    ENGINE is not among the variables unless a test gives it: each image knows its own.
    """

    def start(name: str, bucket: Path, **more: str) -> Server:
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
        } | more
        mount = ("--volume", f"{bucket}:{CONTRACT['mount_path']}:ro")
        container = containers.start(image(name), environment=environment, options=mount)
        return Server(container, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))

    return start


@pytest.fixture
def staged(case: Case, stage: Callable[[str, str], Path]) -> Path:
    """A bucket as a folder, with the case's model."""
    return stage(case.repository, case.format)


def events(response: httpx.Response) -> list[dict[str, object]]:
    lines = [line for line in response.text.splitlines() if line]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_staged_model_is_served_as_text_as_json_and_as_a_stream_and_the_server_ends_with_status_0(
    serve: Serve, case: Case, staged: Path
) -> None:
    server = serve(case.image, staged)
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
    server = serve("serve", tmp_path / "bucket")
    assert server.container.wait() not in (0, 137)
    assert f"{CONTRACT['mount_path']}/model/manifest.json does not exist" in server.container.logs()
    assert "Traceback" not in server.container.logs()


def test_an_engine_that_the_image_lacks_is_refused_in_one_line_that_names_the_image_that_has_it(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve("serve-ctranslate2", tmp_path, ENGINE="transformers")
    assert server.container.wait() not in (0, 137)
    assert "this image lacks torch: use the image serve" in server.container.logs()
    assert "Traceback" not in server.container.logs()


def test_the_ctranslate2_image_has_no_pytorch_and_a_fraction_of_the_size(
    image: Callable[[str], str], containers: Containers, visibly: Callable[[], AbstractContextManager[None]]
) -> None:
    small, large = image("serve-ctranslate2"), image("serve")
    heavy = {"torch", "triton", "nvidia"}
    script = "ls /opt/venv/lib/python3*/site-packages"
    assert heavy.isdisjoint(containers.shell(small, script).stdout.split())
    assert heavy.issubset(containers.shell(large, script).stdout.split())
    sizes = {tag: int(docker_ok("image", "inspect", "--format", "{{.Size}}", tag)) for tag in (small, large)}
    with visibly():
        print("\n" + ", ".join(f"{tag} {size // MIB} MiB" for tag, size in sizes.items()))
    assert sizes[small] * 4 < sizes[large]
