"""What runs on a slice: engine, element type, tokens, sequences, and whether a chip's memory holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic.alias_generators import to_camel

from stacks.plan import staging
from stacks.plan.engines import choose_engine
from stacks.plan.gke.facts import JETSTREAM, VLLM_TPU, jetstream_models
from stacks.plan.gke.host import bytes_for_pods, host_bytes
from stacks.plan.gke.slices import arithmetic, wanted_slices
from stacks.plan.hardware import TpuSlice, engines, tpu_machines
from stacks.plan.quantity import human
from stacks.plan.report import Report
from stacks.plan.sizing import tpu as tpu_sizing
from stacks.plan.sizing.candidates import Candidate
from stacks.plan.sizing.terms import total
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import TokenLimits, token_limits
from stacks.plan.types import Sizing

if TYPE_CHECKING:
    from stacks.config_gke import GkeTpuDeployment, TpuDtype, TpuServer

_USUAL_BATCH = 32
"""Sequences at once: the default of JetStream's `--batch_size`."""

_FLAGS_OF = {
    JETSTREAM: ("quantize_kv_cache", "shard_on_batch", "threads", "metrics_port", "http_image"),
    VLLM_TPU: ("max_batched_tokens", "prefix_caching"),
}
"""Keys of `server` that are one engine's alone."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What a replica runs, and on which slice."""

    engine: str
    dtype: TpuDtype
    tokens: TokenLimits
    batch_size: int
    part: TpuSlice
    sizing: Sizing
    form: staging.Form
    """Format that the weights are staged in."""
    weights_bytes: int
    """How much a start reads."""


@dataclass(frozen=True, slots=True)
class _Load:
    """What a slice has to hold."""

    model: ModelSpec
    tokens: TokenLimits
    engine: str
    dtype: TpuDtype
    batch_size: int
    cache_dtype: str
    by_sequence: bool
    """Whether chips share the sequences in place of the attention heads."""

    def on(self, part: TpuSlice, dtype: str | None = None) -> Candidate:
        """Sizes it for a slice, in its own element type or another."""
        return tpu_sizing.on_slice(
            self.model,
            self.tokens,
            dtype or self.dtype,
            part,
            sequences=self.batch_size,
            cache_dtype=self.cache_dtype,
            by_sequence=self.by_sequence,
        )

    def alternative(self) -> str:
        """Names the smallest slice of any generation that holds it, in whatever the engine computes."""
        for accelerator in tpu_sizing.ACCELERATORS:
            for dtype in engines()[self.engine].dtypes:
                for part in tpu_sizing.slices_for(self.engine, accelerator):
                    found = self.on(part, dtype)
                    if found.fits:
                        return f"{found.machine} in {dtype}"
        return ""


def choose(
    config: GkeTpuDeployment, model: ModelSpec, path: str, report: Report, *, judged: bool = True
) -> Serving | None:
    """Decides what a replica runs; None where something is refused, which is reported.

    Args:
        config: what a person wrote.
        model: what is served.
        path: path of the deployment in the stack file.
        report: receives what is wrong, and what is doubtful.
        judged: False where what decides the size is wrong itself, so that nothing is said of it.
    """
    tokens = _tokens(config, model, path, report)
    dtype = _dtype(config, path, report)
    if not judged:
        return None
    engine = choose_engine(model, config.topology, config.engine, "tpu", path, report, dtype)
    if engine is None:
        return None
    dtype = dtype or "bfloat16"
    _check_flags(config.server, engine, path, report)
    if engine == JETSTREAM:
        _check_model(model, path, report)
    parts = wanted_slices(config.tpu, engine, path, report)
    if not parts:
        return None
    load = _Load(
        model,
        tokens,
        engine,
        dtype,
        batch_size=config.server.batch_size or _USUAL_BATCH,
        cache_dtype="int8" if config.server.quantize_kv_cache else tpu_sizing.CACHE_DTYPE,
        by_sequence=config.server.shard_on_batch,
    )
    tried = [(part, load.on(part)) for part in parts]
    fitting = [(part, candidate) for part, candidate in tried if candidate.fits]
    if not fitting:
        _report_too_small(config, load, tried, path, report)
        return None
    form = staging.form(model, engine, dtype)
    weights_bytes = staging.staged_bytes(model, form)
    requested = host_bytes(weights_bytes, mounted=config.weights.volume == "mount")
    for part, candidate in fitting:
        if requested <= bytes_for_pods(tpu_machines()[part.machine]):
            return Serving(
                engine, dtype, tokens, load.batch_size, part, _sizing(candidate), form, weights_bytes
            )
    _report_host(config, load, fitting[-1][0], requested, path, report)
    return None


def _tokens(config: GkeTpuDeployment, model: ModelSpec, path: str, report: Report) -> TokenLimits:
    """Decides how long prompts and answers are; the server's cache holds just both."""
    chosen, length = token_limits(model, config.limits, path, report), config.server.max_cache_length
    if length is None:
        return chosen
    if length > model.context:
        report.problem(
            f"{path}.server.maxCacheLength",
            length,
            f"is more than {model.repository}'s context of {model.context} tokens",
            f"write at most {model.context}",
        )
        return chosen
    new = config.limits.max_new_tokens or min(chosen.max_new, max(length // 4, 1))
    longest = config.limits.max_input_tokens or max(length - new, 1)
    if longest + new > length:
        report.problem(
            f"{path}.server.maxCacheLength",
            length,
            f"is less than a prompt of {longest} and an answer of {new} tokens together",
            f"write at least {longest + new}, or smaller limits",
        )
    return TokenLimits(longest, new)


def _dtype(config: GkeTpuDeployment, path: str, report: Report) -> TpuDtype | None:
    """Decides the element type of the weights; `quantizeWeights` and `dtype` say the same or nothing."""
    wanted, quantised = config.dtype, config.server.quantize_weights
    if quantised is None:
        return wanted
    said: TpuDtype = "int8" if quantised else "bfloat16"
    if wanted is not None and wanted != said:
        report.problem(
            f"{path}.server.quantizeWeights",
            quantised,
            f"does not go with dtype: {wanted}: the checkpoint is staged in the one form or the other",
            f"leave it out, or write dtype: {said}",
        )
        return wanted
    return said


def _check_flags(server: TpuServer, engine: str, path: str, report: Report) -> None:
    """Reports flags of the other engine, which would do nothing."""
    fields = type(server).model_fields
    for other, names in _FLAGS_OF.items():
        for name in names:
            value = getattr(server, name)
            if other != engine and value != fields[name].default:
                key = to_camel(name)
                report.problem(
                    f"{path}.server.{key}", value, f"is a flag of {other}, and {engine} runs", "leave it out"
                )


def _check_model(model: ModelSpec, path: str, report: Report) -> None:
    """Reports a model that JetStream-PyTorch has no constants for."""
    known = jetstream_models()
    same = [one for one in known.values() if one.is_of(model)]
    other = f"write engine: {VLLM_TPU}, or leave it out"
    if not same:
        reason = f"is of a shape that {JETSTREAM} has no constants for: it has {', '.join(known)}"
        report.problem(f"{path}.engine", JETSTREAM, reason, other)
    elif model.context > same[0].context:
        report.problem(
            f"{path}.engine",
            JETSTREAM,
            f"has {same[0].name} with {same[0].context} tokens, and {model.repository} takes "
            f"{model.context}: its rotary embeddings are scaled, the server's are not",
            other,
        )


def _sizing(candidate: Candidate) -> Sizing:
    return Sizing(candidate.lines, total(candidate.lines), candidate.have, candidate.machine)


def _report_too_small(
    config: GkeTpuDeployment,
    load: _Load,
    tried: list[tuple[TpuSlice, Candidate]],
    path: str,
    report: Report,
) -> None:
    part, candidate = tried[-1]
    key, value = _chosen_by(config, load.model)
    alternative = load.alternative()
    remedies = [
        *([f"use {alternative}"] if alternative else []),
        "a smaller server.batchSize or server.maxCacheLength, or a smaller model",
    ]
    reason = candidate.reason if key == "model" else f"{candidate.reason}; {arithmetic(part)}"
    report.problem(f"{path}.{key}", value, reason, "; or ".join(remedies))


def _report_host(
    config: GkeTpuDeployment, load: _Load, part: TpuSlice, requested: int, path: str, report: Report
) -> None:
    """Reports a host whose own memory is too small for what passes through it while the weights load."""
    machine = tpu_machines()[part.machine]
    larger = [
        one.machine
        for one in tpu_sizing.slices_for(load.engine, machine.accelerator)
        if bytes_for_pods(tpu_machines()[one.machine]) >= requested and load.on(one).fits
    ]
    key, value = _chosen_by(config, load.model)
    report.problem(
        f"{path}.{key}",
        value,
        f"needs {human(requested)} of a host's own memory while the weights load, and {machine.name} has "
        f"{human(bytes_for_pods(machine))} for pods",
        f"use {larger[0]}" if larger else "choose a smaller model",
    )


def _chosen_by(config: GkeTpuDeployment, model: ModelSpec) -> tuple[str, str]:
    """Names the key that decided on the slice, with its value: the model's where no key of `tpu` did."""
    wanted = {"tpu.topology": config.tpu.topology, "tpu.machine": config.tpu.machine}
    given = ((key, value) for key, value in wanted.items() if value)
    return next(given, ("model", model.repository))
