"""When the rehearsed plugin takes a Deployment for done, and what it says until then."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.standins.kubernetes.kinds import kind_of
from rehearsal.standins.kubernetes.objects import Body, Name
from rehearsal.standins.kubernetes.waiting import Failed, Wait

DEPLOYMENT = Name(kind_of("kubernetes:apps/v1:Deployment"), "llm", "server")
JOB = Name(kind_of("kubernetes:batch/v1:Job"), "llm", "stage")
DONE = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


class Pods:
    """A cluster of which nothing but the pods is asked.

    Args:
        pods: theirs.
    """

    def __init__(self, *pods: Body) -> None:
        self._pods = list(pods)

    def listed(self, path: str, **selectors: str) -> list[Body]:
        """The pods, whatever is asked for."""
        assert path == "/api/v1/namespaces/llm/pods"
        assert selectors == {"labelSelector": "app=server"}
        return self._pods

    def get(self, name: Name) -> Body | None:
        """Not asked for."""
        raise AssertionError(name)

    def apply(self, name: Name, body: Body, *, new: bool, force: bool = False, dry: bool = False) -> Body:
        """Not asked for."""
        raise AssertionError(name, body, new, force, dry)

    def delete(self, name: Name, propagation: str) -> None:
        """Not asked for."""
        raise AssertionError(name, propagation)


def verdict(pods: Pods, **status: Any) -> str | None:
    """What is missing of a Deployment of two that calls itself available."""
    live = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "server"}}},
        "status": {"conditions": [{"type": "Available", "status": "True"}], **DONE, **status},
    }
    return Wait(DEPLOYMENT, {}).look(pods, live)


def test_a_deployment_whose_replicas_are_all_new_and_available_is_done() -> None:
    assert verdict(Pods()) is None


@pytest.mark.parametrize(
    "status",
    [
        {"observedGeneration": 1},
        {"updatedReplicas": 1},
        {"replicas": 3},
        {"availableReplicas": 1, "unavailableReplicas": 1},
    ],
    ids=["not seen yet", "an old one serves", "an old one is going", "one is not available"],
)
def test_a_deployment_that_calls_itself_available_is_waited_for(status: dict[str, int]) -> None:
    assert (
        verdict(Pods(), **status)
        == f"{ {**DONE, **status}['availableReplicas'] } of 2 replicas are available"
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient google.com/tpu.",
                    }
                ]
            },
            "server-1: Unschedulable: 0/3 nodes are available: 3 Insufficient google.com/tpu.",
        ),
        (
            {
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no x"}}}
                ]
            },
            "server-1: ImagePullBackOff: no x",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                        "lastState": {"terminated": {"exitCode": 1, "message": "no chips found\n"}},
                    }
                ]
            },
            "server-1: CrashLoopBackOff: back-off 10s; it said: no chips found",
        ),
    ],
    ids=["no slice", "no image", "a crash"],
)
def test_what_keeps_a_pod_is_said_in_the_words_of_the_cluster(status: Body, said: str) -> None:
    pod = {"metadata": {"name": "server-1"}, "status": status}
    assert verdict(Pods(pod), availableReplicas=1, unavailableReplicas=1) == said


def test_a_job_that_failed_never_will_be_done_and_says_why() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    with pytest.raises(Failed, match=r"^DeadlineExceeded: too long$"):
        Wait(JOB, {}).look(Pods(), {"status": {"conditions": [failed]}})


def test_a_job_is_done_when_it_is_complete() -> None:
    conditions = [{"type": "Suspended", "status": "False"}, {"type": "Complete", "status": "True"}]
    assert Wait(JOB, {}).look(Pods(), {"status": {"conditions": conditions}}) is None
