"""Run by the consumers' interpreter: saves models again in other ways.

Argument: as JSON a list of {source, folder, own_head, layout, shards}. A model with its own head has random
numbers in it: transformers 5 ties the head of every T5 that it makes, while those of version 1.1 have their
own.
The layout is safetensors, as the library saves it; or zip or legacy, a state dict as PyTorch pickles it, in
pytorch_model.bin or in shards with an index; or tf, a zip with matrices transposed in memory, as a conversion
from TensorFlow leaves them; or base, safetensors without the head's names and with buffers that old versions
saved, as the first checkpoints of GPT-2 and BART are.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

TIED = {"shared", "embed_tokens", "lm_head", "wte", "embed_in"}


def is_tied(name: str) -> bool:
    """Whether it is an embedding or a head."""
    return not TIED.isdisjoint(name.split("."))


def transposed(value: torch.Tensor) -> torch.Tensor:
    """The same matrix, column by column in memory."""
    return value.t().contiguous().t() if value.dim() == 2 else value


def resave(source: Path, folder: Path, own_head: bool, layout: str, shards: int) -> None:
    """Save one."""
    config = transformers.AutoConfig.from_pretrained(source)
    seq2seq = config.is_encoder_decoder
    family = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    model = family.from_pretrained(source)
    if own_head:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.get_input_embeddings().weight))
    if layout == "safetensors":
        model.save_pretrained(folder)
        return
    if layout == "base":
        # Tied names would be saved twice otherwise, which the format does not have.
        state = {
            name: value for name, value in model.base_model.state_dict().items() if "embed_tokens" not in name
        }
        old = {"h.0.attn.bias": torch.ones(1, 1, 4, 4).bool()} if config.model_type == "gpt2" else {}
        folder.mkdir()
        shutil.copy(source / "config.json", folder)
        save_file(state | old, folder / "model.safetensors", {"format": "pt"})
        return
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    state = model.state_dict()
    if layout == "tf":
        state = {name: value if is_tied(name) else transposed(value) for name, value in state.items()}
    save(state, folder, layout != "legacy", shards)


def save(state: dict, folder: Path, zipped: bool, shards: int) -> None:
    """Pickle it; tied tensors go into the first shard."""
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        return
    places = {name: 1 if is_tied(name) else 1 + number % shards for number, name in enumerate(state)}
    files = {name: f"pytorch_model-{place:05}-of-{shards:05}.bin" for name, place in places.items()}
    for file in sorted(set(files.values())):
        part = {name: state[name] for name in state if files[name] == file}
        torch.save(part, folder / file, _use_new_zipfile_serialization=zipped)
    listing = {"metadata": {}, "weight_map": files}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(listing))


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        resave(Path(job.pop("source")), Path(job.pop("folder")), **job)
