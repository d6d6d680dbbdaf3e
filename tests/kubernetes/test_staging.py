"""A model is staged by a real Job: real job controller and scheduler, real weights process, loopback Hub."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from kubernetes.client import V1Secret

from providers.base.errors import InitializationFailed, ProviderError
from providers.modelops import kubernetes_jobs
from providers.modelops.kubernetes_jobs import object_name
from rehearsal.driver_processes import living
from tests.kubernetes.stage import MODEL, TYPE, Stage, finished, runner, until
from tests.unit.cloud_world import BUCKET

TOKEN = "hf_the-right-one"
UP = """
import json, sys, asyncio
from providers.base.provider import CreateRequest
from providers.modelops.provider import ModelopsProvider
urn, kind, inputs = json.load(sys.stdin)
asyncio.run(ModelopsProvider().create(CreateRequest(urn, kind, "assistant", inputs)))
"""


@pytest.fixture
def allowed(stage: Stage) -> Stage:
    stage.allow()
    return stage


def test_a_job_stages_the_model_and_the_next_deployment_starts_nothing(allowed: Stage) -> None:
    outputs = allowed.create().outputs
    assert outputs["files"] == 3
    assert "manifest.json" in allowed.objects()
    [job] = allowed.jobs()
    [pod] = allowed.pods()
    assert pod.status.phase == "Succeeded"
    assert pod.metadata.labels["llm-target"] == allowed.label
    assert allowed.create().outputs == outputs
    assert allowed.jobs() == [job]


def test_the_cluster_checks_every_field_of_the_job(allowed: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    right = kubernetes_jobs.job_object

    def misspelt(*arguments: object) -> dict[str, object]:
        body = right(*arguments)
        body["spec"]["template"]["spec"]["restartPolcy"] = "Never"
        return body

    monkeypatch.setattr(kubernetes_jobs, "job_object", misspelt)
    with pytest.raises(ProviderError, match=r'unknown field "spec\.template\.spec\.restartPolcy"'):
        allowed.create()
    assert allowed.jobs() == []


def test_the_job_keeps_to_its_memory_and_may_do_nothing_as_a_pod(allowed: Stage) -> None:
    jobs = runner()
    finished(jobs, jobs.begin(allowed.work()))
    [pod] = allowed.pods()
    [container] = pod.spec.containers
    assert container.resources.requests["memory"] == container.resources.limits["memory"] == "256Mi"
    assert container.security_context.capabilities.drop == ["ALL"]
    assert container.security_context.read_only_root_filesystem
    assert pod.spec.security_context.run_as_non_root
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.service_account_name == "weights"
    assert [volume.name for volume in pod.spec.volumes] == ["tmp"]


def test_a_killed_deployment_leaves_a_job_that_the_next_one_waits_for(allowed: Stage, checkout: Path) -> None:
    allowed.town.hub.hold()
    request = json.dumps([f"urn:pulumi:dev::llm::{TYPE}::assistant", TYPE, allowed.inputs()])
    up = subprocess.Popen([sys.executable, "-c", UP], cwd=checkout, stdin=subprocess.PIPE, text=True)
    assert up.stdin is not None
    up.stdin.write(request)
    up.stdin.close()
    until("a download", lambda: allowed.town.hub.keeps_waiting() or up.poll() is not None)
    assert up.poll() is None
    up.send_signal(signal.SIGKILL)
    up.wait(30)
    [job] = allowed.jobs()
    threading.Timer(2.0, allowed.town.hub.release).start()
    assert allowed.create().outputs["files"] == 3
    assert allowed.jobs() == [job]
    assert len(allowed.pods()) == 1


def test_two_deployments_at_once_share_one_job(allowed: Stage) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: runner().begin(allowed.work()), range(2)))
    assert found[0].name == found[1].name
    assert len(allowed.jobs()) == 1


def test_a_gated_model_fails_at_once_and_with_the_token_of_a_secret_it_is_staged(
    allowed: Stage, request: pytest.FixtureRequest
) -> None:
    hub = allowed.town.hub
    hub.gate(MODEL, TOKEN)
    request.addfinalizer(lambda: hub.ungate(MODEL))
    with pytest.raises(InitializationFailed) as caught:
        allowed.create()
    [reason] = caught.value.reasons
    assert reason.startswith(f"staging {MODEL} (float32): execution {object_name(allowed.label)} failed: ")
    assert "exit code 10 (gated)" in reason
    assert f"Log: kubectl logs --namespace {allowed.namespace} job/{object_name(allowed.label)}." in reason
    assert "\n" not in reason
    assert len(allowed.pods()) == 1
    [failed] = allowed.jobs()
    allowed.town.core.create_namespaced_secret(
        allowed.namespace,
        V1Secret.model_validate({"metadata": {"name": "hub"}, "stringData": {"token": TOKEN}}),
    )
    secrets = {"HF_TOKEN": {"name": "hub", "key": "token"}}
    assert allowed.create(secrets=secrets).outputs["files"] == 3
    assert failed not in allowed.jobs()


def test_a_container_that_is_killed_is_started_again(allowed: Stage) -> None:
    jobs, hub = runner(), allowed.town.hub
    hub.hold()
    begun = jobs.begin(allowed.work())
    until("a download", hub.keeps_waiting)
    for process in _weights_of(allowed):
        process.kill()
    hub.release()
    said = until("the next attempt", lambda: jobs.execution(begun.name).message)
    assert said == "after 1 failed attempt"
    assert finished(jobs, begun).succeeded
    assert "manifest.json" in allowed.objects()


def test_a_cancelled_job_ends_with_its_process_and_leaves_no_model(allowed: Stage) -> None:
    jobs, hub = runner(), allowed.town.hub
    hub.hold()
    begun = jobs.begin(allowed.work())
    until("a download", hub.keeps_waiting)
    jobs.cancel(begun.name)
    jobs.cancel(begun.name)
    ended = finished(jobs, begun)
    assert not ended.succeeded
    assert ended.message == "its Job was deleted"
    assert _weights_of(allowed) == []
    assert allowed.objects() == {}
    assert jobs.running(allowed.work()) is None


def test_a_job_that_somebody_deletes_is_not_waited_for(allowed: Stage) -> None:
    allowed.town.hub.hold()
    thread = threading.Thread(
        target=lambda: (until("a download", allowed.town.hub.keeps_waiting), allowed.delete_job())
    )
    thread.start()
    with pytest.raises(InitializationFailed, match="failed: its Job was deleted"):
        allowed.create()
    thread.join()


def _weights_of(stage: Stage) -> list[psutil.Process]:
    """The weights processes that write to the stage's target, without the init above each."""
    found = []
    for line in living(stage.town.folder):
        process = psutil.Process(int(line.split()[1].rstrip(":")))
        command = process.cmdline()
        if f"gs://{BUCKET}/{stage.prefix}" in command and "weights" in command[:4]:
            found.append(process)
    return found
