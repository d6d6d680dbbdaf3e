"""Run by the consumers' interpreter: loads state dicts as Beam's PytorchModelHandlerTensor does.

Beam makes the class, opens the file as a stream, and calls torch.load(…, weights_only=True) and
load_state_dict, which is strict. Argument: as JSON a list of original, target and element type. Prints for
each what is as it should be, for each way to load.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

IDS = torch.tensor([[3, 4, 5]])


def groups(state: dict) -> list:
    """Names by the storage that they are on, where there is more than one."""
    found: dict = {}
    for name, tensor in state.items():
        found.setdefault((tensor.untyped_storage().data_ptr(), tensor.storage_offset()), []).append(name)
    return sorted(sorted(names) for names in found.values() if len(names) > 1)


def build(config: transformers.PreTrainedConfig, original: torch.nn.Module) -> torch.nn.Module:
    """The class as the original's weights need it: without the tie of a head that it has apart."""
    model = type(original)(config).eval()
    if original.lm_head.weight is not original.get_input_embeddings().weight:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    return model


def load(path: Path) -> list[dict]:
    """In the three ways that PyTorch has."""
    with path.open("rb") as stream:
        return [
            torch.load(stream, map_location="cpu", weights_only=True),
            torch.load(path, weights_only=True),
            torch.load(path, weights_only=True, mmap=True),
        ]


def compare(original: str, target: str, dtype: str) -> list[dict]:
    """What is as it should be, for each way to load."""
    config = transformers.AutoConfig.from_pretrained(target)
    decoder = {"decoder_input_ids": IDS} if config.is_encoder_decoder else {}
    family = transformers.AutoModelForSeq2SeqLM if decoder else transformers.AutoModelForCausalLM
    # Cast after loading: as it loads in float16, transformers keeps some of T5's modules in float32.
    before = family.from_pretrained(original, dtype="auto").to(getattr(torch, dtype)).eval()
    for parameter in before.parameters():
        parameter.data = parameter.data.contiguous()  # the order in memory has an effect on rounding
    wanted = before.state_dict()
    with torch.inference_mode():
        expected = before.float()(input_ids=IDS, **decoder).logits
    report = []
    for state in load(Path(target, "state_dict.pt")):
        model = build(config, before)
        model.load_state_dict(state)
        with torch.inference_mode():
            logits = model(input_ids=IDS, **decoder).logits
        report.append(
            {
                "names": sorted(state) == sorted(wanted),
                "equal": all(
                    state[name].dtype == value.dtype and torch.equal(state[name], value)
                    for name, value in wanted.items()
                ),
                "contiguous": all(tensor.is_contiguous() for tensor in state.values()),
                "ties": groups(state) == groups(wanted),
                "tied": sum(map(len, groups(state))),
                "logits": torch.equal(logits, expected),
                "dtype": str(config.dtype),
            }
        )
    return report


if __name__ == "__main__":
    sys.stdout.write(json.dumps([compare(*each) for each in json.loads(sys.argv[1])]))
