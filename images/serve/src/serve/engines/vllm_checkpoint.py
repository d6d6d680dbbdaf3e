"""What a staged model says of itself, read before vLLM starts: what it is and how its answers end.

vLLM runs in processes of its own, and what goes wrong there is told in their tracebacks. So what can be
known to be wrong is refused here, in one line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from serve.engines.base import UnsupportedError
from serve.engines.generation import UNMET, asked, end_ids

FOLLOWED = {"repetition_penalty": "repetition_penalty", "min_new_tokens": "min_tokens"}
"""What generation_config.json may ask of every answer, by vLLM's name for it."""
NOT_FOLLOWED = (
    "bad_words_ids",
    "encoder_repetition_penalty",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "min_length",
    "no_repeat_ngram_size",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
)
"""What it may ask and vLLM has no counterpart for; a greedy answer would be another than transformers'."""


@dataclass(frozen=True, slots=True)
class VllmCheckpoint:
    """A staged decoder-only model as its files describe it."""

    tokenizer: Any
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    sampling: dict[str, Any]
    """Values for every request's `SamplingParams`, from generation_config.json."""
    parameters: int
    """Number of weights in the files."""


def read(path: Path) -> VllmCheckpoint:
    """Reads the configuration, the tokenizer and the weights' shapes; no weight is read.

    Args:
        path: a complete staged model.

    Raises:
        UnsupportedError: the model is not decoder-only, or asks for what vLLM does not do.
        ModelError: the model has no end token.
    """
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    if config.is_encoder_decoder:
        raise UnsupportedError(
            f"vLLM answers with decoder-only models, and this one ({config.model_type}) is encoder-decoder: "
            "set ENGINE to transformers, or to ctranslate2 for T5"
        )
    generation = _generation(path, config)
    return VllmCheckpoint(
        tokenizer=AutoTokenizer.from_pretrained(path, local_files_only=True),
        end_ids=end_ids(generation.eos_token_id),
        sampling=_sampling(generation),
        parameters=_parameters(path),
    )


def _generation(path: Path, config: Any) -> Any:
    if (path / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(path, local_files_only=True)
    return GenerationConfig.from_model_config(config)


def _sampling(generation: Any) -> dict[str, Any]:
    wanted = generation.to_diff_dict()
    if refused := sorted({name for name in NOT_FOLLOWED if wanted.get(name)} | asked(wanted, UNMET).keys()):
        raise UnsupportedError(
            f"generation_config.json asks for {', '.join(refused)}, which vLLM does not do: take it out, or "
            "set ENGINE to transformers"
        )
    return {ours: wanted[name] for name, ours in FOLLOWED.items() if wanted.get(name) is not None}


def _parameters(path: Path) -> int:
    total = 0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total
