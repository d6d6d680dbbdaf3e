"""The status of a pod of one container, as a kubelet writes it.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Body = Mapping[str, Any]

MESSAGE_BYTES = 2048
MESSAGE_LINES = 80
"""How much of a log becomes a termination message with `FallbackToLogsOnError`."""


def waiting(pod: Body, reason: str, message: str) -> dict[str, Any]:
    """The container is not there yet."""
    return _status(pod, "Pending", {"waiting": {"reason": reason, "message": message}}, ready=False)


def running(pod: Body, started: str) -> dict[str, Any]:
    """The container runs."""
    return _status(pod, "Running", {"running": {"startedAt": started}}, ready=True)


def ended(pod: Body, code: int, started: str, message: str, reason: str = "") -> dict[str, Any]:
    """The container has ended.

    Args:
        pod: the pod.
        code: its exit code.
        started: when it was started, RFC 3339.
        message: its termination message.
        reason: why it ended, where the exit code does not say it.
    """
    end = {
        "exitCode": code,
        "reason": reason or ("Completed" if code == 0 else "Error"),
        "startedAt": started,
        "finishedAt": now(),
        **({"message": message} if message else {}),
    }
    return _status(pod, "Succeeded" if code == 0 else "Failed", {"terminated": end}, ready=False)


def termination_message(log: Path, code: int, policy: str) -> str:
    """The end of the log of a container that failed, where its policy asks for it."""
    if code == 0 or policy != "FallbackToLogsOnError":
        return ""
    try:
        raw = log.read_bytes()
    except FileNotFoundError:
        return ""
    lines = raw.decode(errors="replace").splitlines(keepends=True)[-MESSAGE_LINES:]
    return "".join(lines).encode()[-MESSAGE_BYTES:].decode(errors="ignore")


def now() -> str:
    """This moment as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _status(pod: Body, phase: str, state: Body, *, ready: bool) -> dict[str, Any]:
    container, old = pod["spec"]["containers"][0], pod.get("status", {})
    is_ready = "True" if ready else "False"
    conditions = {"PodReadyToStartContainers": "True", "Initialized": "True"}
    conditions |= {"Ready": is_ready, "ContainersReady": is_ready}
    return {
        "phase": phase,
        "startTime": old.get("startTime") or now(),
        "hostIP": "127.0.0.1",
        "conditions": [{"type": kind, "status": value} for kind, value in conditions.items()],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": container["image"],
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "state": state,
            }
        ],
    }
