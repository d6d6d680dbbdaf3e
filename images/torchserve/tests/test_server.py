"""TorchServe itself, on Java, as the image starts it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from conftest import Running, environment, torchserve
from weights_handler import settings

pytestmark = pytest.mark.skipif(
    not shutil.which("java"), reason="no Java: apt-get install openjdk-17-jre-headless"
)

ORIGINAL = "How to prepare a spanish omelette:"
TOKENS = {"max_new_tokens": 8}


@pytest.fixture(scope="module")
def running(gpt2, tmp_path_factory) -> Iterator[Running]:
    settings = {"BATCH_SIZE": 6, "BATCH_DELAY_MS": 1000, "RESPONSE_SECONDS": 300, "STARTUP_SECONDS": 400}
    with torchserve(gpt2, tmp_path_factory.mktemp("torchserve"), **settings) as started:
        yield started


def test_the_originals_request_gets_the_originals_response(running):
    response = running.post({"instances": [ORIGINAL]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    [prediction] = response.json()["predictions"]
    assert prediction.startswith(ORIGINAL)
    assert len(prediction) > len(ORIGINAL)


def test_requests_that_come_together_share_a_batch_and_fail_each_on_its_own(running):
    prompts = [ORIGINAL, "", "Tell me a joke", "a", " ", "The quick brown fox"]
    bodies = [{"instances": [prompt], "parameters": TOKENS} for prompt in prompts]
    alone = [running.post(body) for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as pool:
        together = list(pool.map(running.post, bodies))
    assert [each.status_code for each in together] == [200, 422, 200, 200, 422, 200]
    assert [each.json() for each in together] == [each.json() for each in alone]


def test_a_body_that_is_not_json_is_the_clients_error(running):
    url = f"{running.base}/predictions/gpt2"
    assert httpx.post(url, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert httpx.post(url, data={"instances": "a"}).status_code == 415


def test_everything_but_inference_is_refused_on_the_inference_port(running):
    assert httpx.get(f"{running.base}/models").status_code in (404, 405)
    assert httpx.post(f"{running.base}/models?url=model.mar").status_code in (404, 405)
    assert httpx.delete(f"{running.base}/models/gpt2").status_code in (404, 405)
    assert running.listening() == {"::ffff:127.0.0.1"}


def test_no_other_model_can_be_asked_for(running):
    response = running.post({"instances": [ORIGINAL]}, name="gpt3")
    assert response.status_code == 404


def test_torchserve_has_the_deployments_settings(running):
    [model] = httpx.get(f"{running.management}/models/gpt2").json()
    wanted = {"batchSize": 6, "maxBatchDelay": 1000, "responseTimeout": 300, "startupTimeout": 400}
    assert {key: model[key] for key in wanted} == wanted
    assert [worker["status"] for worker in model["workers"]] == ["READY"]


def test_the_startup_command_waits_for_the_model_where_the_health_route_does_not(running, gpt2):
    assert running.at_first_ping == "0 of 1 workers have loaded gpt2"
    command = [sys.executable, *settings.contract()["startup_command"][1:]]
    variables = environment(gpt2, LOOPBACK_PORT=running.loopback)
    ended = subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_neither_prompts_nor_answers_are_in_the_logs(running):
    running.post({"instances": ["zebra"], "parameters": TOKENS})
    running.post({"instances": ["zebra"], "parameters": {"seed": -1}})
    httpx.post(
        f"{running.base}/predictions/gpt2", content=b"zebra", headers={"Content-Type": "application/json"}
    )
    log = running.log.read_text()
    assert "Model server started" in log
    assert "zebra" not in log


def test_told_to_stop_it_ends_with_its_workers(gpt2, tmp_path):
    with torchserve(gpt2, tmp_path) as started:
        tree = psutil.Process(started.process.pid).children(recursive=True)
        assert tree
        started.process.terminate()
        started.process.wait(60)
        _, alive = psutil.wait_procs(tree, timeout=30)
        assert not alive
