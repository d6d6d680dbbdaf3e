"""A staged model in transformers: weights, tokenizer and what is known of them.

Importing this module imports torch, which takes seconds: only an engine's thread does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from serve.engines.base import EngineSettings, ModelError
from serve.engines.generation import UNMET, asked, end_ids, listed

LOG = logging.getLogger(__name__)
BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What `torch.cpu.get_capabilities` calls the instructions that multiply bfloat16 numbers, on x86-64 and ARM:
https://docs.pytorch.org/docs/stable/cpu.html"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in memory, ready to generate."""

    model: Any
    tokenizer: Any
    is_encoder_decoder: bool
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    pad_id: int
    """The token that fills rows; where a model has none, an end token, which the mask hides."""
    context_tokens: int | None
    """Most tokens of prompt and answer together; None where the architecture sets no bound."""


def load(path: Path, settings: EngineSettings) -> Checkpoint:
    """Reads a model straight from its safetensors files, each tensor once.

    Args:
        path: a complete staged model.
        settings: element type, device and threads.

    Raises:
        ModelError: a file is missing or damaged, the files lack weights that the architecture has, the
            model has no end token, or generation_config.json asks for what this server does not do.
    """
    torch.set_num_threads(settings.threads)
    transformers.logging.disable_default_handler()
    transformers.logging.enable_propagation()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with _reading("config.json"):
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    with _reading("the tokenizer's files"):
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    is_encoder_decoder = bool(config.is_encoder_decoder)
    kind: Any = AutoModelForSeq2SeqLM if is_encoder_decoder else AutoModelForCausalLM
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and settings.dtype == "bfloat16":
        _warn_of_slow_bfloat16()
    with _reading("the weights"):
        model = _weights(kind, path, settings).to(device).eval()
    _refuse(model.generation_config)
    ends = end_ids(model.generation_config.eos_token_id)
    pad_id = model.generation_config.pad_token_id
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        is_encoder_decoder=is_encoder_decoder,
        end_ids=ends,
        pad_id=min(ends) if pad_id is None else int(pad_id),
        # Encoder-decoder models have positions of their own for prompt and answer.
        context_tokens=None if is_encoder_decoder else getattr(config, "max_position_embeddings", None),
    )


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turns whatever a library raises about a file of the model into one line that names the file."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(f"{what} cannot be read ({reason}): stage the model again") from error


def _warn_of_slow_bfloat16() -> None:
    features = torch.cpu.get_capabilities()
    if not any(features.get(feature) for feature in BF16_FEATURES):
        LOG.warning(
            "DTYPE=bfloat16 is slow on this CPU, which has none of %s; float32 is faster here",
            ", ".join(BF16_FEATURES),
        )


def _weights(kind: Any, path: Path, settings: EngineSettings) -> Any:
    model, report = kind.from_pretrained(
        path,
        dtype=getattr(torch, settings.dtype),
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        # Else the library says "see the report above"; below, the message has its own line.
        ignore_mismatched_sizes=True,
    )
    if missing := sorted(report["missing_keys"]):
        # The library would go on with random numbers in their place.
        raise ModelError(
            f"{len(missing)} weights that config.json asks for are not in the files, the first is "
            f"{missing[0]}: stage the model again"
        )
    if wrong := sorted(report["mismatched_keys"]):
        name, found, expected = wrong[0]
        raise ModelError(
            f"{len(wrong)} weights are not of the shape that config.json asks for, the first is {name}: "
            f"{tuple(found)}, not {tuple(expected)}; stage the model again"
        )
    return model


def _refuse(generation: Any) -> None:
    if found := asked(generation.to_dict(), UNMET):
        raise ModelError(
            f"generation_config.json asks for {listed(found)}, which this server does not do: "
            "take it out; requests have `stop`, `timeout_seconds` and `top_p`"
        )
