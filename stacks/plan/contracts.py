"""What the images, the engine and the plan must agree on.

What an image reads and answers is in its `contract.json`. The image's own code loads the same file, so
neither side can change it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stacks.config_errors import Problem
from stacks.plan import contract_bounds as bounds
from stacks.plan import contract_vertex as on_vertex
from stacks.plan.contract_data import (
    ServeContract,
    Setting,
    WeightsContract,
    serve_contract,
    weights_contract,
)
from stacks.plan.contract_models import check_model_contracts
from stacks.plan.gke.check import check_objects
from stacks.plan.hardware import engines
from stacks.plan.images import SERVE_IMAGES
from stacks.plan.staging import IMPORT
from stacks.plan.types import CloudRunPlan, DeploymentPlan, ImagePlan, StackPlan
from stacks.plan.types_gke import GkeTpuPlan
from stacks.plan.types_vertex import VertexPlan

__all__ = ["check_contracts", "check_model_contracts", "serve_contract", "weights_contract"]

_TARGET_LABEL = "llm-target"
"""Label by which an interrupted deployment finds its running execution again."""


def check_contracts(plan: StackPlan) -> list[Problem]:
    """Checks that what each container of a plan reads is what the plan gives it, and where it finds it."""
    return [
        *(problem for each in plan.on_cloud_run.values() for problem in _check(each, plan.images)),
        *(problem for each in plan.on_vertex.values() for problem in _check_vertex(each, plan.images)),
        *(problem for other in plan.on_tpu.values() for problem in _check_tpu(other, plan.images)),
    ]


def _check(plan: CloudRunPlan, images: Mapping[str, ImagePlan]) -> Iterator[Problem]:
    path = f"llm:deployments.{plan.deployment}"
    serve, weights = serve_contract(), weights_contract()
    yield from _images(path, plan, images)
    yield from _settings(f"{path} service environment", plan.env, serve.environment)
    yield from _equal(path, _serving_pairs(plan, serve))
    yield from _probes(path, plan, serve)
    yield from _job(path, plan, weights)
    yield from _engine(path, plan, "gpu" if plan.gpu else "cpu")
    yield from _staged(path, plan)
    yield from _fits(path, plan)
    yield from _queue(path, plan)
    yield from bounds.seconds(path, plan)
    yield from bounds.batches(path, plan)


def _check_vertex(plan: VertexPlan, images: Mapping[str, ImagePlan]) -> Iterator[Problem]:
    """Checks what a container reads that Vertex AI starts, and where that platform asks it."""
    path = f"llm:deployments.{plan.deployment}"
    contract, container = on_vertex.contract_of(plan.engine), plan.registered.container
    yield from _images(path, plan, images)
    given = {*container.env, *on_vertex.given_by_vertex(contract)}
    yield from _settings(f"{path} container environment", given, contract.environment)
    yield from _equal(path, on_vertex.pairs(plan, contract))
    yield from _job(path, plan, weights_contract())
    yield from _engine(path, plan, "gpu" if plan.replica.accelerator else "cpu")
    yield from _staged(path, plan)
    yield from _fits(path, plan)
    yield from on_vertex.seconds(path, plan)


def _check_tpu(plan: GkeTpuPlan, images: Mapping[str, ImagePlan]) -> Iterator[Problem]:
    """Checks what a server on TPUs reads; that its image is another's, its objects are checked for."""
    path = f"llm:deployments.{plan.deployment}"
    yield from _images(path, plan, images)
    yield from _job(path, plan, weights_contract())
    yield from _engine(path, plan, "tpu")
    yield from _staged(path, plan)
    yield from _fits(path, plan)
    yield from check_objects(plan)


def _images(path: str, plan: DeploymentPlan, images: Mapping[str, ImagePlan]) -> Iterator[Problem]:
    for image in plan.image_names:
        if image not in images:
            yield Problem(
                path, image, "is an image that the plan does not have", f"have: {', '.join(images)}"
            )


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


def _job(path: str, plan: DeploymentPlan, contract: WeightsContract) -> Iterator[Problem]:
    command, *rest = plan.weights.args
    given = dict(zip(rest[::2], rest[1::2], strict=False))
    yield from _settings(f"{path} job environment", plan.weights.env, contract.environment)
    if command == IMPORT:
        known = contract.commands[IMPORT].arguments.items()
        required = {name: Setting(required=True, meaning=meaning) for name, meaning in known}
        yield from _settings(f"{path} job arguments", given, required)
    else:
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


def _engine(path: str, plan: DeploymentPlan, device: str) -> Iterator[Problem]:
    engine = engines().get(plan.engine)
    if engine is None or not engine.built:
        built = ", ".join(sorted(name for name, each in engines().items() if each.built))
        yield Problem(f"{path}.engine", plan.engine, "is no engine of this version", f"built: {built}")
        return
    loaded = plan.loaded if isinstance(plan, GkeTpuPlan) else plan.staged
    pairs = (
        ("topology", plan.topology, engine.topologies),
        ("format", loaded.format, engine.formats),
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


def _staged(path: str, plan: DeploymentPlan) -> Iterator[Problem]:
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


def _fits(path: str, plan: DeploymentPlan) -> Iterator[Problem]:
    sums = {"service": plan.sizing, "job": plan.weights.sizing}
    for what, sizing in sums.items():
        if sizing.need_bytes > sizing.have_bytes:
            yield Problem(
                path, sizing.machine, f"is too small for the {what}", f"needs {sizing.need_bytes} bytes"
            )


def _queue(path: str, plan: CloudRunPlan) -> Iterator[Problem]:
    queue = plan.env.get("MAX_QUEUE", "")
    if queue.isdecimal() and plan.concurrency > int(queue):
        yield Problem(
            f"{path}.scaling.concurrency",
            str(plan.concurrency),
            f"is above MAX_QUEUE ({queue}), so requests would be answered 429",
            f"at most {queue}",
        )
