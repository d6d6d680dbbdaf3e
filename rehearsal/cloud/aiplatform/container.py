"""The container of a deployed model, in the shape that the rehearsal's runner knows.

What Vertex AI gives to a container, and what it takes for granted where a model says nothing:
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rehearsal.cloud.execution_state import seconds

DEFAULT_MACHINE = "n1-standard-2"
"""Discovery document, MachineSpec.machineType: for a DeployedModel."""
DEFAULT_DEPLOYMENT_SECONDS = 1800.0
_PERIOD_SECONDS = 10
_CACHE = "/tmp/model"  # noqa: S108 - inside the container
_VARIABLE = re.compile(r"\$\$|\$\((?P<name>[A-Za-z_][A-Za-z0-9_]*)\)")


def template(
    spec: Mapping[str, Any], facts: Mapping[str, str], account: str, accelerator: str | None
) -> dict[str, Any]:
    """A Cloud Run revision that runs what a deployed model would.

    Args:
        spec: the model's ModelContainerSpec.
        facts: the variables that Vertex AI sets, without those of port and routes.
        account: e-mail address of the service account that it runs as.
        accelerator: Vertex AI's name of the accelerator, or None.
    """
    variables = {**facts, **_routes(spec, facts)}
    if accelerator:
        variables["AIP_ACCELERATOR_TYPE"] = accelerator
    for entry in spec.get("env") or []:
        variables[entry["name"]] = _expanded(entry.get("value") or "", variables)
    # A container has a /tmp of its own; a plain process has the machine's, where models of others may lie.
    variables.setdefault("MODEL_CACHE", _CACHE)
    container = {
        "image": spec["imageUri"],
        "command": [_expanded(word, variables) for word in spec.get("command") or []],
        "args": [_expanded(word, variables) for word in spec.get("args") or []],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "startupProbe": _startup(spec, variables["AIP_HEALTH_ROUTE"]),
        "volumeMounts": [{"name": "cache", "mountPath": _CACHE}],
    }
    return {
        "containers": [container],
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "serviceAccount": account,
    }


def aip_variables(
    *, project_number: str, endpoint: str, deployed: str, model: str, version: str, machine: str, storage: str
) -> dict[str, str]:
    """The `AIP_` variables that say what is deployed and where.

    Args:
        project_number: number of the project.
        endpoint: the endpoint's id.
        deployed: the deployed model's id.
        model: the model's id.
        version: the model version's id.
        machine: the machine type.
        storage: where the copy of the artifacts is; empty when the model has none.
    """
    return {
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_PROJECT_NUMBER": project_number,
        "AIP_ENDPOINT_ID": endpoint,
        "AIP_DEPLOYED_MODEL_ID": deployed,
        "AIP_MODEL_NAME": model,
        "AIP_VERSION_NAME": version,
        "AIP_MACHINE_TYPE": machine,
        "AIP_STORAGE_URI": storage,
    }


def predict_route(template: Mapping[str, Any]) -> str:
    """Where a container takes predictions."""
    variables = {entry["name"]: entry["value"] for entry in template["containers"][0]["env"]}
    return str(variables["AIP_PREDICT_ROUTE"])


def deployment_seconds(spec: Mapping[str, Any]) -> float:
    """How long a container may take until it is healthy."""
    return seconds(spec.get("deploymentTimeout"), DEFAULT_DEPLOYMENT_SECONDS)


def _routes(spec: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, str]:
    # Discovery document, ModelContainerSpec.predictRoute and .healthRoute.
    default = f"/v1/endpoints/{facts['AIP_ENDPOINT_ID']}/deployedModels/{facts['AIP_DEPLOYED_MODEL_ID']}"
    return {
        "AIP_HEALTH_ROUTE": spec.get("healthRoute") or default,
        "AIP_PREDICT_ROUTE": spec.get("predictRoute") or f"{default}:predict",
    }


def _startup(spec: Mapping[str, Any], health: str) -> dict[str, Any]:
    """Ready is who answers the health route; the startup and health probes only change how it is asked.

    Where a probe is a command, that has to succeed in the container first, as Kubernetes has it: no container
    is asked whether it is ready before its startup probe has passed.
    https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#types-of-probe
    """
    given = spec.get("startupProbe") or spec.get("healthProbe") or {}
    probe = {key: given[key] for key in ("initialDelaySeconds", "timeoutSeconds") if key in given}
    if "exec" in given:
        probe["exec"] = given["exec"]
    path = (given.get("httpGet") or {}).get("path") or health
    tries = int(deployment_seconds(spec) // _PERIOD_SECONDS) + 1
    return {
        "httpGet": {"path": path},
        "periodSeconds": _PERIOD_SECONDS,
        "failureThreshold": tries,
        "timeoutSeconds": 10,
        **probe,
    }


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced as Kubernetes does it: an unknown name stays, and `$$` is a dollar."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found["name"], found[0])

    return _VARIABLE.sub(value, text)
