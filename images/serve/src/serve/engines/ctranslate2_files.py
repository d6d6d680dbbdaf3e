"""The files of a model in the format `ctranslate2`, checked before the library reads them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve import contract

MODEL = "model.bin"
VOCABULARY = "shared_vocabulary.json"
CONFIG = "config.json"
GENERATION = "generation_config.json"
ENCODER_DECODER = "TransformerSpec"
"""The name that CTranslate2 gives this kind of model, near the beginning of model.bin."""
WEIGHT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
"""Bytes of a weight, by the dtype in the manifest."""
NEEDED = f"the format ctranslate2 has {MODEL}, {CONFIG}, {VOCABULARY} and {GENERATION}; stage the model in it"


@dataclass(frozen=True, slots=True)
class Files:
    """What the files say beside the weights."""

    vocabulary: list[str]
    """The name of each token, which is what CTranslate2 takes in place of a number."""
    config: Mapping[str, Any]
    """CTranslate2's own configuration."""
    generation: Mapping[str, Any]
    """transformers' configuration of generation."""
    parameters: int
    """Number of weights, from the size of the file: up to a hundredth too many, for scales and names."""


def read(folder: Path) -> Files:
    """Reads everything but the weights.

    Args:
        folder: a complete staged model.

    Raises:
        ValueError: a file is missing, is not what it should be, or is of another kind of model.
    """
    _check_kind(folder / MODEL)
    dtype = _json(folder / contract.load().manifest, dict).get("dtype")
    if dtype not in WEIGHT_BYTES:
        raise ValueError(f"the manifest's dtype is {dtype!r}, not one of {', '.join(WEIGHT_BYTES)}")
    return Files(
        vocabulary=_json(folder / VOCABULARY, list),
        config=_json(folder / CONFIG, dict),
        generation=_json(folder / GENERATION, dict),
        parameters=(folder / MODEL).stat().st_size // WEIGHT_BYTES[dtype],
    )


def check_vocabulary(vocabulary: list[str], tokens: Mapping[str, int]) -> None:
    """Compares the model's vocabulary with the tokenizer's.

    Args:
        vocabulary: the model's.
        tokens: the tokenizer's, with their numbers.

    Raises:
        ValueError: a token would mean another to the model.
    """
    numbers: dict[str, int] = {}
    for number, token in enumerate(vocabulary):
        # Where rows have the same name, CTranslate2 takes the first.
        numbers.setdefault(token, number)
    for token, number in tokens.items():
        if numbers.get(token) != number:
            raise ValueError(
                f"token {token!r} is number {number} of the tokenizer and {numbers.get(token)} of "
                f"{VOCABULARY}: they are not of one model; stage it again"
            )


def _check_kind(path: Path) -> None:
    """Looks at the beginning of the file: its version, a text's length, and the name of the kind of model."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; {NEEDED}") from None
    length = struct.unpack_from("<H", head, 4)[0] if len(head) >= 6 else 0
    kind = head[6 : 6 + length].rstrip(b"\0").decode("ascii", errors="replace")
    if kind == ENCODER_DECODER:
        return
    if kind.isascii() and kind.endswith("Spec"):
        raise ValueError(
            f"{path} is a {kind}, and ENGINE=ctranslate2 runs T5 models ({ENCODER_DECODER}); "
            "deploy this one with ENGINE=transformers"
        )
    raise ValueError(f"{path} is damaged: it does not begin as CTranslate2's files do; stage the model again")


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; {NEEDED}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; stage the model again") from None
    if not isinstance(found, kind):
        raise ValueError(f"{path} is not what CTranslate2 writes there; stage the model again")
    return found
