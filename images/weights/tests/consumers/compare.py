"""Loads two folders with transformers: all tensors of the second are those of the first in another type."""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

before, after, dtype = Path(sys.argv[1]), Path(sys.argv[2]), getattr(torch, sys.argv[3])
config = AutoConfig.from_pretrained(after)
assert config.dtype == dtype, config.dtype
kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
source = kind.from_pretrained(before, dtype="auto")
result, about = kind.from_pretrained(after, dtype="auto", output_loading_info=True)
assert not any(about[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys")), about
wanted, given = source.state_dict(), result.state_dict()
assert wanted.keys() == given.keys()
for name, tensor in wanted.items():
    # Some of T5's float16 matrices are widened as they are loaded; the types in the files come below.
    assert torch.equal(given[name].to(dtype), tensor.to(dtype)), name
for path in after.glob("*.safetensors"):
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert all(tensor.dtype == dtype for tensor in load_file(path).values())
index = after / "model.safetensors.index.json"
if index.exists():
    held = {name: path.name for path in after.glob("*.safetensors") for name in load_file(path)}
    assert json.loads(index.read_text())["weight_map"] == held
sys.stdout.write(str(len(list(after.glob("*.safetensors")))))
