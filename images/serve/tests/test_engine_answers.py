"""What an engine answers from within a batch, against transformers' `generate` of one prompt at a time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from running import (
    ask,
    collect,
    plain_generate,
    random_prompts,
    running,
    text_of,
    tokens_of,
    with_generation_config,
)
from serve.engines import transformers_engine
from serve.engines.base import Capabilities, EngineSettings, FinishReason, GenerateRequest, TokenEvent
from serve.engines.transformers_engine import TransformersEngine
from transformers import BartConfig, BartForConditionalGeneration


def with_frequent_end(path: Path, to: Path) -> Path:
    """A copy whose end tokens include some that the model likes, so that answers end at many lengths."""

    async def common() -> list[int]:
        async with running(path) as engine:
            prompts = random_prompts(engine, 20)
            events = await ask(engine, *(GenerateRequest(str(i), p, 24) for i, p in enumerate(prompts)))
        counts = Counter(token for answer in events for token in set(tokens_of(answer)[2:]))
        return [token for token, count in counts.most_common() if count <= 10][:4]

    own = 1 if "t5" in str(path) else 0
    return with_generation_config(path, to, eos_token_id=[own, *asyncio.run(common())])


async def answers(path: Path, count: int) -> tuple[list[list[int]], list[int], list[list[TokenEvent]]]:
    """Prompts, limits and what the engine answers when all arrive in bursts."""
    chooser = random.Random(1)
    async with running(path, max_batch=16) as engine:
        prompts = random_prompts(engine, count)
        limits = [chooser.randint(1, 24) for _ in prompts]
        tasks = []
        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            tasks.append(asyncio.create_task(collect(engine.submit(GenerateRequest(str(i), prompt, limit)))))
            if chooser.random() < 0.1:
                await asyncio.sleep(0.01)
        return prompts, limits, list(await asyncio.gather(*tasks))


def test_greedy_answers_of_200_prompts_in_mixed_batches_are_those_of_plain_generate(
    staged: Path, tmp_path: Path
) -> None:
    folder = with_frequent_end(staged, tmp_path / "model")
    prompts, limits, events = asyncio.run(answers(folder, 200))
    expected = plain_generate(folder, prompts, limits)
    assert [tokens_of(answer) for answer in events] == expected
    assert len({tuple(answer) for answer in expected}) > 30, "the model must tell prompts apart"
    reasons = Counter(answer[-1].finish for answer in events)
    assert min(reasons[FinishReason.STOP], reasons[FinishReason.LENGTH]) > 20, reasons


def test_the_texts_of_all_events_joined_are_the_decoded_answer(staged: Path) -> None:
    async def scenario() -> None:
        async with running(staged) as engine:
            prompts = random_prompts(engine, 10)
            found = await ask(engine, *(GenerateRequest(str(i), p, 20) for i, p in enumerate(prompts)))
            for events in found:
                assert text_of(events) == engine.decode(tokens_of(events))
                assert [event.generated_tokens for event in events] == list(range(1, 21))
                assert [event.finish for event in events[:-1]] == [None] * 19

    asyncio.run(scenario())


def test_a_stop_string_ends_one_answer_and_leaves_its_batch_mates_alone(staged: Path) -> None:
    async def scenario() -> None:
        async with running(staged) as engine:
            prompts = random_prompts(engine, 10)
            wholes = await ask(engine, *(GenerateRequest(str(i), p, 20) for i, p in enumerate(prompts)))
            text, whole, prompt = max(
                (text_of(w), w, p) for w, p in zip(wholes, prompts, strict=True) if "\ufffd" not in text_of(w)
            )
            stop = text[len(text) // 2 :][:3]
            cut, mate = await ask(
                engine,
                GenerateRequest("cut", prompt, 20, stop=("never there", stop)),
                GenerateRequest("mate", prompt, 20),
            )
            assert text_of(cut) == text.partition(stop)[0]
            assert cut[-1].finish is FinishReason.STOP
            assert tokens_of(cut) == tokens_of(whole)[: len(tokens_of(cut))]
            assert len(tokens_of(cut)) < 20
            assert tokens_of(mate) == tokens_of(whole)

    asyncio.run(scenario())


def test_capabilities_say_what_the_model_is_and_how_it_runs(t5: Path, gpt2: Path) -> None:
    def load(path: Path) -> Capabilities:
        engine = TransformersEngine()
        try:
            return engine.load(path, EngineSettings())
        finally:
            engine.close(30)

    assert (load(t5).kind, load(t5).batching) == ("encoder-decoder", "dynamic")
    loaded = load(gpt2)
    assert (loaded.kind, loaded.batching, loaded.context_tokens) == ("decoder-only", "continuous", 64)


@pytest.mark.parametrize(
    "values", [{"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 2}, {"min_length": 18}]
)
def test_a_generation_config_that_the_librarys_batching_would_ignore_is_followed(
    gpt2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, batching: str, values: dict[str, object]
) -> None:
    folder = with_generation_config(with_frequent_end(gpt2, tmp_path / "ends"), tmp_path / "model", **values)
    with caplog.at_level(logging.WARNING, "serve"):
        prompts, limits, events = asyncio.run(answers(folder, 40))
    assert [tokens_of(answer) for answer in events] == plain_generate(folder, prompts, limits)
    assert ("dynamic batching instead" in caplog.text) == (batching == "continuous batching")


def test_the_librarys_continuous_batching_answers_as_plain_generate_does(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_engine, "merged_is_faster", lambda _: False)
    folder = with_frequent_end(gpt2, tmp_path / "model")
    prompts, limits, events = asyncio.run(answers(folder, 60))
    assert [tokens_of(answer) for answer in events] == plain_generate(folder, prompts, limits)


@pytest.mark.parametrize(
    "values",
    [
        {"repetition_penalty": 1.7, "min_new_tokens": 5},
        {"encoder_repetition_penalty": 1.5},
        {"use_cache": False},
    ],
)
def test_an_encoder_decoder_model_follows_its_generation_config_in_every_row(
    t5: Path, tmp_path: Path, values: dict[str, object]
) -> None:
    folder = with_generation_config(t5, tmp_path / "model", **values)
    prompts, limits, events = asyncio.run(answers(folder, 40))
    assert [tokens_of(answer) for answer in events] == plain_generate(folder, prompts, limits)


def test_each_answer_of_a_model_with_a_forced_last_token_has_it_at_its_own_limit(
    t5: Path, tmp_path: Path
) -> None:
    """BART-like models force the end token at the limit, which differs between the rows of a batch."""
    folder = tmp_path / "bart"
    torch.manual_seed(3)
    config = BartConfig(
        vocab_size=200,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=1,
        decoder_start_token_id=1,
        forced_eos_token_id=1,
        init_std=1.0,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((t5 / name).read_bytes())
    prompts, limits, events = asyncio.run(answers(folder, 40))
    assert [tokens_of(answer) for answer in events] == plain_generate(folder, prompts, limits)
