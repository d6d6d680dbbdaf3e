"""On which machines a model fits, and what would do where one does not."""

from __future__ import annotations

from collections.abc import Callable

from stacks.plan.architecture import parameters
from stacks.plan.catalog import catalog
from stacks.plan.limits import cloud_run_limits
from stacks.plan.machines import Choice, choose, choose_gpu
from stacks.plan.quantity import human
from stacks.plan.sizing import gpu_host_lines, gpu_lines, host_lines, sum_text, total
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import TokenLimits, default_tokens
from stacks.plan.types import FitRow, SizingLine

_TOPOLOGY = "cloud-run"


def fit_model(name: str) -> list[FitRow]:
    """Tries a catalog model on every kind of machine of every topology.

    Raises:
        KeyError: the catalog has no such model.
    """
    model = catalog()[name]
    tokens = default_tokens(model)
    return [_cpu_row(model, tokens), *(_gpu_row(model, tokens, gpu) for gpu in cloud_run_limits().gpus)]


def gpu_refusal(model: ModelSpec, tokens: TokenLimits, accelerator: str) -> str | None:
    """Says why a model does not fit a GPU's memory; None when it does."""
    lines, have = gpu_lines(model, tokens), gpu_memory(accelerator)
    if total(lines) <= have:
        return None
    return f"needs {human(total(lines))} ({sum_text(lines)}) and {accelerator} has {human(have)}"


def gpu_memory(accelerator: str) -> int:
    """Gives a GPU's own memory in bytes."""
    return cloud_run_limits().gpus[accelerator].memory_bytes.value


def nearest(model: ModelSpec, tokens: TokenLimits) -> str:
    """Names what would work for a model that does not fit: a GPU, shorter requests, a smaller model."""
    options = [f"resources.gpu: {gpu}" for gpu in cloud_run_limits().gpus if _fits_gpu(model, tokens, gpu)]
    short = TokenLimits(min(tokens.max_input, 512), min(tokens.max_new, 128))
    if not options and short != tokens and _fits_cpu(model, short):
        options.append(f"limits of {short.max_input} input and {short.max_new} new tokens")
    smaller = _largest_smaller(model)
    if smaller:
        options.append(f"the smaller model {smaller}")
    return f"would work: {', or '.join(options)}" if options else "nothing in this version holds it"


def _largest_smaller(model: ModelSpec) -> str | None:
    fitting = [
        (parameters(other), name)
        for name, other in catalog().items()
        if parameters(other) < parameters(model) and _fits_cpu(other, default_tokens(other))
    ]
    return max(fitting)[1] if fitting else None


def _fits_cpu(model: ModelSpec, tokens: TokenLimits) -> bool:
    return choose(total(host_lines(model, tokens))).machine is not None


def _fits_gpu(model: ModelSpec, tokens: TokenLimits, accelerator: str) -> bool:
    host = choose_gpu(accelerator, total(gpu_host_lines(model))).machine
    return host is not None and gpu_refusal(model, tokens, accelerator) is None


def _cpu_row(model: ModelSpec, tokens: TokenLimits) -> FitRow:
    lines = host_lines(model, tokens)
    choice = choose(total(lines))
    have = choice.machine.memory if choice.machine else cloud_run_limits().memory_max.value
    return _row(choice, "CPU", lines, have, lambda: nearest(model, tokens))


def _gpu_row(model: ModelSpec, tokens: TokenLimits, accelerator: str) -> FitRow:
    lines, have = gpu_lines(model, tokens), gpu_memory(accelerator)
    if total(lines) > have:
        reason = f"{gpu_refusal(model, tokens, accelerator)}; {nearest(model, tokens)}"
        return FitRow(_TOPOLOGY, False, accelerator, total(lines), have, lines, reason)
    host = choose_gpu(accelerator, total(gpu_host_lines(model)))
    return _row(host, accelerator, lines, have, lambda: nearest(model, tokens))


def _row(
    choice: Choice, kind: str, lines: tuple[SizingLine, ...], have: int, remedy: Callable[[], str]
) -> FitRow:
    if choice.machine:
        return FitRow(_TOPOLOGY, True, str(choice.machine), total(lines), have, lines, "")
    reason = f"{choice.refusals[0].reason} ({sum_text(lines)}); {remedy()}"
    return FitRow(_TOPOLOGY, False, kind, total(lines), have, lines, reason)
