"""What a Job, its pods and its events say about a run of the weights image.

Conditions and reasons as the job controller and the kubelet write them:
https://kubernetes.io/docs/concepts/workloads/controllers/job/ and .../workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from providers.base.errors import one_line

Body = Mapping[str, Any]

STARTING = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons of a waiting container that are the way of things."""

_TOLD_BY_EXIT_CODE = frozenset({"BackoffLimitExceeded", "PodFailurePolicy"})
"""Reasons of a failed Job of which the container's own end says more."""


def ended(job: Body) -> Body | None:
    """The condition that ended a Job; None while it runs."""
    conditions = job.get("status", {}).get("conditions", [])
    kinds = ("Complete", "Failed")
    return next((each for each in conditions if each["type"] in kinds and each["status"] == "True"), None)


def failure(job: Body) -> str:
    """Why a Job failed, as far as its container's exit code does not say it better."""
    condition = ended(job) or {}
    if condition.get("type") != "Failed" or condition.get("reason") in _TOLD_BY_EXIT_CODE:
        return ""
    return one_line(condition.get("message") or condition.get("reason", ""))


def waits_for(job: Body, pods: Sequence[Body], events: Sequence[Body]) -> str:
    """What a Job that has not ended waits for; empty while its container simply runs.

    Args:
        job: the Job.
        pods: its pods.
        events: its own events, needed only where it has no pod.
    """
    failed = int(job.get("status", {}).get("failed", 0))
    before = f"after {failed} failed attempt{'s' if failed > 1 else ''}" if failed else ""
    live = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    reason = pod_waits_for(max(live, key=_created)) if live else _last_warning(events)
    return "; ".join(part for part in (reason, before) if part)


def pod_waits_for(pod: Body) -> str:
    """What keeps a pod from running, in the scheduler's or the kubelet's words; empty where nothing does."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") and waiting["reason"] not in STARTING:
            return _said(waiting)
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _said(condition)
    return ""


def _last_warning(events: Sequence[Body]) -> str:
    warnings = [event for event in events if event.get("type") == "Warning"]
    return _said(max(warnings, key=_happened)) if warnings else ""


def last_end(pods: Sequence[Body]) -> tuple[int | None, str]:
    """Exit code and last words of the container that ended last; None and nothing where none has."""
    ends = [
        container["state"]["terminated"]
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses", [])
        if "terminated" in container.get("state", {})
    ]
    if not ends:
        return None, ""
    last = max(ends, key=lambda end: str(end.get("finishedAt") or ""))
    return last.get("exitCode"), _last_words(last.get("message", ""))


def _last_words(log: str) -> str:
    """The error's line: the last that is no line of progress, which the image writes as JSON."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith("{")]
    return one_line((plain or lines or [""])[-1])


def _said(state: Body) -> str:
    return one_line(": ".join(part for part in (state.get("reason"), state.get("message")) if part))


def _created(pod: Body) -> str:
    return str(pod["metadata"].get("creationTimestamp") or "")


def _happened(event: Body) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
