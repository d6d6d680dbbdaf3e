"""What runs a model on Vertex AI: engine, element type, limits, and the machine that holds all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.plan.batching import Batch, batches, most_rows
from stacks.plan.engines import TORCHSERVE, TRANSFORMERS, choose_engine
from stacks.plan.hardware import accelerators
from stacks.plan.quantity import human
from stacks.plan.report import Report
from stacks.plan.sizing.dtypes import choose_dtype, refusal
from stacks.plan.sizing.serving import gpu_host_lines, gpu_lines, host_lines
from stacks.plan.sizing.terms import sum_text, total
from stacks.plan.spec import ComputingDtype, ModelSpec
from stacks.plan.tokens import DEFAULT_QUEUE, TokenLimits, token_limits
from stacks.plan.types import Sizing, SizingLine
from stacks.plan.vertex import machines
from stacks.plan.vertex.machines import Replica

if TYPE_CHECKING:
    from stacks.config_vertex import VertexDeployment, VertexMachine


@dataclass(frozen=True, slots=True)
class Serving:
    """What a deployment's container runs, and on what."""

    engine: str
    dtype: ComputingDtype
    tokens: TokenLimits
    queue: int
    batch: Batch
    replica: Replica
    sizing: Sizing

    @property
    def workers(self) -> int:
        """Processes that each hold the model: TorchServe gives each of several GPUs one."""
        return max(self.replica.count, 1) if self.engine == TORCHSERVE else 1


@dataclass(frozen=True, slots=True)
class _Need:
    """What a replica has to hold, whatever it runs on."""

    model: ModelSpec
    tokens: TokenLimits
    dtype: ComputingDtype
    engine: str
    queue: int

    def sizing(self, replica: Replica, batch: Batch) -> Sizing:
        """Adds up what a batch needs where the model computes: in the GPU's memory, else in the machine's."""
        lines: tuple[SizingLine, ...]
        if replica.gpu is None:
            have = replica.memory_bytes
            lines = host_lines(
                self.model, self.tokens, self.dtype, batch=batch, engine=self.engine, mounted=False
            )
        else:
            have = replica.gpu.memory_bytes
            lines = gpu_lines(self.model, self.tokens, self.dtype, batch=batch, engine=self.engine)
        return Sizing(lines, total(lines), have, str(replica))

    def passing(self, replica: Replica) -> int:
        """Gives what passes through the machine's own memory where GPUs compute: a copy for each of them."""
        if replica.gpu is None:
            return 0
        lines = gpu_host_lines(self.model, self.dtype, engine=self.engine, mounted=False)
        return replica.count * total(lines)

    def holds(self, replica: Replica, batch: Batch) -> bool:
        """Whether a replica does."""
        sizing = self.sizing(replica, batch)
        return sizing.need_bytes <= sizing.have_bytes and self.passing(replica) <= replica.memory_bytes

    def first(self, replicas: Sequence[Replica], *, gpu: bool) -> tuple[Replica, Batch] | None:
        """Finds the first replica that holds as many requests at once as it is asked to, else fewer."""
        for batch in batches(self.queue, self.tokens, gpu=gpu):
            for replica in replicas:
                if self.holds(replica, batch):
                    return replica, batch
        return None


def choose(
    config: VertexDeployment, model: ModelSpec, path: str, report: Report, *, judged: bool
) -> Serving | None:
    """Chooses what runs a model; reports what is wrong and gives None where nothing can.

    Args:
        config: what a person wrote.
        model: as its weights are staged.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
        judged: whether the machine can be judged; not where what decides it is wrong itself.
    """
    gpu = machines.accelerator_of(config.machine)
    tokens = token_limits(model, config.limits, path, report)
    dtype = choose_dtype(model, gpu, config.dtype, path, report)
    if not judged:
        return None
    engine = choose_engine(
        model, config.topology, config.engine, "gpu" if gpu else "cpu", path, report, config.dtype
    )
    queue = config.limits.queue or DEFAULT_QUEUE
    need = _Need(model, tokens, dtype, engine or TRANSFORMERS, queue)
    found = _replica(config.machine, gpu, need, f"{path}.machine", report)
    if found is None or engine is None:
        return None
    replica, batch = found
    _check_count(replica, engine, f"{path}.machine", report)
    most = most_rows(queue, gpu=gpu is not None)
    if batch.rows < most:
        report.notes.append(
            f"{path}: memory is for {batch.rows} requests at once, not for {most}, and the others wait; "
            "a larger machine, or smaller limits.maxInputTokens and limits.maxNewTokens, change that"
        )
    return Serving(engine, dtype, tokens, queue, batch, replica, need.sizing(replica, batch))


def _replica(
    wanted: VertexMachine, gpu: str | None, need: _Need, path: str, report: Report
) -> tuple[Replica, Batch] | None:
    if wanted.type is None:
        return _chosen(wanted, gpu, need, path, report)
    replica = machines.named(wanted, path, report)
    if replica is None:
        return None
    found = need.first([replica], gpu=gpu is not None)
    if found is None:
        report.problem(f"{path}.type", wanted.type, _too_small(replica, need), _remedy(need))
    return found


def _chosen(
    wanted: VertexMachine, gpu: str | None, need: _Need, path: str, report: Report
) -> tuple[Replica, Batch] | None:
    """Chooses the cheapest machine, which has one GPU of the kind that was asked for."""
    if wanted.count not in (None, 1):
        report.problem(
            f"{path}.count", wanted.count, "needs a machine type beside it", "write type, or count: 1"
        )
    replicas = machines.cheapest_first(gpu)
    found = need.first(replicas, gpu=gpu is not None)
    if found is None:
        largest = max(replicas, key=lambda one: one.memory_bytes)
        key, value = (f"{path}.accelerator", gpu) if gpu else (path.replace(".machine", ".model"), None)
        report.problem(key, value or need.model.repository, _too_small(largest, need), _remedy(need))
    return found


def _too_small(replica: Replica, need: _Need) -> str:
    (least,) = batches(1, need.tokens, gpu=replica.gpu is not None)
    sizing, passing = need.sizing(replica, least), need.passing(replica)
    if sizing.need_bytes > sizing.have_bytes:
        where = replica.gpu.name if replica.gpu else replica.machine.name
        return (
            f"needs {human(sizing.need_bytes)} ({sum_text(sizing.lines)}) and {where} has "
            f"{human(sizing.have_bytes)}"
        )
    return f"has {human(replica.memory_bytes)} of its own memory, and {human(passing)} pass through it"


def _remedy(need: _Need) -> str:
    """Names the cheapest machines that hold a model: without a GPU, and with one."""
    found = []
    for gpu in (None, *accelerators()):
        fits = refusal(need.model, need.dtype, gpu) is None
        replicas = machines.cheapest_first(gpu) if fits else ()
        chosen = need.first(replicas, gpu=gpu is not None)
        if chosen is not None:
            found.append(chosen[0])
    cpus = [one for one in found if one.gpu is None]
    gpus = sorted((one for one in found if one.gpu is not None), key=lambda one: one.price)
    keys = [_keys(one) for one in (*cpus[:1], *gpus[:1])]
    return f"write machine: {' or '.join(keys)}" if keys else "choose a smaller model (llmstack models)"


def _keys(replica: Replica) -> str:
    gpu = f", accelerator: {replica.gpu.name}" if replica.gpu else ""
    return f"{{type: {replica.machine.name}{gpu}}}"


def _check_count(replica: Replica, engine: str, path: str, report: Report) -> None:
    if replica.count > 1 and engine != TORCHSERVE:
        report.problem(
            f"{path}.count",
            replica.count,
            f"is more GPUs than {engine} uses in this version, which is one",
            f"write count: 1 and more replicas (scaling), or engine: {TORCHSERVE}, which has a copy of the "
            "model on each",
        )
