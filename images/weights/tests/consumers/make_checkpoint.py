"""Makes a small checkpoint with transformers: folder, element type, and how it is saved."""

import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

folder, dtype, how = Path(sys.argv[1]), getattr(torch, sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
if "llama" in how:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=320, num_hidden_layers=2, tie_word_embeddings=False, **sizes)
    )
else:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4, "num_layers": 2}
    model = T5ForConditionalGeneration(T5Config(vocab_size=320, decoder_start_token_id=0, **sizes))
model = model.to(dtype).eval()
if "pickle" in how:
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
else:
    model.save_pretrained(folder, max_shard_size="30KB" if "sharded" in how else "1GB")
