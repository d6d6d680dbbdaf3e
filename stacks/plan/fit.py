"""On which machine of which topology a model fits, for every purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile

from stacks.plan import alternatives, fit_remedies
from stacks.plan.architecture import parameters
from stacks.plan.catalog import catalog
from stacks.plan.engines import CTRANSLATE2, TORCHSERVE, TRANSFORMERS, VLLM
from stacks.plan.hardware import BUILT_TOPOLOGIES, TOPOLOGIES, Engine, engines, engines_for
from stacks.plan.limits import cloud_run_limits
from stacks.plan.machines import choose
from stacks.plan.quantity import human, memory_text
from stacks.plan.sizing import serving, staging, streaming, tpu, training
from stacks.plan.sizing.candidates import Candidate
from stacks.plan.sizing.cloud_run import gpu_memory, on_cpu, on_gpu
from stacks.plan.sizing.dtypes import default_dtype, smaller_dtypes
from stacks.plan.sizing.terms import sum_text, total, weights
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import DEFAULT_QUEUE, TokenLimits, default_tokens
from stacks.plan.types import FitRow, SizingLine


def fit_model(name: str, topology: str | None = None) -> list[FitRow]:
    """Tries a catalog model on every topology, for every purpose.

    Args:
        name: the model's name in the catalog.
        topology: only this topology.

    Raises:
        KeyError: the catalog has no such model.
    """
    model = catalog()[name]
    rows = fit_rows(model, default_tokens(model))
    smaller = _smaller_model(model)
    found = [fit_remedies.remedied(row, rows, smaller) for row in rows]
    return [row for row in found if topology in (None, row.topology)]


def fit_rows(model: ModelSpec, tokens: TokenLimits) -> list[FitRow]:
    """Tries a model on every topology; a row says why it does not fit, not yet what would."""
    makers = {
        "cloud-run": _cloud_run,
        "vertex": _vertex,
        "dataflow": _dataflow,
        "training": _training,
        "gke-tpu": _gke_tpu,
    }
    return [row for topology in TOPOLOGIES for row in makers[topology](model, tokens)]


def gpu_refusal(lines: Iterable[SizingLine], accelerator: str) -> str:
    """Says why a sum does not fit a GPU's memory."""
    lines = tuple(lines)
    have = human(gpu_memory(accelerator))
    return f"needs {human(total(lines))} ({sum_text(lines)}) and {accelerator} has {have}"


def nearest(model: ModelSpec, tokens: TokenLimits, dtype: str, accelerator: str | None) -> str:
    """Names what would work for a model that does not fit on Cloud Run: the smallest change first.

    Args:
        model: what does not fit.
        tokens: limits of one request.
        dtype: element type that it does not fit in.
        accelerator: GPU that it does not fit on; None for a CPU.
    """
    device = accelerator or fit_remedies.CPU
    rows = [
        row
        for row in fit_rows(model, tokens)
        if row.topology != "cloud-run" or (row.dtype, fit_remedies.device(row)) != (dtype, device)
    ]
    options = fit_remedies.deployable(rows, "serving", device)
    short = TokenLimits(min(tokens.max_input, 512), min(tokens.max_new, 128))
    if not options and short != tokens and _fits_cpu(model, short):
        options = [f"limits of {short.max_input} input and {short.max_new} new tokens"]
    if not options:
        options = fit_remedies.elsewhere(rows, "serving")
    return fit_remedies.sentence(options, _smaller_model(model))


def _cloud_run(model: ModelSpec, tokens: TokenLimits) -> Iterator[FitRow]:
    yield _staging(model)
    for accelerator in (None, *cloud_run_limits().gpus):
        usual = default_dtype(model, accelerator)
        row = _on_cloud_run(model, tokens, usual, accelerator)
        yield row
        if row.margin_bytes < 0:
            for dtype in smaller_dtypes(model, usual, accelerator)[:1]:
                yield _on_cloud_run(model, tokens, dtype, accelerator)
        if accelerator is None and _engine_takes(CTRANSLATE2, model):
            yield _on_cloud_run(model, tokens, "int8", None, CTRANSLATE2)


def _staging(model: ModelSpec) -> FitRow:
    lines, memory = staging.streaming_lines(), cloud_run_limits().memory_min.value
    whole = total(staging.whole_model_lines(model, "bfloat16"))
    candidate = Candidate(
        machine=f"job, {cloud_run_limits().least_cpu(memory)} CPU, {memory_text(memory)}",
        lines=lines,
        have=memory,
        per="instance",
        notes=(f"a loader that holds the whole model would need {human(whole)}",),
    )
    return _row("cloud-run", "staging", "weights", model.checkpoint_dtype, candidate)


def _on_cloud_run(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    accelerator: str | None,
    engine: str = TRANSFORMERS,
) -> FitRow:
    if accelerator is None:
        found = on_cpu(model, tokens, dtype, engine, DEFAULT_QUEUE)
        other = alternatives.on_a_cpu(model, tokens, engine, DEFAULT_QUEUE)
    else:
        found, other = on_gpu(model, tokens, dtype, accelerator, engine, DEFAULT_QUEUE), None
    machine = found.choice.machine
    at_once = f"{found.batch.rows} of {DEFAULT_QUEUE} requests run at once, as memory allows"
    candidate = Candidate(
        machine=str(machine) if machine else accelerator or "the largest instance",
        lines=found.lines,
        have=found.have,
        per="GPU" if accelerator else "instance",
        obstacle="" if machine else found.choice.refusals[0].reason,
        notes=(*found.choice.warnings, at_once),
    )
    return _row("cloud-run", "serving", engine, dtype, candidate, advice=(other,) if other else ())


def _engine_takes(name: str, model: ModelSpec) -> bool:
    engine = engines()[name]
    return engine.built and engine.takes(model)


def _vertex(model: ModelSpec, tokens: TokenLimits) -> Iterator[FitRow]:
    names = [engine.name for engine in engines_for(model, "vertex")]
    for name in (TRANSFORMERS, TORCHSERVE):
        if name in names:
            cpu = serving.vertex_cpu(model, tokens, name, "float32")
            yield _row("vertex", "serving", name, "float32", cpu)
    for name in (TRANSFORMERS, VLLM):
        if name in names:
            candidate = serving.vertex_gpu(model, tokens, name)
            yield _row("vertex", "serving", name, candidate.dtype, candidate)


def _dataflow(model: ModelSpec, tokens: TokenLimits) -> Iterator[FitRow]:
    candidate = streaming.choose_worker(model, tokens)
    yield _row("dataflow", "streaming", "beam", streaming.MODEL_DTYPE, candidate)


def _training(model: ModelSpec, _tokens: TokenLimits) -> Iterator[FitRow]:
    candidate = training.choose_cluster(model, training.Batch())
    yield _row("training", "training", training.ENGINE, training.DTYPE, candidate)


def _gke_tpu(model: ModelSpec, tokens: TokenLimits) -> Iterator[FitRow]:
    able = engines_for(model, "gke-tpu")
    if not able:
        yield _without_engine(model)
    for engine in able:
        for dtype in engine.dtypes:
            for accelerator in tpu.ACCELERATORS:
                yield _on_tpu(model, tokens, engine, dtype, accelerator)


def _on_tpu(model: ModelSpec, tokens: TokenLimits, engine: Engine, dtype: str, accelerator: str) -> FitRow:
    sequences = serving.BATCHED_SEQUENCES
    candidate = tpu.choose_slice(model, tokens, engine.name, dtype, accelerator, sequences=sequences)
    return _row("gke-tpu", "serving", engine.name, dtype, candidate)


def _without_engine(model: ModelSpec) -> FitRow:
    lines = (weights(model, tpu.CACHE_DTYPE),)
    # What an engine lacks is no question of size: the sum stands for itself.
    obstacle = f"have no engine for {model.family} models of kind {model.architecture.kind}"
    candidate = Candidate("TPUs", lines, total(lines), "chip", obstacle)
    return _row("gke-tpu", "serving", "none", tpu.CACHE_DTYPE, candidate)


def _row(
    topology: str,
    purpose: str,
    engine: str,
    dtype: str,
    candidate: Candidate,
    advice: tuple[str, ...] = (),
) -> FitRow:
    known = engines().get(engine)
    old = known is not None and not known.maintained
    return FitRow(
        topology=topology,
        purpose=purpose,
        engine=engine,
        dtype=dtype,
        fits=candidate.fits,
        machine=candidate.machine,
        per=candidate.per,
        need_bytes=candidate.need,
        have_bytes=candidate.have,
        margin_bytes=candidate.have - candidate.need,
        lines=candidate.lines,
        reason=candidate.reason,
        remedy=candidate.remedy if candidate.obstacle else "",
        notes=candidate.notes,
        deployable=topology in BUILT_TOPOLOGIES and not _sharded_on_gpus(topology, candidate),
        advice=(*advice, f"{engine} is no longer maintained: {known.note}") if known and old else advice,
    )


def _sharded_on_gpus(topology: str, candidate: Candidate) -> bool:
    """Whether a model would be on several GPUs, which the serving image does not do yet."""
    return topology == "vertex" and candidate.devices > 1


def _smaller_model(model: ModelSpec) -> str | None:
    """Finds the largest smaller model that a CPU of Cloud Run holds, of the same series if there is one."""
    fitting = [
        (len(_series(model.repository, name)), parameters(other), name)
        for name, other in catalog().items()
        if other.family == model.family
        and (model.gated or not other.gated)
        and parameters(other) < parameters(model)
        and _fits_cpu(other, default_tokens(other))
    ]
    return max(fitting)[2] if fitting else None


def _series(one: str, other: str) -> str:
    """Gives what two names begin with, up to a hyphen: `google/flan-t5-` of two sizes of flan-t5."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in same).rpartition("-")[0]


def _fits_cpu(model: ModelSpec, tokens: TokenLimits) -> bool:
    lines = serving.host_lines(model, tokens, default_dtype(model, None))
    return choose(total(lines)).machine is not None
