"""What the Hubs of the tests serve."""

from __future__ import annotations

import json
import random
from pathlib import Path

from rehearsal.hub.repository import GATE
from stacks.plan.catalog import catalog
from stacks.plan.spec import DTYPE_BYTES, Dtype

SAFETENSORS_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def tiny_checkpoint(seed: int, dtype: Dtype = "float32") -> bytes:
    """A real safetensors file of one small tensor, different for each seed."""
    data = random.Random(seed).randbytes(4096)
    tensor = {"shape": [4096 // DTYPE_BYTES[dtype]], "data_offsets": [0, 4096]}
    header = {"embed": {"dtype": SAFETENSORS_NAMES[dtype], **tensor}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def fill_hub(root: Path) -> None:
    """Write every model of the catalog, a few kilobytes each; the gated ones ask for a token."""
    for seed, model in enumerate(catalog().values()):
        folder = root / model.repository / model.revision
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(tiny_checkpoint(seed, model.checkpoint_dtype))
        (folder / "config.json").write_text('{"model_type": "t5"}')
        (folder / "tokenizer.json").write_text("{}")
        if model.gated:
            (folder.parent / GATE).touch()
