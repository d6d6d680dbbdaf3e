"""Loads checkpoints with the real library and compares them with their sources.

Arguments: folder of the sources, folder of the targets, names as JSON. Prints what it found, by name.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open


def compare(source: Path, target: Path) -> dict:
    """Load both; how far the restored weights are, in scales, and the logits, in their norm."""
    config = transformers.AutoConfig.from_pretrained(target)
    seq2seq = config.is_encoder_decoder
    family = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    before = family.from_pretrained(source).eval()
    after, report = family.from_pretrained(target, output_loading_info=True)
    ids = torch.tensor([[3, 4, 5]])
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if seq2seq else {})
    with torch.no_grad():
        tokens = after.generate(ids, max_new_tokens=1, do_sample=False).shape[1]
        wanted, got = (model(**inputs).logits.float() for model in (before, after))
    scales = stored_scales(target)
    restored = dict(after.state_dict())
    worst, same = 0.0, True
    for name, value in before.state_dict().items():
        if name in scales:
            distance = (
                after.get_parameter(name) if name not in restored else restored[name]
            ).double() - value.double()
            worst = max(worst, (distance.abs() / scales[name]).max().item())
        else:
            same = same and torch.equal(restored[name], value)
    return {
        "unfit": sorted(
            str(key)
            for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
            for key in report[kind]
        ),
        "worst": worst,
        "same": same,
        "tokens": tokens,
        "distance": ((got - wanted).norm() / wanted.norm()).item(),
        "quantised": len(scales),
        "linear": sum(isinstance(each, torch.nn.Linear) for each in before.modules()) - 1,  # all but the head
    }


def stored_scales(target: Path) -> dict[str, torch.Tensor]:
    """The scales by name of the weight."""
    scales = {}
    for file in target.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                if name.endswith("_scale"):
                    scales[name.removesuffix("_scale")] = opened.get_tensor(name).double()
    return scales


if __name__ == "__main__":
    sources, targets, names = sys.argv[1:]
    found = {name: compare(Path(sources) / name, Path(targets) / name) for name in json.loads(names)}
    sys.stdout.write(json.dumps(found))
