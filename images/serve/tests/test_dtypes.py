"""The element type of computing is the one that the settings name, whatever the staged weights have."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from running import ask, running, tokens_of
from serve.engines import checkpoint
from serve.engines.base import EngineSettings, GenerateRequest
from transformers import LlamaConfig, LlamaForCausalLM

LOAD = """
import sys, threading, torch
from transformers import AutoModelForCausalLM

def private() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) * 1024

before, peak, loaded = private(), 0, threading.Event()

def watch() -> None:
    global peak
    while not loaded.wait(0.002):
        peak = max(peak, private())

thread = threading.Thread(target=watch)
thread.start()
model = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], dtype=getattr(torch, sys.argv[2]), local_files_only=True, use_safetensors=True
)
loaded.set()
thread.join()
print(max(peak, private()) - before)
"""
"""Loads a model as the engine does, and prints the most bytes that the process had of its own."""

MIB = 1024**2
OWN_BYTES = 160 * MIB
"""What loading takes however small the model is: modules imported on the way, about 100 MiB measured."""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_computes_in_the_element_type_of_the_settings(staged: Path, dtype: str) -> None:
    async def scenario() -> None:
        async with running(staged, dtype=dtype) as engine:
            prompt = engine.encode("Tell me a joke")
            (events,) = await ask(engine, GenerateRequest("a", prompt, 5))
            assert 0 < len(tokens_of(events)) <= 5

    asyncio.run(scenario())
    loaded = checkpoint.load(staged, EngineSettings(dtype=dtype))
    assert {weight.dtype for weight in loaded.model.parameters()} == {getattr(torch, dtype)}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 100 million parameters: 400 MB in float32."""
    folder = tmp_path_factory.mktemp("large")
    config = LlamaConfig(
        vocab_size=4000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=6, num_attention_heads=16
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("dtype", "copies"), [("float32", 0), ("bfloat16", 1)])
def test_loading_holds_no_second_copy_of_the_weights(large: Path, dtype: str, copies: int) -> None:
    """The file's own element type is used where it lies in the mapped file; another is converted once."""
    size = sum(path.stat().st_size for path in large.glob("*.safetensors"))
    converted = copies * size * getattr(torch, dtype).itemsize // torch.float32.itemsize
    command = [sys.executable, "-c", LOAD, str(large), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert converted <= int(done.stdout) < converted + OWN_BYTES < converted + size // 2
