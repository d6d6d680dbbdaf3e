"""generation_config.json, as far as every engine reads it alike; imports no engine's library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serve.engines.base import ModelError

NO_END = "neither generation_config.json nor config.json gives eos_token_id; add it to one"
UNMET: Mapping[str, tuple[object, ...]] = {
    "max_time": (None,),
    "min_p": (None, 0, 0.0),
    "penalty_alpha": (None, 0, 0.0),
    "stop_strings": (None, [], ""),
    "token_healing": (None, False),
}
"""What a model may ask of `generate` and no engine here does, with the values that ask for nothing:
https://huggingface.co/docs/transformers/main_classes/text_generation"""


def asked(generation: Mapping[str, Any], unmet: Mapping[str, tuple[object, ...]]) -> dict[str, Any]:
    """What a configuration asks for among what is not done.

    Args:
        generation: the configuration's values.
        unmet: what is not done, with the values that ask for nothing.
    """
    return {
        name: generation[name]
        for name, nothing in unmet.items()
        if name in generation and generation[name] not in nothing
    }


def listed(values: Mapping[str, Any]) -> str:
    """Names with their values, for a message."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def end_ids(end: int | Sequence[int] | None, missing: str = NO_END) -> frozenset[int]:
    """The tokens that end an answer.

    Args:
        end: `eos_token_id` as the configuration has it.
        missing: what to say where that is None.

    Raises:
        ModelError: there is none.
    """
    if end is None:
        raise ModelError(missing)
    return frozenset([end] if isinstance(end, int) else end)
