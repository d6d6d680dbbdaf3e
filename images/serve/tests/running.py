"""A running engine, and what a program that uses transformers directly would answer."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch
from conftest import SENTENCES
from serve.engines.base import Engine, EngineSettings, GenerateRequest, TokenEvent, TokenStream
from serve.engines.local import LocalEngine
from serve.engines.transformers_engine import TransformersEngine
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM


@asynccontextmanager
async def running(
    path: Path, make: Callable[[], LocalEngine] = TransformersEngine, **settings: Any
) -> AsyncIterator[LocalEngine]:
    """An engine that has loaded a model; closed at the end."""
    engine = make()
    await asyncio.to_thread(engine.load, path, EngineSettings(**settings))
    try:
        yield engine
    finally:
        assert await asyncio.to_thread(engine.close, 30)


async def collect(stream: TokenStream) -> list[TokenEvent]:
    """All events of a stream."""
    return [event async for event in stream]


def tokens_of(events: Sequence[TokenEvent]) -> list[int]:
    """The tokens of an answer, end token left out."""
    return [event.token_id for event in events if event.token_id is not None]


def text_of(events: Sequence[TokenEvent]) -> str:
    """The text of an answer."""
    return "".join(event.text for event in events)


async def ask(engine: Engine, *requests: GenerateRequest) -> list[list[TokenEvent]]:
    """Submits all requests at once and collects each one's events."""
    streams = [engine.submit(request) for request in requests]
    return list(await asyncio.gather(*(collect(stream) for stream in streams)))


def plain_generate(path: Path, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[list[int]]:
    """Each prompt's answer by transformers' own `generate`, one after the other, end token left out."""
    decoder_only = not AutoConfig.from_pretrained(path).is_encoder_decoder
    model = (AutoModelForCausalLM if decoder_only else AutoModelForSeq2SeqLM).from_pretrained(path)
    end = model.generation_config.eos_token_id
    ends = {end} if isinstance(end, int) else set(end)
    answers = []
    for prompt, limit in zip(prompts, limits, strict=True):
        ids = torch.tensor([list(prompt)])
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=min(ends),
        )[0].tolist()
        answer = made[len(prompt) :] if decoder_only else made[1:]
        answers.append(answer[:-1] if answer and answer[-1] in ends else answer)
    return answers


def random_prompts(engine: TransformersEngine, count: int) -> list[list[int]]:
    """Prompts of one to ten words, the same in every run."""
    words = " ".join(SENTENCES).split()
    chooser = random.Random(5)
    return [engine.encode(" ".join(chooser.choices(words, k=chooser.randint(1, 10)))) for _ in range(count)]


def with_generation_config(path: Path, to: Path, **values: object) -> Path:
    """A copy of a model whose generation config has other values."""
    shutil.copytree(path, to)
    file = to / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return to
