"""What a container on Vertex AI and that platform agree on: where the model is, port, routes, times."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.config_errors import Problem
from stacks.plan.contract_data import ServeContract, weights_contract
from stacks.plan.engines import TORCHSERVE
from stacks.plan.images import SERVE_IMAGES
from stacks.plan.types_vertex import VertexPlan
from stacks.plan.vertex.container import contract_of, routes

__all__ = ["contract_of", "given_by_vertex", "pairs", "seconds"]

_ADDRESS = "AIP_STORAGE_URI"
_FOLDER = "MODEL_PATH"
_REQUEST_SECONDS = "REQUEST_SECONDS"


def given_by_vertex(contract: ServeContract) -> set[str]:
    """Names the variables that a container need not be given: it takes its model from the platform's address.

    Args:
        contract: of the container's image.
    """
    return {_FOLDER} if _ADDRESS in contract.environment else set()


def pairs(plan: VertexPlan, contract: ServeContract) -> Iterator[tuple[str, object, object]]:
    """Gives what has to be the same on both sides: its name, what the plan has, and what is right."""
    model, container = plan.registered, plan.registered.container
    health, predict = routes(plan.engine, plan.staged.repository)
    yield "port", container.port, contract.port
    yield "health route", container.health_route, health
    yield "predict route", container.predict_route, predict
    yield "probed path", container.startup_probe.path, health
    yield "probed port", container.startup_probe.port, contract.port
    yield "startup command", container.startup_probe.command, contract.startup_command
    yield "artifact address", model.artifact_uri, plan.staged.uri
    yield "image", container.image, SERVE_IMAGES.get(plan.engine)
    yield "DTYPE", container.env.get("DTYPE"), plan.dtype
    yield "manifest", contract.manifest, weights_contract().manifest.name
    if plan.engine != TORCHSERVE:
        yield "ENGINE", container.env.get("ENGINE"), plan.engine
        yield "MODEL_NAME", container.env.get("MODEL_NAME"), plan.staged.repository


def seconds(path: str, plan: VertexPlan) -> Iterator[Problem]:
    """The server must give up before the endpoint does, or nobody learns why; TorchServe has no such time."""
    if plan.engine == TORCHSERVE:
        return
    told, bound = plan.registered.container.env.get(_REQUEST_SECONDS, ""), plan.endpoint.request_seconds
    try:
        least = float(told) < bound
    except ValueError:
        least = False
    if not least:
        yield Problem(
            f"{path}.endpoint", told, f"is no {_REQUEST_SECONDS} below the endpoint's", f"below {bound}"
        )
