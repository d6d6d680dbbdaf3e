"""config.json of a model whose weights get another element type."""

import json
from collections.abc import Iterable
from typing import Any

from weights.errors import Failure

_DTYPE_KEYS = ("dtype", "torch_dtype")  # transformers 5 writes the first, earlier ones the second


def typed_config(content: bytes, dtype: str) -> bytes:
    """config.json with another element type, in its nested configurations too.

    Args:
        content: config.json, a JSON object.
        dtype: The type.

    Raises:
        Failure: ``unsupported``, if it is nested too deeply.
    """
    config = json.loads(content)
    try:
        stated = _set_dtype(config, dtype)
    except RecursionError:
        raise Failure("unsupported", "config.json is nested too deeply") from None
    if not stated:
        config["torch_dtype"] = dtype
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()


def _set_dtype(config: Any, dtype: str) -> bool:
    """Set the type wherever it is stated; whether the outermost object stated it."""
    stated = False
    values: Iterable[Any] = config.values() if isinstance(config, dict) else config
    for value in values:
        if isinstance(value, dict | list):
            _set_dtype(value, dtype)
    if isinstance(config, dict):
        for key in _DTYPE_KEYS:
            if isinstance(config.get(key), str):
                config[key] = dtype
                stated = True
    return stated
