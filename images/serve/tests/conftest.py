"""Small models of the real classes, made once per run, and a server in this process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import httpx
import pytest
import torch
from serve.api.service import Service
from serve.app import create_app, create_service
from serve.engines import transformers_engine
from serve.engines.base import Engine
from serve.engines.transformers_engine import TransformersEngine
from serve.health import Status
from serve.settings import Settings
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SENTENCES = [
    "Tell me a joke about a cloud and a container.",
    "Übersetze: how old are you? Wie alt sind Sie?",
    "The quick brown fox jumps over the lazy dog, 1234567890 times.",
    "Summarise: models are staged once, then served from a mounted bucket.",
    "naïve café 東京 🙂 – “quoted” text",
]


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged encoder-decoder model with gated feed-forward layers and a head of its own, as flan-t5 has."""
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
    return _stage(T5ForConditionalGeneration, config, fast, tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged decoder-only model with a byte-level tokenizer and no padding token, as gpt2 has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    config = GPT2Config(
        vocab_size=len(fast), n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    return _stage(GPT2LMHeadModel, config, fast, tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(params=["t5", "gpt2"])
def staged(request: pytest.FixtureRequest) -> Path:
    """Each of the two models in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(params=["merged batches", "continuous batching"])
def batching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a decoder-only model can run, whichever is the faster here."""
    monkeypatch.setattr(transformers_engine, "merged_is_faster", lambda _: request.param == "merged batches")
    return str(request.param)


@pytest.fixture
def settings_for() -> Callable[..., Settings]:
    """Makes settings for a model's folder; keywords replace the usual limits."""

    def make(folder: Path, **changes: object) -> Settings:
        usual = {
            "engine": "transformers",
            "dtype": "float32",
            "max_input_tokens": 40,
            "max_new_tokens": 24,
            "max_queue": 4,
            "threads": 1,
            "port": 8080,
        }
        return Settings(model_path=folder, model_name="owner/tiny", **(usual | changes))

    return make


@pytest.fixture
def run() -> Callable[..., object]:
    """Runs a coroutine to its end on a loop of its own."""
    return asyncio.run


@pytest.fixture
def environment(t5: Path) -> dict[str, str]:
    """The environment of a server process."""
    return os.environ | {
        "MODEL_PATH": str(t5),
        "MODEL_NAME": "owner/tiny",
        "HOST": "127.0.0.1",
        "ENGINE": "transformers",
        "DTYPE": "float32",
        "MAX_INPUT_TOKENS": "40",
        "MAX_NEW_TOKENS": "4000",
        "MAX_QUEUE": "4",
        "THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


@asynccontextmanager
async def serving(
    settings: Settings, make_engine: Callable[[], Engine] | None = None, wait_ready: bool = True
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    """The application and a client for it, in this process; ready, unless told not to wait."""
    service = create_service(settings, make_engine or TransformersEngine, on_death=lambda: None)
    app = create_app(service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://serve") as client,
    ):
        try:
            while wait_ready and service.host.status is not Status.READY:
                assert service.host.death is None, service.host.death
                await asyncio.sleep(0.01)
            yield client, service
        finally:
            assert await asyncio.to_thread(service.host.stop, 30)


def write_manifest(folder: Path) -> None:
    """Writes the manifest of the files in a folder."""
    paths = sorted(path for path in folder.iterdir() if path.name != "manifest.json")
    files = [
        {"name": p.name, "size": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
        for p in paths
    ]
    manifest = {
        "version": 1,
        "repository": "owner/tiny",
        "revision": "0" * 40,
        "format": "safetensors",
        "dtype": "float32",
        "tool": "tests/0",
        "created": "2026-01-01T00:00:00Z",
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _stage(
    kind: type[PreTrainedModel], config: object, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> Path:
    torch.manual_seed(7)
    model = kind(config).eval()
    # Weights as they are give one token for ever; larger ones make the answer depend on the prompt.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder)
    return folder
