"""The container that serves on Vertex AI: what it is told, where it answers, how long its start may take."""

from __future__ import annotations

import math

from stacks.plan import probes, server_times
from stacks.plan.contract_data import ServeContract, serve_contract, torchserve_contract
from stacks.plan.engines import TORCHSERVE
from stacks.plan.images import SERVE_IMAGES
from stacks.plan.types import ProbePlan
from stacks.plan.types_vertex import VertexContainerPlan
from stacks.plan.types_weights import StagedModelPlan
from stacks.plan.vertex.facts import serving_facts
from stacks.plan.vertex.serving import Serving

_MACHINE_SECONDS = 900
"""How long a machine takes to come where there is capacity, and to pull its image. Assumed."""
_SHORTEST_DEPLOYMENT = 1800
_SHORTEST_WINDOW = 300
_MARGIN = 3
_PERIOD = 10
_TIMEOUT = 11
"""A probe of Vertex AI has to wait for an answer for no shorter a time than lies between two probes, and the
discovery document says in one place that it is longer (Probe.periodSeconds, Probe.timeoutSeconds)."""


def contract_of(engine: str) -> ServeContract:
    """Gives the contract of the image that an engine runs in."""
    return torchserve_contract() if engine == TORCHSERVE else serve_contract()


def routes(engine: str, repository: str) -> tuple[str, str]:
    """Gives the paths that say whether a container can answer, and that it answers prompts at.

    Args:
        engine: what runs in it.
        repository: the model's, by the last part of which TorchServe names it.
    """
    known = contract_of(engine).routes
    ready = known["ready"] if "ready" in known else known["health"]
    return ready.path, known["predict"].path.format(model=repository.rpartition("/")[2])


def container(serving: Serving, staged: StagedModelPlan, size: int, seconds: int) -> VertexContainerPlan:
    """Plans the container of a deployment.

    Args:
        serving: what runs in it.
        staged: the model that it reads.
        size: bytes of that.
        seconds: time after which the endpoint cuts a request off.
    """
    contract = contract_of(serving.engine)
    health, predict = routes(serving.engine, staged.repository)
    window = max(_MARGIN * probes.load_seconds(size), _SHORTEST_WINDOW)
    most = serving_facts().deployment_seconds_max.value
    window = min(window, most - _MACHINE_SECONDS)
    return VertexContainerPlan(
        image=SERVE_IMAGES[serving.engine],
        port=contract.port,
        env=environment(serving, staged, seconds, window),
        health_route=health,
        predict_route=predict,
        startup_probe=ProbePlan(
            path=health,
            port=contract.port,
            initial_delay_seconds=0,
            period_seconds=_PERIOD,
            timeout_seconds=_TIMEOUT,
            failure_threshold=math.ceil(window / _PERIOD),
            command=contract.startup_command,
        ),
        deployment_seconds=min(max(window + _MACHINE_SECONDS, _SHORTEST_DEPLOYMENT), most),
    )


def environment(serving: Serving, staged: StagedModelPlan, seconds: int, window: int) -> dict[str, str]:
    """Gives what a container is told; where the model is, and the port, Vertex AI tells it.

    Args:
        serving: what runs in it.
        staged: the model that it reads.
        seconds: time after which the endpoint cuts a request off.
        window: seconds that a start may take.
    """
    shared = {
        "DTYPE": serving.dtype,
        "MAX_INPUT_TOKENS": str(serving.tokens.max_input),
        "MAX_NEW_TOKENS": str(serving.tokens.max_new),
        "MAX_QUEUE": str(serving.queue),
    }
    stall = f"{server_times.stall_seconds(seconds):g}"
    if serving.engine == TORCHSERVE:
        return {
            **shared,
            "THREADS": str(max(serving.replica.cpus // serving.workers, 1)),
            "WORKERS": str(serving.workers),
            "BATCH_SIZE": str(serving.batch.rows),
            "RESPONSE_SECONDS": stall,
            "STARTUP_SECONDS": str(window),
        }
    return {
        "ENGINE": serving.engine,
        "MODEL_NAME": staged.repository,
        **shared,
        **serving.batch.environment(),
        "THREADS": str(serving.replica.cpus),
        "REQUEST_SECONDS": f"{server_times.request_seconds(seconds):g}",
        "STALL_SECONDS": stall,
    }
