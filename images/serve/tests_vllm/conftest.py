"""Small models of the real classes, and vLLM on the CPU. Run by scripts/test-vllm."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}

import pytest
import torch
from serve.engines.base import EngineSettings
from serve.engines.vllm_engine import VllmEngine
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

SETTINGS = EngineSettings(dtype="float32", max_batch=4, max_waiting=64)
PROMPTS = [
    "Tell me a joke about a cloud and a container.",
    "a",
    "Übersetze: how old are you? Wie alt sind Sie?",
    "The quick brown fox jumps over the lazy dog, 1234567890 times. " * 2,
    "naïve café 東京 🙂 – “quoted” text",
    "Hello",
    " ",
    "Summarise: models are staged once, then served from a mounted bucket.",
]
CONTEXT = 4096
END = "<|endoftext|>"


def reference(path: Path, ids: list[int], count: int) -> list[int]:
    """The tokens of plain `generate`, without the end token."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ends = model.generation_config.eos_token_id
    made = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)[0, len(ids) :].tolist()
    return made[:-1] if made[-1] in ([ends] if isinstance(ends, int) else ends) else made


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level without merges: every text is representable."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=257, special_tokens=[END], initial_alphabet=alphabet)
    bare.train_from_iterator([], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token=END)


def _stage(model: PreTrainedModel, folder: Path) -> Path:
    """Saves a model as the weights image stages one: with a manifest."""
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    files = [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(contents.items())
    ]
    manifest = {"version": 1, "repository": f"acme/{folder.name}", "revision": "0" * 40}
    manifest |= {"format": "safetensors", "dtype": "float32", "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a repetition penalty, whose greedy answers never end by themselves."""
    torch.manual_seed(7)
    # vLLM's kernels want heads of at least 32.
    config = GPT2Config(
        vocab_size=257, n_embd=64, n_layer=2, n_head=2, n_positions=CONTEXT, initializer_range=0.3,
        eos_token_id=0, bos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    # The end token's score is its embedding's, which is also the output's: 0, and never the highest.
    model.transformer.wte.weight.data[0] = 0
    model.generation_config.repetition_penalty = 1.3
    return _stage(model, tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two end tokens, of which it soon makes one."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=257, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=CONTEXT, initializer_range=0.3, eos_token_id=0,
        bos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    folder = _stage(model, tmp_path_factory.mktemp("llama"))
    ids = _tokenizer()(PROMPTS[0])["input_ids"]
    model.generation_config.eos_token_id = [0, reference(folder, ids, 12)[-1]]
    return _stage(model, folder)


def started(path: Path, **settings: int) -> VllmEngine:
    """An engine with a model loaded; eager, because compiling takes longer than all tests."""
    engine = VllmEngine(eager=True)
    engine.load(path, replace(SETTINGS, **settings))
    return engine


@pytest.fixture(scope="session")
def gpt2_engine(gpt2: Path) -> Iterator[VllmEngine]:
    engine = started(gpt2)
    yield engine
    engine.close(30)


@pytest.fixture(scope="session")
def llama_engine(llama: Path) -> Iterator[VllmEngine]:
    engine = started(llama)
    yield engine
    engine.close(30)
