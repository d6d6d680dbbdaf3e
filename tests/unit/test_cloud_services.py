"""Services of the rehearsed cloud: start, roll, crash, who may call, and what outlives the cloud process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth
import httpx
import psutil
import pytest
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import id_token

from rehearsal.cloud.client import ensure_running
from rehearsal.cloud.workloads import read_all
from rehearsal.driver_processes import living
from tests.unit.cloud_world import ACCOUNT, BUCKET_NAME, SERVICE, STRANGER, Running, service_body


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    monkeypatch.setenv("PLANTED_IN_THE_SHELL", "1")
    started = Running(tmp_path / "world")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(started.folder / "adc.json"))
    started.world.bind(SERVICE, "roles/run.invoker", "allUsers")
    yield started
    started.stop()


def pid_of(uri: str) -> int:
    return int(httpx.get(f"{uri}/").json()["pid"])


def eventually(check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := check()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)
    return found


def serving(uri: str) -> int | None:
    answer = httpx.get(f"{uri}/")
    return int(answer.json()["pid"]) if answer.is_success else None


def test_a_container_sees_what_the_platform_gives_it_and_nothing_of_the_shell(running):
    uri = running.serve(service_body({"MODEL_PATH": "/mnt/models/models/x", "NOTE": "/mnt/modelsx"}))
    env = httpx.get(f"{uri}/").json()["env"]
    assert env["MODEL_PATH"] == str(running.folder / "buckets/acme-models/models/x")
    assert env["NOTE"] == "/mnt/modelsx"
    assert (env["K_SERVICE"], env["FROM_IMAGE"]) == ("echo", "yes")
    assert Path(env["HOME"]).is_relative_to(running.folder)
    assert "PLANTED_IN_THE_SHELL" not in env
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in env


def test_a_workload_gets_tokens_of_its_own_account(running, monkeypatch):
    uri = running.serve(service_body())
    host = httpx.get(f"{uri}/").json()["env"]["GCE_METADATA_HOST"]
    base = f"http://{host}/computeMetadata/v1"
    flavored = {"metadata-flavor": "Google"}
    account = httpx.get(f"{base}/instance/service-accounts/default/?recursive=true", headers=flavored).json()
    assert account["email"] == ACCOUNT
    assert httpx.get(f"{base}/instance/service-accounts/default/email").status_code == 403
    assert httpx.get(f"{base}/project/project-id", headers=flavored).text == "acme-test"
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_IP", host)
    monkeypatch.setenv("HOME", str(running.folder))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(running.folder))
    credentials, project = google.auth.default()
    assert project == "acme-test"
    answer = AuthorizedSession(credentials).get(f"{running.base_url}/storage/v1/b/acme-models/o")
    assert answer.status_code == 200
    refused = AuthorizedSession(credentials).get(f"{running.base_url}/v2/{SERVICE.partition('/')[2]}")
    assert refused.status_code == 403
    assert "run.services.get" in refused.json()["error"]["message"]


def test_a_new_revision_takes_over_at_the_same_address_and_the_old_one_ends(running):
    uri = running.serve(service_body({"COLOUR": "blue"}))
    old = pid_of(uri)
    running.world.put(SERVICE, service_body({"COLOUR": "green"}))
    outcome = running.client.reconcile_service(SERVICE, 30)
    assert (outcome.ready, outcome.uri) == (True, uri)
    assert httpx.get(f"{uri}/").json()["env"]["COLOUR"] == "green"
    assert not psutil.pid_exists(old)
    same = pid_of(uri)
    assert running.client.reconcile_service(SERVICE, 30).ready
    assert pid_of(uri) == same


def test_a_revision_that_does_not_start_leaves_the_old_one_serving_and_says_why(running):
    uri = running.serve(service_body())
    old = pid_of(uri)
    running.world.put(SERVICE, service_body({"MODE": "broken"}))
    outcome = running.client.reconcile_service(SERVICE, 30)
    assert not outcome.ready
    assert "exit(9)" in outcome.message
    assert "the model is missing" in outcome.message
    assert pid_of(uri) == old
    condition = running.world.get(SERVICE).body["terminalCondition"]
    assert condition["state"] == "CONDITION_FAILED"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"serviceAccount": STRANGER}, "storage.objects.list access to the Google Cloud Storage bucket"),
        ({"serviceAccount": "nobody@x.example"}, "does not exist"),
        ({"containers": [{"image": "nginx:latest"}]}, "nginx:latest"),
        ({"containers": [{"image": "a"}, {"image": "b"}]}, "exactly one"),
    ],
)
def test_what_cloud_run_would_refuse_at_the_start_is_refused_here(running, change, says):
    running.world.insert("run.service", SERVICE, service_body(**change))
    outcome = running.client.reconcile_service(SERVICE, 30)
    assert not outcome.ready
    assert says in outcome.message


def test_a_container_that_crashes_is_started_again_at_the_same_address(running):
    uri = running.serve(service_body())
    old = pid_of(uri)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{uri}/crash").raise_for_status()
    assert eventually(lambda: serving(uri)) != old


def test_a_repaired_version_does_not_wait_for_the_restart_of_a_broken_one(running):
    uri = running.serve(service_body({"ONCE": str(running.folder / "started")}))
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{uri}/crash").raise_for_status()
    eventually(lambda: (running.folder / "started.again").exists())
    running.world.put(SERVICE, service_body({"COLOUR": "green"}))
    assert running.client.reconcile_service(SERVICE, 30).ready
    assert httpx.get(uri).json()["env"]["COLOUR"] == "green"
    assert len([line for line in living(running.folder) if "-m fake" in line and "init.py" in line]) == 1


def test_a_removed_service_leaves_no_process_and_no_folder(running):
    uri = running.serve(service_body())
    pid = pid_of(uri)
    running.world.delete(SERVICE)
    running.client.remove_service(SERVICE)
    assert not psutil.pid_exists(pid)
    assert read_all(running.folder) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(uri)


def test_a_service_whose_record_is_gone_is_stopped_without_being_asked(running):
    pid = pid_of(running.serve(service_body()))
    running.world.delete(SERVICE)
    eventually(lambda: not psutil.pid_exists(pid))


def test_only_invokers_reach_a_private_service(running):
    uri = running.serve(service_body())
    running.world.unbind(SERVICE, "roles/run.invoker", "allUsers")
    assert httpx.get(uri).status_code == 403
    assert httpx.get(uri, headers={"authorization": "Bearer made-up"}).status_code == 403
    token = id_token.fetch_id_token(Request(), uri)
    assert httpx.get(uri, headers={"authorization": f"Bearer {token}"}).status_code == 200
    elsewhere = id_token.fetch_id_token(Request(), "https://other.example")
    assert httpx.get(uri, headers={"authorization": f"Bearer {elsewhere}"}).status_code == 403


def test_events_arrive_one_by_one_and_bodies_pass_whole(running):
    uri = running.serve(service_body())
    body = os.urandom(3_000_000)
    assert httpx.post(uri, content=body, timeout=30).content == body
    with httpx.stream("GET", f"{uri}/events") as response:
        pieces = response.iter_raw()
        assert next(pieces) == b"data: one\n\n"
        assert next(pieces) == b"data: two\n\n"


def test_a_request_that_takes_longer_than_the_service_allows_ends_with_504(running):
    uri = running.serve(service_body())
    assert httpx.get(f"{uri}/slow", timeout=30).status_code == 504


def test_after_a_killed_cloud_process_the_next_one_adopts_what_still_runs(running):
    uri = running.serve(service_body())
    pid = pid_of(uri)
    os.kill(running.client.status()["pid"], signal.SIGKILL)
    assert ensure_running(running.folder) == running.base_url
    assert eventually(lambda: _answered(uri)) == pid


def test_after_a_machine_restart_the_last_ready_revision_serves_again(running):
    uri = running.serve(service_body({"COLOUR": "blue"}))
    running.world.put(SERVICE, service_body({"MODE": "broken"}))
    running.client.reconcile_service(SERVICE, 30)
    pid = pid_of(uri)
    os.kill(running.client.status()["pid"], signal.SIGKILL)
    for process in psutil.process_iter():
        if process.pid == pid:
            process.parent().kill()
            process.kill()
    ensure_running(running.folder)
    assert eventually(lambda: _answered(uri)) != pid
    assert httpx.get(uri).json()["env"]["COLOUR"] == "blue"


def test_a_change_by_another_client_rolls_the_service_and_is_in_the_record(running):
    uri = running.serve(service_body({"COLOUR": "blue"}))
    credentials, _ = google.auth.default(scopes=["x"])
    http = AuthorizedSession(credentials)
    path = f"{running.base_url}/v2/{SERVICE.partition('/')[2]}"
    service = http.get(path).json()
    service["template"]["containers"][0]["env"] = [{"name": "COLOUR", "value": "red"}]
    operation = http.patch(path, params={"updateMask": "template"}, json=service).json()
    done = http.post(f"{running.base_url}/v2/{operation['name']}:wait", json={"timeout": "30s"}).json()
    assert done["done"], done
    assert done["response"]["template"]["containers"][0]["env"][0]["value"] == "red"
    assert httpx.get(uri).json()["env"]["COLOUR"] == "red"


def test_the_end_of_the_cloud_process_ends_everything(running):
    running.serve(service_body())
    process = psutil.Process(running.client.status()["pid"])
    process.terminate()
    eventually(lambda: not psutil.pid_exists(process.pid) or process.status() == psutil.STATUS_ZOMBIE)
    assert living(running.folder) == []


def test_a_secret_reaches_the_container_of_an_accessor_and_no_file(running):
    secret = "secretmanager.googleapis.com/projects/acme-test/secrets/hub"
    running.world.insert("secretmanager.secret", secret, {})
    running.world.insert("secretmanager.version", f"{secret}/versions/1", {"state": "ENABLED"})
    running.world.secrets.put(f"{secret}/versions/1", b"hf_planted")
    body = service_body()
    reference = {"secret": "hub", "version": "latest"}
    body["template"]["containers"][0]["env"] = [{"name": "T", "valueSource": {"secretKeyRef": reference}}]
    running.world.insert("run.service", SERVICE, body)
    assert "secretmanager.secretAccessor" in running.client.reconcile_service(SERVICE, 30).message
    running.world.bind(secret, "roles/secretmanager.secretAccessor", f"serviceAccount:{ACCOUNT}")
    outcome = running.client.reconcile_service(SERVICE, 30)
    assert httpx.get(outcome.uri).json()["env"]["T"] == "hf_planted"
    files = [path for path in running.folder.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert [path for path in files if b"hf_planted" in path.read_bytes()] == []


def test_losing_the_mount_permission_stops_the_next_revision_only(running):
    uri = running.serve(service_body())
    running.world.unbind(BUCKET_NAME, "roles/storage.objectUser", f"serviceAccount:{ACCOUNT}")
    running.world.put(SERVICE, service_body({"COLOUR": "green"}))
    assert "gcsfuse" in running.client.reconcile_service(SERVICE, 30).message
    assert httpx.get(uri).status_code == 200


def _answered(uri: str) -> int | None:
    try:
        return serving(uri)
    except httpx.HTTPError:
        return None
