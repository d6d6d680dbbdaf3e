"""The TorchServe image on a model that the weights image staged."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.docker.containers import ROOT, Containers

WANTED = "LLMSTACK_TORCHSERVE_IMAGE"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        os.environ.get(WANTED) != "1",
        reason=f"builds 6 GB of PyTorch once more; {WANTED}=1 asks for it, the images tier runs the server",
    ),
]
CONTRACT = json.loads((ROOT / "images/torchserve/contract.json").read_text())
READY_SECONDS = 300
STOP_SECONDS = 30


def test_a_staged_model_is_served_in_the_originals_form_and_only_inference_is_reachable(
    image: Callable[[str], str], containers: Containers, stage: Callable[[str, str], Path]
) -> None:
    bucket, tag = stage("gpt2", "mar"), image("torchserve")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MODEL_PATH": f"{CONTRACT['mount_path']}/model", "AIP_HTTP_PORT": str(port)}
    mount = ("--volume", f"{bucket}:{CONTRACT['mount_path']}:ro")
    container = containers.start(tag, environment=environment, options=mount)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    end = time.monotonic() + READY_SECONDS
    while not healthy(client):
        assert container.state()["Running"], container.logs()
        assert time.monotonic() < end, container.logs()
        time.sleep(0.5)
    predict = CONTRACT["routes"]["predict"]["path"].replace("{model}", "tiny")
    body = {"instances": ["Hello, cloud"], "parameters": {"max_new_tokens": 8}}
    [prediction] = client.post(predict, json=body).raise_for_status().json()["predictions"]
    assert prediction.startswith("Hello, cloud")
    assert client.get("/models").status_code in (404, 405)
    assert container.execute("cat", "/proc/1/comm") == "tini"
    assert container.execute("id", "-u") != "0"
    # Java, told to end, ends in order and says 128 + SIGTERM.
    assert container.stop(grace=STOP_SECONDS) == 143, container.logs()


def healthy(client: httpx.Client) -> bool:
    try:
        return client.get(CONTRACT["routes"]["health"]["path"]).status_code == 200
    except httpx.TransportError:
        return False
