"""Makes two tiny models of the real classes, as they lie on the Hub: FOLDER/t5 and FOLDER/gpt2.

Run with the interpreter of images/serve, which has PyTorch: python tiny_models.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

END, PAD, UNKNOWN = "</s>", "<pad>", "<unk>"


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: every text is representable; CTranslate2 wants an unknown."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=259, special_tokens=[PAD, END, UNKNOWN], initial_alphabet=alphabet
    )
    bare.train_from_iterator([], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bare, pad_token=PAD, eos_token=END, unk_token=UNKNOWN)


def main(folder: Path) -> None:
    words = tokenizer()
    ends = {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    t5 = T5Config(
        vocab_size=len(words), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=words.pad_token_id, **ends,
    )  # fmt: skip
    gpt2 = GPT2Config(
        vocab_size=len(words),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        bos_token_id=ends["eos_token_id"],
        **ends,
    )
    made = {"t5": (T5ForConditionalGeneration, t5), "gpt2": (GPT2LMHeadModel, gpt2)}
    for name, (kind, config) in made.items():
        torch.manual_seed(7)
        kind(config).save_pretrained(folder / name)
        words.save_pretrained(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
