"""What the Hubs of the tests serve."""

from __future__ import annotations

import json
import random
from pathlib import Path

from stacks.plan.catalog import catalog


def tiny_checkpoint(seed: int) -> bytes:
    """A real safetensors file of one small tensor, different for each seed."""
    data = random.Random(seed).randbytes(4096)
    header = {"embed": {"dtype": "F32", "shape": [1024], "data_offsets": [0, 4096]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def fill_hub(root: Path) -> None:
    """Write every model of the catalog, a few kilobytes each."""
    for seed, model in enumerate(catalog().values()):
        folder = root / model.repository / model.revision
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(tiny_checkpoint(seed))
        (folder / "config.json").write_text('{"model_type": "t5"}')
        (folder / "tokenizer.json").write_text("{}")
