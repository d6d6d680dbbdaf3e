"""The runner for clusters, as far as it needs none: the object it makes, what it reads, what it refuses."""

import base64
import threading

import pytest
from pydantic import ValidationError

from providers.base.errors import ProviderError
from providers.modelops import kubernetes_jobs
from providers.modelops.client import Google, NotFound
from providers.modelops.exit_codes import final_codes
from providers.modelops.kubernetes_access import ClusterAccess
from providers.modelops.kubernetes_definition import KubernetesDefinition, job_object
from providers.modelops.kubernetes_jobs import KubernetesJobs, object_name
from providers.modelops.kubernetes_state import failure, last_end, waits_for
from providers.modelops.runners import Work
from providers.modelops.staged_model import DEFAULT_TIMEOUT_SECONDS

JOB = "projects/p/locations/l/clusters/c/k8s/namespaces/llm/jobs/assistant"
GIVEN = {
    "image": "registry/weights@sha256:1",
    "args": ["stage", "--repo", "google/t5"],
    "serviceAccount": "weights",
    "timeoutSeconds": 600,
    "cluster": {"kubeconfig": "~/.kube/config"},
}


def definition(**more):
    return KubernetesDefinition.model_validate({**GIVEN, **more})


def pod(state, phase="Running", created="2026-01-01T00:00:00Z", conditions=()):
    return {
        "metadata": {"creationTimestamp": created},
        "status": {"phase": phase, "containerStatuses": [{"state": state}], "conditions": list(conditions)},
    }


def test_a_secret_is_in_the_job_by_reference_alone():
    body = job_object(definition(secrets={"HF_TOKEN": {"name": "hub", "key": "token"}}), "weights-a", "a")
    [container] = body["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    ]


def test_an_outcome_that_repeats_itself_ends_the_job_and_a_lost_node_costs_no_attempt():
    lost, final = job_object(definition(), "weights-a", "a")["spec"]["podFailurePolicy"]["rules"]
    assert lost["action"] == "Ignore"
    assert final["action"] == "FailJob"
    assert final["onExitCodes"]["values"] == list(final_codes())
    assert {2, 10, 11, 12} <= set(final_codes())
    assert not {0, 1, 13, 20, 137, 143} & set(final_codes())


def test_an_ended_job_stays_until_its_end_was_seen_and_not_for_ever():
    spec = job_object(definition(maxRetries=1), "weights-a", "a")["spec"]
    assert spec["ttlSecondsAfterFinished"] > DEFAULT_TIMEOUT_SECONDS
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (1, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_target_has_one_name_and_two_targets_have_two():
    assert object_name("0123456789abcdef") == "weights-0123456789abcdef"
    assert object_name("a_b") != object_name("a-b")
    assert len(object_name("a" * 63)) <= 63


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        ({}, "needs either endpoint or kubeconfig"),
        ({"endpoint": "https://a", "kubeconfig": "b"}, "needs either endpoint or kubeconfig"),
        ({"endpoint": "http://a"}, "endpoint"),
        ({"endpoint": "https://a", "context": "c"}, "a context without a kubeconfig"),
        ({"endpoint": "https://a", "caCertificate": "???"}, "no PEM certificate in base64"),
        (
            {"endpoint": "https://a", "caCertificate": base64.b64encode(b"key").decode()},
            "no PEM certificate in base64",
        ),
        ({"endpoint": "https://a", "token": "secret"}, "token"),
    ],
)
def test_a_cluster_is_named_in_one_way_and_without_a_credential(cluster, reason):
    with pytest.raises(ValidationError, match=reason):
        ClusterAccess.model_validate(cluster)


@pytest.mark.parametrize(
    ("job", "pods", "events", "said"),
    [
        ({}, [pod({"running": {}})], [], ""),
        ({}, [pod({"waiting": {"reason": "ContainerCreating"}}, "Pending")], [], ""),
        (
            {},
            [pod({"waiting": {"reason": "ErrImagePull", "message": "no\nsuch"}}, "Pending")],
            [],
            "ErrImagePull: no such",
        ),
        (
            {"failed": 2},
            [pod({"terminated": {}}, "Failed"), pod({"running": {}}, created="2026-01-02T00:00:00Z")],
            [],
            "after 2 failed attempts",
        ),
        (
            {},
            [
                pod(
                    {},
                    "Pending",
                    conditions=[
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/1",
                        }
                    ],
                )
            ],
            [],
            "Unschedulable: 0/1",
        ),
        (
            {},
            [],
            [
                {"type": "Normal", "reason": "Other", "lastTimestamp": "3"},
                {"type": "Warning", "reason": "FailedCreate", "message": "new", "lastTimestamp": "2"},
                {"type": "Warning", "reason": "FailedCreate", "message": "old", "lastTimestamp": "1"},
            ],
            "FailedCreate: new",
        ),
    ],
)
def test_what_a_job_waits_for_is_said_in_the_clusters_words(job, pods, events, said):
    assert waits_for({"status": job}, pods, events) == said


def test_the_last_container_that_ended_says_why_the_job_failed():
    first = pod({"terminated": {"exitCode": 20, "finishedAt": "1", "message": "weights: away"}}, "Failed")
    said = 'weights: the Hub refuses\n{"message": "stopped"}\n'
    last = pod({"terminated": {"exitCode": 10, "finishedAt": "2", "message": said}}, "Failed")
    assert last_end([last, first]) == (10, "weights: the Hub refuses")
    assert last_end([pod({"running": {}})]) == (None, "")


@pytest.mark.parametrize(
    ("reason", "said"),
    [("PodFailurePolicy", ""), ("BackoffLimitExceeded", ""), ("DeadlineExceeded", "too long")],
)
def test_the_jobs_own_reason_is_told_where_the_exit_code_says_less(reason, said):
    failed = {"type": "Failed", "status": "True", "reason": reason, "message": "too long"}
    assert failure({"status": {"conditions": [failed]}}) == said


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a: [b",
        "\thost: a",
        "hello",
        "- a",
        "apiVersion: v1",
        b"\xff\xfe",
        "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 12}}]\nusers: [{name: u, user: {token: t}}]",
    ],
)
def test_a_file_that_is_no_kubeconfig_is_refused_by_its_path(content, tmp_path):
    path = tmp_path / "config"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    wrong = definition(cluster={"kubeconfig": str(path)})
    with pytest.raises(
        ProviderError, match=rf"kubeconfig {path} cannot be used: .*; check its path and context"
    ):
        KubernetesJobs(Google(threading.Event())).running(Work(JOB, "a", wrong))


class OneJob:
    """A cluster that holds at most one Job and remembers what it was asked; pods of it are gone at once."""

    def __init__(self, job=None):
        self.job, self.asked = job, []

    def ask(self, what, method, path, *, body=None, query=(), repeat=True):
        self.asked.append(method)
        if method == "POST":
            metadata = {**body["metadata"], "uid": "new"}
            self.job = {**body, "metadata": metadata}
        elif method == "DELETE":
            assert body["preconditions"]["uid"] == self.job["metadata"]["uid"]
            self.job = None
            return {}
        elif path.endswith("/pods"):
            return {"items": []}
        elif self.job is None:
            raise NotFound("no such job")
        return self.job


def running_job(**more):
    body = job_object(definition(**more), object_name("a"), "a")
    return {**body, "metadata": {**body["metadata"], "uid": "old"}}


@pytest.fixture
def world(monkeypatch):
    one = OneJob()
    monkeypatch.setattr(kubernetes_jobs, "Cluster", lambda access, google: one)
    return one


def test_a_running_job_by_the_same_definition_is_taken_as_it_is(world):
    jobs, work = KubernetesJobs(Google(threading.Event())), Work(JOB, "a", definition())
    world.job = running_job(labels={"stack": "dev"}, cluster={"endpoint": "https://another-address"})
    assert jobs.outdated(work) is None
    assert jobs.begin(work).name.endswith("/executions/old")
    assert set(world.asked) == {"GET"}


@pytest.mark.parametrize(
    "more",
    [
        {"image": "registry/weights@sha256:2"},
        {"args": ["stage", "--repo", "another"]},
        {"env": {"HF_TOKEN_SECRET": "s"}},
        {"nodeSelector": {"pool": "cpu"}},
        {"memory": "512Mi"},
    ],
)
def test_a_running_job_by_another_definition_makes_way(world, more):
    jobs, work = KubernetesJobs(Google(threading.Event())), Work(JOB, "a", definition())
    world.job = running_job(**more)
    old = jobs.outdated(work)
    assert old.name.endswith("/executions/old")
    assert jobs.running(work).name == old.name
    assert jobs.begin(work).name.endswith("/executions/new")
    assert world.asked[-2:] == ["DELETE", "POST"]
    assert world.job["metadata"]["labels"]["llm-definition"] == definition().digest
    assert world.job["spec"]["template"]["metadata"]["labels"] == world.job["metadata"]["labels"]


def test_a_job_that_is_not_there_is_not_outdated(world):
    assert KubernetesJobs(Google(threading.Event())).outdated(Work(JOB, "a", definition())) is None


def test_a_job_runs_on_the_nodes_that_are_named_and_anywhere_where_none_are():
    pods = [
        job_object(one, "weights-a", "a")["spec"]["template"]["spec"]
        for one in (definition(nodeSelector={"cloud.google.com/gke-nodepool": "cpu"}), definition())
    ]
    assert pods[0]["nodeSelector"] == {"cloud.google.com/gke-nodepool": "cpu"}
    assert "nodeSelector" not in pods[1]
    assert not any("tolerations" in pod for pod in pods)
    with pytest.raises(ValidationError, match="nodeSelector"):
        definition(nodeSelector={"not a label": "x"})


def test_what_the_runner_cannot_do_it_refuses_with_the_remedy(tmp_path):
    jobs = KubernetesJobs(Google(threading.Event()))
    with pytest.raises(ProviderError, match=r"cannot be imported: .* run `pulumi up`"):
        jobs.job(JOB)
    with pytest.raises(ProviderError, match="needs a `definition` that names the cluster"):
        jobs.begin(Work(JOB, "a", None))
    missing = definition(cluster={"kubeconfig": str(tmp_path / "none")})
    with pytest.raises(ProviderError, match=r"none cannot be used: .*; check its path and context"):
        jobs.running(Work(JOB, "a", missing))
    with pytest.raises(ProviderError, match="how to reach cluster elsewhere is not known"):
        jobs.execution("elsewhere/k8s/namespaces/n/jobs/j/executions/u")
