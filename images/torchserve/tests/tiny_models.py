"""Tiny models of the real classes with tokenizers of their own, made on the spot.

python tiny_models.py KIND FOLDER       KIND: gpt2, t5 or dolly
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SENTENCES = [
    "How to prepare a spanish omelette: place it in a large bowl and cover the bowl with a lid.",
    "Below is an instruction that describes a task. Write a response that completes the request.",
    "Tell me a joke about a cloud and a container. naïve café 東京 🙂 – “quoted” text",
    "The quick brown fox jumps over the lazy dog, 1234567890 times.",
    "Summarise: models are staged once, then served from a mounted bucket.",
]
DOLLY_KEYS = ["### End", "### Instruction:", "### Response:\n"]
CONTEXT = 192


def gpt2() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A decoder with learned positions and no padding token."""
    fast = _byte_level(["<|endoftext|>"])
    config = GPT2Config(
        vocab_size=len(fast),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config), fast


def dolly() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A GPT-NeoX decoder whose tokenizer has dolly's three keys as tokens."""
    fast = _byte_level(["<|endoftext|>", "<|padding|>"])
    fast.add_special_tokens({"additional_special_tokens": DOLLY_KEYS})
    config = GPTNeoXConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPTNeoXForCausalLM(config), fast


def t5() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """An encoder-decoder with gated feed-forward layers and a head of its own, as flan-t5 has."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    config = T5Config(
        vocab_size=len(fast),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config), fast


KINDS = {"gpt2": gpt2, "t5": t5, "dolly": dolly}
LARGER = {"gpt2": 1.5, "t5": 1.5, "dolly": 4.0}


def save(kind: str, folder: Path) -> Path:
    """Saves a model of a kind with random weights, the same ones each time."""
    torch.manual_seed(7)
    model, tokenizer = KINDS[kind]()
    # Weights as they are give one token for ever; larger ones make the answer depend on the prompt.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(LARGER[kind])
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _byte_level(special: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[0])


if __name__ == "__main__":
    save(sys.argv[1], Path(sys.argv[2]))
