"""Cloud Run: what Google fills in when a request leaves it out.

Source: descriptions in the `run.v2` discovery document (Probe, Container, RevisionTemplate,
RevisionScaling, TaskTemplate) and https://cloud.google.com/run/docs/configuring.
"""

from __future__ import annotations

from typing import Any

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "failureThreshold": 3}
_LIMITS = {"cpu": "1000m", "memory": "512Mi"}
_PORT = 8080


def fill_service(template: dict[str, Any], account: str) -> dict[str, Any]:
    """A revision template, completed.

    Args:
        template: In REST shape.
        account: The project's default compute service account.
    """
    containers = [_fill_container(container) for container in template.get("containers", [])]
    if len(containers) == 1:
        containers = [_fill_ingress(containers[0])]
    return {
        "timeout": "300s",
        "maxInstanceRequestConcurrency": 80,
        "serviceAccount": account,
        **template,
        "scaling": {"maxInstanceCount": 100, **template.get("scaling", {})},
        "containers": containers,
    }


def fill_job(template: dict[str, Any], account: str) -> dict[str, Any]:
    """A job's execution template, completed; arguments as `fill_service`."""
    task = template["template"]
    return {
        "taskCount": 1,
        **template,
        "template": {
            "timeout": "600s",
            "maxRetries": 3,
            "serviceAccount": account,
            "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
            **task,
            "containers": [_fill_container(container) for container in task.get("containers", [])],
        },
    }


def _fill_container(container: dict[str, Any]) -> dict[str, Any]:
    resources = container.get("resources", {"cpuIdle": True})
    return {**container, "resources": {**resources, "limits": {**_LIMITS, **resources.get("limits", {})}}}


def _fill_ingress(container: dict[str, Any]) -> dict[str, Any]:
    """The container that takes requests: its port and its probes."""
    given = (container.get("ports") or [{}])[0]
    port = {"name": "http1", "containerPort": _PORT, **given}
    startup = container.get("startupProbe")
    filled = {**container, "ports": [port]}
    if startup is None:
        tcp = {"tcpSocket": {"port": port["containerPort"]}}
        filled["startupProbe"] = {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, **tcp}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container.get(name) is not None:
            filled[name] = _fill_probe(container[name], port["containerPort"])
    return filled


def _fill_probe(probe: dict[str, Any], port: int) -> dict[str, Any]:
    filled = {**_PROBE, **probe}
    if "httpGet" in probe:
        filled["httpGet"] = {"path": "/", "port": port, **probe["httpGet"]}
    for kind in ("tcpSocket", "grpc"):
        if kind in probe:
            filled[kind] = {"port": port, **probe[kind]}
    return filled
