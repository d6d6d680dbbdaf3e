"""What a person reads when the cluster cannot run the job."""

from __future__ import annotations

import base64

import pytest
from google.oauth2.credentials import Credentials

from providers.base.errors import ProviderError
from providers.modelops import client
from tests.kubernetes.stage import WEIGHTS_IMAGE, Stage, runner, until


def message(stage: Stage, **more: object) -> str:
    """What is said while a job with this definition waits; it is stopped afterwards."""
    stage.allow()
    jobs = runner()
    begun = jobs.begin(stage.work(**more))
    said: str = until("a reason", lambda: jobs.execution(begun.name).message)
    jobs.cancel(begun.name)
    until("the end", lambda: jobs.execution(begun.name).done)
    return said


def test_a_job_for_which_no_node_has_room_says_so_while_it_waits(stage: Stage) -> None:
    said = message(stage, memory="64Gi")
    assert said.startswith("Unschedulable: 0/1 nodes are available: 1 Insufficient memory.")


def test_an_image_that_is_not_there_is_named_while_it_waits(stage: Stage) -> None:
    other = WEIGHTS_IMAGE.replace("weights@", "wights@")
    assert message(stage, image=other).startswith(f"ImagePullBackOff: Image '{other}' not found")


def test_a_secret_that_is_not_there_is_named_while_it_waits(stage: Stage) -> None:
    said = message(stage, secrets={"HF_TOKEN": {"name": "nowhere", "key": "token"}})
    assert said == 'CreateContainerConfigError: secret "nowhere" not found'


def test_a_service_account_that_is_not_there_is_named_while_it_waits(stage: Stage) -> None:
    said = message(stage, serviceAccount="nobody")
    assert said.startswith("FailedCreate: Error creating: pods ")
    assert 'serviceaccount "nobody" not found' in said


def test_an_execution_that_takes_too_long_is_ended_by_the_cluster(stage: Stage) -> None:
    stage.allow()
    stage.town.hub.hold()
    jobs = runner()
    begun = jobs.begin(stage.work(timeoutSeconds=3))
    ended = until("the end", lambda: (now := jobs.execution(begun.name)).done and now)
    assert (ended.succeeded, ended.message) == (
        False,
        "Job was active longer than specified deadline",
    )


def test_whoever_may_not_run_jobs_reads_what_is_lacking(stage: Stage) -> None:
    with pytest.raises(ProviderError) as caught:
        runner().begin(stage.work())
    said = str(caught.value)
    assert "refused (403); whoever runs Pulumi needs roles/container.developer on the project, or " in said
    assert f"a Role in namespace {stage.namespace} that allows get, create and delete of jobs" in said
    assert "rehearsal@llmstack.invalid" in said


def test_a_namespace_that_is_not_there_is_named(stage: Stage) -> None:
    cluster = {"kubeconfig": str(stage.town.cluster.kubeconfig)}
    stage.job = stage.job.replace(stage.namespace, "nowhere")
    with pytest.raises(ProviderError, match='not found: namespaces "nowhere" not found'):
        runner().begin(stage.work(cluster=cluster))


def test_a_cluster_is_reached_by_a_kubeconfig_too(stage: Stage) -> None:
    work = stage.work(cluster={"kubeconfig": str(stage.town.cluster.kubeconfig), "context": "rehearsal"})
    jobs = runner()
    begun = jobs.begin(work)
    assert until("the end", lambda: (now := jobs.execution(begun.name)).done and now).succeeded


def test_a_context_that_is_not_there_is_named(stage: Stage) -> None:
    cluster = {"kubeconfig": str(stage.town.cluster.kubeconfig), "context": "elsewhere"}
    with pytest.raises(ProviderError, match=r"cannot be used: .*elsewhere.*; check its path and context"):
        runner().begin(stage.work(cluster=cluster))


def test_a_certificate_of_another_authority_is_not_trusted(stage: Stage) -> None:
    cluster = stage.town.cluster
    pem = (cluster.kubeconfig.parent / "etcd.pem").read_bytes()
    other = {"endpoint": cluster.endpoint, "caCertificate": base64.b64encode(pem).decode()}
    with pytest.raises(ProviderError, match=r"has a certificate that is not trusted .*caCertificate"):
        runner().begin(stage.work(cluster=other))


def test_a_token_that_google_did_not_issue_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_default_credentials", lambda: Credentials("forged"))
    with pytest.raises(ProviderError, match=r"does not know the caller \(401\); run `gcloud auth"):
        runner().begin(stage.work())
