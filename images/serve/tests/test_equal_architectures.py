"""Greedy answers of mixed batches are those of plain `generate`, for the architectures that people serve."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from running import collect, plain_generate, random_prompts, running, text_of, tokens_of
from serve.engines.base import GenerateRequest
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen3Config,
    T5Config,
    T5ForConditionalGeneration,
)

SMALL = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
    # Scores far enough apart that rounding does not change which is the highest.
    "initializer_range": 0.5,
}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "t5 with plain feed-forward layers and a tied head": lambda: T5Config(
        vocab_size=200, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    ),
    "llama": lambda: LlamaConfig(**SMALL, num_key_value_heads=2),
    "gpt-neox": lambda: GPTNeoXConfig(**SMALL),
    "qwen3": lambda: Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8),
}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_requests_that_come_and_go_answer_as_each_would_alone(
    name: str, t5: Path, gpt2: Path, tmp_path: Path
) -> None:
    config = CONFIGS[name]()
    torch.manual_seed(11)
    is_t5 = isinstance(config, T5Config)
    model = T5ForConditionalGeneration(config) if is_t5 else AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes(((t5 if is_t5 else gpt2) / file).read_bytes())
    chooser = random.Random(4)

    async def scenario() -> tuple[list[list[int]], list[int], list[list[int]]]:
        async with running(tmp_path, max_batch=8, max_wait_seconds=0.001) as engine:
            prompts = [[token % config.vocab_size for token in p] for p in random_prompts(engine, 24)]
            limits = [chooser.randint(1, 24) for _ in prompts]
            tasks = []
            for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
                stop = ("never there",) if i % 3 == 0 else ()
                stream = engine.submit(GenerateRequest(str(i), prompt, limit, stop=stop))
                tasks.append(asyncio.create_task(collect(stream)))
                if i % 5 == 0:
                    leaving = engine.submit(GenerateRequest(f"leaving {i}", prompt, 90))
                    await anext(leaving)
                    await leaving.aclose()
            answers = await asyncio.gather(*tasks)
            for events in answers:
                assert text_of(events) == engine.decode(tokens_of(events))
            return prompts, limits, [tokens_of(events) for events in answers]

    prompts, limits, found = asyncio.run(scenario())
    assert found == plain_generate(tmp_path, prompts, limits)
