"""Tiny checkpoints of real model classes, made by the transformers library in one process."""

import json
from pathlib import Path

from plans import consume

_MAKE = Path(__file__).parent / "consumers" / "make_models.py"


def make(folder: Path, wanted: dict[str, dict]) -> None:
    """Save models below a folder.

    Args:
        folder: Where each gets a folder with its name.
        wanted: For each name the ``kind`` (a model_type), and if they are to be others than the usual ones
            ``dtype``, ``shard`` (size of a file, as transformers takes it) and ``more`` settings.
    """
    full = {
        name: [each["kind"], each.get("dtype", "float32"), each.get("shard", "1GB"), each.get("more", {})]
        for name, each in wanted.items()
    }
    consume(_MAKE.read_text(), folder, json.dumps(full))
