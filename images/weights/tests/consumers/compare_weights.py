"""Run by the consumers' interpreter: loads pairs of folders with transformers, and compares their weights.

Argument: as JSON a list of original and target. Prints for each whether the library found neither too few nor
too many tensors, whether all are equal, whether the same names are tied, and the names that the files hold.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open


def ties(model: torch.nn.Module) -> list:
    """Names of parameters that are one."""
    groups: dict = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(value), []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def compare(original: str, target: str) -> dict:
    """Load both."""
    config = transformers.AutoConfig.from_pretrained(target)
    seq2seq = config.is_encoder_decoder
    family = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    before = family.from_pretrained(original)
    after, report = family.from_pretrained(target, use_safetensors=True, output_loading_info=True)
    wanted, got = before.state_dict(), after.state_dict()
    return {
        "fits": not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")),
        "equal": wanted.keys() == got.keys() and all(torch.equal(got[name], wanted[name]) for name in wanted),
        "ties": ties(before) == ties(after),
        "head": [
            name for name in stored(Path(target)) if "embed" in name or "head" in name or "shared" in name
        ],
    }


def stored(folder: Path) -> list[str]:
    """Names in the files."""
    names: list[str] = []
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            names += opened.keys()
    return sorted(names)


if __name__ == "__main__":
    sys.stdout.write(json.dumps([compare(*pair) for pair in json.loads(sys.argv[1])]))
