"""What a Dataflow worker needs that answers prompts with Beam's RunInference."""

from __future__ import annotations

from stacks.plan.architecture import parameters
from stacks.plan.hardware import compute_machines
from stacks.plan.quantity import GIB, human
from stacks.plan.sizing import terms
from stacks.plan.sizing.candidates import Candidate, smallest
from stacks.plan.spec import DTYPE_BYTES, ModelSpec
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import SizingLine

MODEL_DTYPE = "float32"
"""`AutoModel….from_config` makes a model in torch's default element type (transformers, modeling_utils)."""

STATE_DTYPE = "bfloat16"
"""Element type of the state dictionary that Beam's `PytorchModelHandlerTensor` copies into that model."""

WORKER_FAMILIES = ("n2-standard", "n2-highmem")
HARNESS_BYTES = GIB
"""Operating system, container engine and the runner's own process on a worker VM. Assumed."""

ONE_PROCESS = "one model for each worker VM, by the experiment no_use_multiple_sdk_containers"


def worker_lines(model: ModelSpec, tokens: TokenLimits, processes: int = 1) -> tuple[SizingLine, ...]:
    """Lists what a worker VM needs at its peak, while the weights are copied into the model.

    Args:
        model: what answers.
        tokens: limits of one message.
        processes: SDK processes of a VM, each with a model of its own; Dataflow starts one for each CPU
            unless told otherwise (beam.apache.org/documentation/ml/large-language-modeling).
    """
    count = parameters(model)
    times = f" × {processes} processes" if processes > 1 else ""

    def many(what: str, size: int, arithmetic: str) -> SizingLine:
        return SizingLine(what, processes * size, f"{arithmetic}{times}")

    weights = terms.weights(model, MODEL_DTYPE)
    cache = terms.cache(model, tokens, MODEL_DTYPE)
    activations = terms.activations(model, tokens, MODEL_DTYPE)
    size = DTYPE_BYTES[STATE_DTYPE]
    state = f"{count:,} parameters × {size} bytes ({STATE_DTYPE}), held while they are copied in"
    lines = [
        many(weights.what, weights.bytes, f"{weights.arithmetic} of from_config"),
        many("state", count * size, state),
        many(cache.what, cache.bytes, cache.arithmetic),
        many(activations.what, activations.bytes, activations.arithmetic),
        terms.runtime(processes),
        SizingLine("harness", HARNESS_BYTES, f"{human(HARNESS_BYTES)} for the VM and the runner, assumed"),
    ]
    return terms.with_headroom(lines)


def choose_worker(model: ModelSpec, tokens: TokenLimits) -> Candidate:
    """Chooses the smallest N2 machine for a worker with one model."""
    machines = [one for one in compute_machines().values() if one.family in WORKER_FAMILIES]
    machines.sort(key=lambda one: (one.memory_bytes, one.cpus))
    lines = worker_lines(model, tokens)
    return smallest(
        Candidate(one.name, lines, one.memory_bytes, "worker", notes=(ONE_PROCESS,)) for one in machines
    )
