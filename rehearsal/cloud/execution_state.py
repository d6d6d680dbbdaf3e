"""Cloud Run executions as records: how one is written down at its start, and how each end of it reads.

Fields and states are those of GoogleCloudRunV2Execution and GoogleCloudRunV2Task in the bundled discovery
document. Tasks are no records of their own: how each ended is kept in its execution, under `tasks`.
"""

from __future__ import annotations

import secrets
import string
import uuid
from dataclasses import dataclass
from typing import Any

from rehearsal.world import Record

DEFAULT_TIMEOUT_SECONDS = 600.0
DEFAULT_RETRIES = 3
COMPLETED = "Completed"


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How one task ended, after its last attempt."""

    kind: str
    """`succeeded`, `failed` or `cancelled`."""
    message: str = ""
    retries: int = 0
    exit_code: int | None = None
    """Of the last attempt; None where its container did not end by itself."""


def new_execution(
    job: Record, overrides: dict[str, Any], now: str, creator: str
) -> tuple[str, dict[str, Any]]:
    """Full name and body of a new execution of a job.

    Args:
        job: the job's record.
        overrides: `overrides` of a RunJobRequest: arguments, environment, task count, timeout.
        now: the world's time.
        creator: who asked for it.
    """
    suffix = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))
    name = f"{job.name}/executions/{job.name.rpartition('/')[2]}-{suffix}"
    execution = job.body["template"]
    count = overrides.get("taskCount") or execution.get("taskCount") or 1
    body = {
        "name": name.partition("/")[2],
        "uid": str(uuid.uuid4()),
        "job": job.name.partition("/")[2],
        "generation": "1",
        "observedGeneration": "1",
        "labels": dict(execution.get("labels") or {}),
        "annotations": dict(execution.get("annotations") or {}),
        "creator": creator,
        "createTime": now,
        "updateTime": now,
        "startTime": now,
        "launchStage": "GA",
        "taskCount": count,
        "parallelism": execution.get("parallelism") or count,
        "template": overridden(execution["template"], overrides),
        "reconciling": True,
        "runningCount": count,
        "conditions": [condition("CONDITION_RECONCILING", now)],
    }
    return name, body


def overridden(template: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A task template with the overrides of one run."""
    result = {**template}
    if overrides.get("timeout"):
        result["timeout"] = overrides["timeout"]
    containers = [dict(container) for container in template["containers"]]
    for given in overrides.get("containerOverrides") or []:
        for container in containers:
            if given.get("name", container.get("name")) != container.get("name"):
                continue
            if given.get("clearArgs") or given.get("args"):
                container["args"] = list(given.get("args") or [])
            replaced = {entry["name"] for entry in given.get("env") or []}
            kept = [e for e in container.get("env") or [] if e["name"] not in replaced]
            container["env"] = [*kept, *(given.get("env") or [])]
    return {**result, "containers": containers}


def condition(state: str, now: str, message: str = "", reason: str = "") -> dict[str, Any]:
    """The `Completed` condition."""
    found = {"type": COMPLETED, "state": state, "lastTransitionTime": now}
    if message:
        found["message"] = message
    if reason:
        found["executionReason"] = reason
    return found


def ended(body: dict[str, Any], ends: list[TaskEnd], now: str) -> dict[str, Any]:
    """The body of an execution all of whose tasks have ended."""
    count = {kind: sum(end.kind == kind for end in ends) for kind in ("succeeded", "failed", "cancelled")}
    failed = next((end for end in ends if end.kind == "failed"), None)
    if count["cancelled"]:
        final = condition("CONDITION_FAILED", now, "Execution was cancelled.", "CANCELLED")
    elif failed is not None:
        final = condition("CONDITION_FAILED", now, failed.message, "NON_ZERO_EXIT_CODE")
    else:
        final = condition("CONDITION_SUCCEEDED", now, "Execution completed successfully.")
    return {
        **body,
        "reconciling": False,
        "runningCount": 0,
        "succeededCount": count["succeeded"],
        "failedCount": count["failed"],
        "cancelledCount": count["cancelled"],
        "retriedCount": sum(end.retries for end in ends),
        "completionTime": now,
        "updateTime": now,
        "conditions": [final],
        "tasks": [_task_end(end) for end in ends],
    }


def tasks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasks of an execution; once it has ended, each with the result of its last attempt."""
    ends = body.get("tasks") or [{}] * int(body["taskCount"])
    execution = body["name"].rpartition("/")[2]
    return [
        {
            "name": f"{body['name']}/tasks/{execution}-task{index}",
            "job": body["job"],
            "execution": body["name"],
            "index": index,
            "createTime": body["createTime"],
            **({} if is_running(body) else {"completionTime": body["completionTime"]}),
            **end,
        }
        for index, end in enumerate(ends)
    ]


def _task_end(end: TaskEnd) -> dict[str, Any]:
    # google.rpc.Code: 0 OK, 1 CANCELLED, 2 UNKNOWN.
    code = {"succeeded": 0, "cancelled": 1}.get(end.kind, 2)
    result: dict[str, Any] = {"status": {"code": code, "message": end.message}}
    if end.exit_code is not None:
        result["exitCode"] = end.exit_code
    return {"retried": end.retries, "lastAttemptResult": result}


def is_running(body: dict[str, Any]) -> bool:
    """Whether an execution has not ended."""
    return "completionTime" not in body


def reference(body: dict[str, Any]) -> dict[str, Any]:
    """The execution as its job refers to it: `latestCreatedExecution`."""
    found = {"name": body["name"], "createTime": body["createTime"]}
    if is_running(body):
        return {**found, "completionStatus": "EXECUTION_RUNNING"}
    final = body["conditions"][0]
    status = "EXECUTION_SUCCEEDED" if final["state"] == "CONDITION_SUCCEEDED" else "EXECUTION_FAILED"
    if final.get("executionReason") == "CANCELLED":
        status = "EXECUTION_CANCELLED"
    return {**found, "completionTime": body["completionTime"], "completionStatus": status}


def seconds(duration: str | None, default: float) -> float:
    """Seconds of Google's duration text, for instance `600s`."""
    return float(duration.removesuffix("s")) if duration else default
