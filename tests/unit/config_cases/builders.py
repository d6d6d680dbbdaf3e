"""What a case is, and short ways to write a configuration with one fault."""

from __future__ import annotations

from typing import Any

from tests.unit.config_sources import TINY, TINY_SHAPE, good

Case = tuple[dict[str, Any], str, str | None, str, str]
"""A configuration; the path, value, reason and remedy of its fault. None: no value is shown."""

ASSISTANT = "llm:deployments.assistant"

LLAMA_7B = {
    **TINY_SHAPE,
    "dModel": 4096,
    "dFf": 11008,
    "decoderLayers": 32,
    "heads": 32,
    "kvHeads": 32,
    "headDim": 128,
    "vocab": 32000,
    "tiedEmbeddings": False,
}


def top(**changes: Any) -> dict[str, Any]:
    """The good configuration with top-level keys changed; `llm_labels` stands for `llm:labels`."""
    named = {key.replace("_", ":", 1): value for key, value in changes.items()}
    return {key: value for key, value in {**good(), **named}.items() if value is not ...}


def deployments(value: Any) -> dict[str, Any]:
    """The good configuration with another value of `llm:deployments`."""
    return top(llm_deployments=value)


def inline(**changes: Any) -> dict[str, Any]:
    """The good configuration with a model that is written out, and keys of that model changed."""
    return good(model={**TINY, **changes})


def shaped(**changes: Any) -> dict[str, Any]:
    """As `inline`, with keys of the model's architecture changed."""
    return inline(architecture={**TINY_SHAPE, **changes})
