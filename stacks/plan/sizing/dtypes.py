"""Which element types a model can be computed in, on which device."""

from __future__ import annotations

from typing import get_args

from stacks.plan.report import Report
from stacks.plan.spec import DTYPE_BYTES, ComputingDtype, Dtype, ModelSpec

WITHOUT_BFLOAT16 = ("nvidia-tesla-t4", "nvidia-tesla-v100")
"""GPUs of a compute capability below 8.0, which vLLM refuses bfloat16 on (vllm/platforms/cuda.py) and torch
emulates it on."""

_T5_KINDS = ("t5", "t5-gated")
_FALLBACK: tuple[Dtype, ...] = ("bfloat16", "float16", "float32")


def default_dtype(model: ModelSpec, accelerator: str | None) -> Dtype:
    """Gives the element type a model is computed in when nobody says otherwise.

    A CPU computes in float32, in which every operation is exact enough and none is missing; a GPU in the
    checkpoint's own element type, or the next best that it can.

    Args:
        model: what is computed.
        accelerator: a GPU's name; None for a CPU.
    """
    if accelerator is None:
        return "float32"
    order = (model.checkpoint_dtype, *_FALLBACK)
    return next(dtype for dtype in order if refusal(model, dtype, accelerator) is None)


def smaller_dtypes(model: ModelSpec, dtype: str, accelerator: str | None) -> tuple[Dtype, ...]:
    """Lists the element types that take less memory and that the device can compute the model in."""
    return tuple(
        other
        for other in _FALLBACK
        if DTYPE_BYTES[other] < DTYPE_BYTES[dtype] and refusal(model, other, accelerator) is None
    )


def refusal(model: ModelSpec, dtype: str, accelerator: str | None) -> str | None:
    """Says why a model cannot be computed in an element type; None where it can.

    Sources: huggingface/transformers issues 4287 and 9295 (T5 overflows in float16, as it was trained in
    bfloat16); `_FLOAT16_NOT_SUPPORTED_MODELS` in vllm/config/model.py for Gemma 3; IEEE 754 for the range of
    float16; vllm/platforms/cuda.py for bfloat16.
    """
    if dtype == "float16" and model.architecture.kind in _T5_KINDS:
        return "overflows in models of the T5 kind, which were trained with bfloat16's range"
    if dtype == "float16" and model.architecture.kind == "gemma3":
        return "is numerically unstable in Gemma 3, and vLLM refuses it"
    if dtype == "float16" and accelerator is None:
        return "is for GPUs: its range ends at 65,504, and bfloat16 takes as little memory"
    if dtype == "bfloat16" and accelerator in WITHOUT_BFLOAT16:
        return f"is not computed by {accelerator} itself"
    return None


def choose_dtype(
    model: ModelSpec, accelerator: str | None, wanted: ComputingDtype | None, path: str, report: Report
) -> ComputingDtype:
    """Decides a deployment's element type and reports one that cannot be computed in.

    Whether its engine computes in it is for `choose_engine` to say.

    Args:
        model: what is computed.
        accelerator: a GPU's name; None for a CPU.
        wanted: what the configuration asks for.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
    """
    usual = default_dtype(model, accelerator)
    if wanted is None:
        return usual
    reason = refusal(model, wanted, accelerator)
    if reason is None:
        return wanted
    able = [dtype for dtype in get_args(Dtype) if refusal(model, dtype, accelerator) is None]
    report.problem(f"{path}.dtype", wanted, reason, f"write {' or '.join(able)}, or leave it out")
    return usual
