"""Saves tiny checkpoints of real model classes.

Arguments: folder, and as JSON for each name the model_type, element type, size of a file, further settings.
"""

import json
import sys

import torch
import transformers

COMMON = {"vocab_size": 96}
DECODER = COMMON | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
T5 = COMMON | {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
SETTINGS = {
    "t5": T5,
    "mt5": T5,
    "umt5": T5,
    "bart": COMMON
    | {
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    },
    "gpt_neox": COMMON
    | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
}


def save(folder: str, kind: str, dtype: str, shard: str, more: dict) -> None:
    """Save one, with random norms, too: a norm in the wrong place then shows."""
    torch.manual_seed(7)
    config = transformers.AutoConfig.for_model(kind, **SETTINGS.get(kind, DECODER) | more)
    seq2seq = config.is_encoder_decoder
    family = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    model = family.from_config(config)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)


if __name__ == "__main__":
    for name, model in json.loads(sys.argv[2]).items():
        save(f"{sys.argv[1]}/{name}", *model)
