"""Small T5 models in the staged format `ctranslate2`, made by the library's converter, and their engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from conftest import write_manifest
from ctranslate2.converters import TransformersConverter
from running import running as any_running
from serve.engines.ctranslate2_engine import CTranslate2Engine
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]


def plain_t5(gated: Path, to: Path) -> Path:
    """A checkpoint of transformers with plain feed-forward layers and tied embeddings, as t5-small has.

    Args:
        gated: a checkpoint whose tokenizer it gets.
        to: the folder to make.
    """
    tokenizer = AutoTokenizer.from_pretrained(gated)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    torch.manual_seed(11)
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)
    return to


class Converter(TransformersConverter):
    """The converter, told whether outputs are scaled where transformers 5 says it."""

    def load_model(self, *positional: Any, **named: Any) -> Any:
        """Loads the model; see the library."""
        model = super().load_model(*positional, **named)
        model.config.tie_word_embeddings = model.config.scale_decoder_outputs
        return model


def converted(checkpoint: Path, to: Path, dtype: str = "float32") -> Path:
    """A checkpoint of transformers as the staged format `ctranslate2` has it."""
    Converter(str(checkpoint), copy_files=[*TOKENIZER, "generation_config.json"]).convert(
        str(to), quantization="int8_float32" if dtype == "int8" else dtype
    )
    return remade(to, dtype)


def remade(folder: Path, dtype: str = "float32") -> Path:
    """Writes the manifest of the files that are there now."""
    write_manifest(folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": "ctranslate2", "dtype": dtype}))
    return folder


def with_values(folder: Path, to: Path, file: str = "generation_config.json", **values: object) -> Path:
    """A copy of a model in which a JSON file has other values."""
    shutil.copytree(folder, to)
    path = to / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return remade(to)


running = partial(any_running, make=CTranslate2Engine)
"""This engine with a loaded model; see `running.running`."""


def agreement(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> float:
    """Share of tokens before the first that differs, of all tokens expected."""
    same = 0
    for one, other in zip(found, expected, strict=True):
        for left, right in zip(one, other, strict=False):
            if left != right:
                break
            same += 1
    return same / sum(len(answer) for answer in expected)
