"""What the images, the engine and the plan must agree on.

What an image reads and answers is in its `contract.json`. The image's own code loads the same file, so
neither side can change it alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from stacks.config_errors import Problem
from stacks.plan import contract_bounds as bounds
from stacks.plan.contract_bounds import TOKEN_LIMITS
from stacks.plan.hardware import engines
from stacks.plan.images import SERVE_IMAGES
from stacks.plan.spec import ModelSpec
from stacks.plan.types import CloudRunPlan, ImagePlan, StackPlan

_HUB_VARIABLE = "HF_TOKEN"
_TARGET_LABEL = "llm-target"
"""Label by which an interrupted deployment finds its running execution again."""

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


class Manifest(_Part):
    """The list of files that stands beside staged weights."""

    name: str
    fields: Mapping[str, str]


class Format(_Part):
    """A form in which weights are written, and the element types that it can have."""

    dtypes: tuple[str, ...]


class WeightsContract(_Part):
    """What the weights image reads and writes."""

    command: str
    arguments: Mapping[str, Setting]
    formats: Mapping[str, Format]
    environment: Mapping[str, Setting]
    manifest: Manifest


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


def check_model_contracts(plan: StackPlan, models: Mapping[str, ModelSpec]) -> list[Problem]:
    """Checks that each deployment asks of its model what the model has.

    Args:
        plan: the finished plan.
        models: the model of each deployment, by its logical name.
    """
    return [
        problem
        for name, deployment in plan.deployments.items()
        for problem in (*_tokens(deployment, models[name]), *_gated(plan, deployment, models[name]))
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
    yield from _engine(path, plan)
    yield from _staged(path, plan)
    yield from _fits(path, plan)
    yield from bounds.seconds(path, plan)
    yield from bounds.batches(path, plan)


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
    yield "MODEL_NAME", plan.env.get("MODEL_NAME"), plan.staged.repository
    yield "ENGINE", plan.env.get("ENGINE"), plan.engine
    yield "image", plan.image, SERVE_IMAGES.get(plan.engine)
    yield "DTYPE", plan.env.get("DTYPE"), plan.dtype
    yield "THREADS", plan.env.get("THREADS"), plan.cpu
    yield "manifest", contract.manifest, weights_contract().manifest.name
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


def _engine(path: str, plan: CloudRunPlan) -> Iterator[Problem]:
    engine = engines().get(plan.engine)
    if engine is None or not engine.built:
        built = ", ".join(sorted(name for name, each in engines().items() if each.built))
        yield Problem(f"{path}.engine", plan.engine, "is no engine of this version", f"built: {built}")
        return
    device = "gpu" if plan.gpu else "cpu"
    pairs = (
        ("topology", plan.topology, engine.topologies),
        ("format", plan.staged.format, engine.formats),
        ("element type", plan.dtype, engine.dtypes),
        ("device", device, engine.devices),
    )
    for what, given, taken in pairs:
        if given not in taken:
            yield Problem(
                f"{path}.engine",
                given,
                f"is no {what} that {engine.name} takes",
                f"takes: {', '.join(taken)}",
            )


def _staged(path: str, plan: CloudRunPlan) -> Iterator[Problem]:
    staged, job, formats = plan.staged, plan.weights, weights_contract().formats
    written = formats.get(staged.format)
    if written is None:
        yield Problem(
            path, staged.format, "is no format of staged weights", f"use one of {', '.join(formats)}"
        )
    elif staged.dtype not in written.dtypes:
        yield Problem(
            path,
            staged.dtype,
            f"is no element type of weights staged as {staged.format}",
            f"use one of {', '.join(written.dtypes)}",
        )
    # Another revision, format or element type must lie elsewhere: what is staged is never written over.
    right = f"/{staged.revision}/{staged.format}-{staged.dtype}/"
    if not staged.prefix.endswith(right):
        yield Problem(path, staged.prefix, "does not say what is staged there", f"should end in {right}")
    attempts = (job.max_retries + 1) * job.task_timeout_seconds
    if staged.timeout_seconds < attempts:
        yield Problem(
            path,
            str(staged.timeout_seconds),
            "is less time than the job's attempts may take",
            f"at least {attempts} seconds",
        )
    if _TARGET_LABEL not in job.execution_labels:
        yield Problem(path, job.job_name, "has no label that finds its execution", f"add {_TARGET_LABEL}")


def _fits(path: str, plan: CloudRunPlan) -> Iterator[Problem]:
    sums = {"service": plan.sizing, "job": plan.weights.sizing}
    for what, sizing in sums.items():
        if sizing.need_bytes > sizing.have_bytes:
            yield Problem(
                path, sizing.machine, f"is too small for the {what}", f"needs {sizing.need_bytes} bytes"
            )
    queue = plan.env.get("MAX_QUEUE", "")
    if queue.isdecimal() and plan.concurrency > int(queue):
        yield Problem(
            f"{path}.scaling.concurrency",
            str(plan.concurrency),
            f"is above MAX_QUEUE ({queue}), so requests would be answered 429",
            f"at most {queue}",
        )


def _tokens(plan: CloudRunPlan, model: ModelSpec) -> Iterator[Problem]:
    path = f"llm:deployments.{plan.deployment}.limits"
    limits = {name: plan.env.get(name, "") for name in TOKEN_LIMITS}
    for name, value in limits.items():
        if not value.isdecimal() or int(value) < 1:
            yield Problem(path, value, f"is no number for {name}", "write a whole number of at least 1")
            return
    longest, new = (int(value) for value in limits.values())
    # A decoder's prompt and answer share its context; an encoder-decoder's do not.
    used = longest + new if model.family == "decoder" else max(longest, new)
    if used > model.context:
        yield Problem(
            path,
            str(used),
            f"is more tokens than {model.repository} takes",
            f"its context is {model.context}",
        )


def _gated(plan: StackPlan, deployment: CloudRunPlan, model: ModelSpec) -> Iterator[Problem]:
    path = f"llm:deployments.{deployment.deployment}.model"
    if not model.gated:
        return
    if plan.foundation.hub_token is None or not deployment.weights.hub_token:
        yield Problem(
            path,
            model.repository,
            "is gated, and its job gets no Hub token",
            "set llm:hubToken or hubTokenSecret",
        )
    if _HUB_VARIABLE not in weights_contract().environment:
        yield Problem(path, _HUB_VARIABLE, "is given and not read", "add it to the image's contract")
