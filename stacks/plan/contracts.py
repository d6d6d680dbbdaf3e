"""What the images and the plan must agree on, read from each image's `contract.json`.

The image's own code loads the same file, so neither side can change it alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from stacks.config_errors import Problem
from stacks.plan.types import CloudRunPlan, ImagePlan, StackPlan

_IMAGES = Path(__file__).resolve().parents[2] / "images"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Route(_Part):
    """One route that the serving image answers."""

    method: str
    path: str


class Setting(_Part):
    """One environment variable or argument that an image reads."""

    required: bool
    meaning: str


class ServeContract(_Part):
    """What the serving image reads and answers."""

    port: int
    routes: Mapping[str, Route]
    environment: Mapping[str, Setting]
    mount_path: str
    manifest: str


class WeightsContract(_Part):
    """What the weights image reads."""

    command: str
    arguments: Mapping[str, Setting]
    environment: Mapping[str, Setting]


@cache
def serve_contract() -> ServeContract:
    """Reads the serving image's contract."""
    return ServeContract.model_validate(_read("serve"))


@cache
def weights_contract() -> WeightsContract:
    """Reads the weights image's contract."""
    return WeightsContract.model_validate(_read("weights"))


def check_contracts(plan: StackPlan) -> list[Problem]:
    """Checks that what each container of a plan reads is what the plan gives it, and where it finds it."""
    return [
        problem for deployment in plan.deployments.values() for problem in _check(deployment, plan.images)
    ]


def _read(image: str) -> object:
    return json.loads((_IMAGES / image / "contract.json").read_text(encoding="utf-8"))


def _check(plan: CloudRunPlan, images: Mapping[str, ImagePlan]) -> Iterator[Problem]:
    path = f"llm:deployments.{plan.deployment}"
    serve, weights = serve_contract(), weights_contract()
    for image in (plan.image, plan.weights.image):
        if image not in images:
            yield Problem(
                path, image, "is an image that the plan does not have", f"have: {', '.join(images)}"
            )
    yield from _settings(f"{path} service environment", plan.env, serve.environment)
    yield from _settings(f"{path} job environment", plan.weights.env, weights.environment)
    yield from _equal(path, _serving_pairs(plan, serve))
    yield from _probes(path, plan, serve)
    yield from _job(path, plan, weights)


def _settings(path: str, given: Iterable[str], known: Mapping[str, Setting]) -> Iterator[Problem]:
    given = set(given)
    for name in sorted(given - set(known)):
        yield Problem(path, name, "is given and not read", "remove it, or add it to the image's contract")
    for name, setting in known.items():
        if setting.required and name not in given:
            yield Problem(path, name, "is read and not given", setting.meaning)


def _serving_pairs(plan: CloudRunPlan, contract: ServeContract) -> Iterator[tuple[str, object, object]]:
    yield "port", plan.port, contract.port
    yield "mount path", plan.volume.mount_path, contract.mount_path
    yield "mounted bucket", plan.volume.bucket, plan.staged.bucket
    model_path = f"{contract.mount_path}/{plan.staged.prefix.rstrip('/')}"
    yield "MODEL_PATH", plan.env.get("MODEL_PATH"), model_path
    yield "staged address", plan.staged.uri, f"gs://{plan.staged.bucket}/{plan.staged.prefix.rstrip('/')}"


def _equal(path: str, pairs: Iterable[tuple[str, object, object]]) -> Iterator[Problem]:
    for what, given, right in pairs:
        if given != right:
            yield Problem(
                path, str(given), f"is not the {what} that the other side uses", f"should be {right}"
            )


def _probes(path: str, plan: CloudRunPlan, contract: ServeContract) -> Iterator[Problem]:
    answered = {route.path for route in contract.routes.values() if route.method == "GET"}
    for probe in (plan.startup_probe, plan.liveness_probe):
        if probe.path not in answered:
            yield Problem(
                path, probe.path, "is probed and not answered", f"answered: {', '.join(sorted(answered))}"
            )
        if probe.port != contract.port:
            yield Problem(
                path, str(probe.port), "is probed and not listened on", f"should be {contract.port}"
            )


def _job(path: str, plan: CloudRunPlan, contract: WeightsContract) -> Iterator[Problem]:
    command, *rest = plan.weights.args
    given = dict(zip(rest[::2], rest[1::2], strict=False))
    yield from _equal(path, [("job command", command, contract.command)])
    yield from _settings(f"{path} job arguments", given, contract.arguments)
    staged = plan.staged
    right = {
        "--repo": staged.repository,
        "--revision": staged.revision,
        "--target": staged.uri,
        "--format": staged.format,
        "--dtype": staged.dtype,
    }
    yield from _equal(
        path, [(f"job argument {name}", given.get(name), value) for name, value in right.items()]
    )
