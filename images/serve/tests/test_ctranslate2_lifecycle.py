"""CTranslate2 under way: cancellation, deadlines, a full queue, failures, its end; and what does not load."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ctranslate2_models import converted, remade, running, with_values
from running import ask, collect, tokens_of
from serve.batching.answer import Answer
from serve.batching.inbox import Inbox
from serve.engines.base import (
    EngineSettings,
    EngineUnavailableError,
    FinishReason,
    GenerateRequest,
    GenerationFailedError,
)
from serve.engines.ctranslate2_engine import CTranslate2Engine
from serve.engines.ctranslate2_options import kind_of
from serve.engines.ctranslate2_worker import CTranslate2Worker
from test_engine_lifecycle import endless, until


@pytest.fixture(scope="module")
def model(t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged model."""
    return converted(t5, tmp_path_factory.mktemp("staged") / "float32")


def test_a_deadline_ends_an_answer_where_it_is_and_one_that_waits(model: Path) -> None:
    async def scenario() -> None:
        async with running(model, max_batch=1) as engine:
            prompt = engine.encode("Tell me a joke")
            soon = time.monotonic() + 0.5
            runs, waits = await ask(
                engine,
                GenerateRequest("runs", prompt, 10**6, deadline=soon),
                GenerateRequest("waits", prompt, 10**6, deadline=soon),
            )
            assert runs[-1].finish is waits[-1].finish is FinishReason.DEADLINE
            assert len(tokens_of(runs)) == runs[-1].generated_tokens > 0
            assert tokens_of(waits) == []

    asyncio.run(scenario())


def test_a_short_answer_overtakes_long_ones_that_began_before_it(model: Path) -> None:
    async def scenario() -> None:
        async with running(model) as engine:
            prompt = engine.encode("Tell me a joke")
            streams = [engine.submit(endless(str(i), prompt)) for i in range(6)]
            await asyncio.gather(*(anext(stream) for stream in streams))
            assert engine.now().running == 6
            (short,) = await ask(engine, GenerateRequest("short", prompt, 4))
            assert short[-1].finish is FinishReason.LENGTH
            assert engine.now().running == 6
            for stream in streams:
                await stream.aclose()

    asyncio.run(scenario())


def test_what_it_says_of_itself_is_what_it_did(model: Path) -> None:
    async def scenario() -> None:
        async with running(model, max_wait_seconds=1.0, max_batch=3) as engine:
            requests = [GenerateRequest(str(i), [5, 6, 7, 1], limit) for i, limit in enumerate((2, 5, 9))]
            assert sum(len(tokens_of(events)) for events in await ask(engine, *requests)) == 16
            await until(lambda: engine.now().tokens == 16)
            load = engine.now()
            assert (load.waiting, load.running, load.steps) == (0, 0, 9)

    asyncio.run(scenario())


@pytest.mark.parametrize("stage", ["start", "step"])
def test_a_failure_ends_the_requests_it_hits_and_no_others(
    model: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """A prompt with the token 7 makes the library fail, as one that is too much for the memory would."""

    def break_library(worker: CTranslate2Worker) -> None:
        whole = worker._translator

        class Fails:
            @staticmethod
            def translate_batch(source: list[list[str]], **options: Any) -> Any:
                if any(worker._vocabulary[7] in tokens for tokens in source):
                    if stage == "step":
                        whole.translate_batch(source, **options | {"max_decoding_length": 1})
                    raise MemoryError("no room")
                return whole.translate_batch(source, **options)

        monkeypatch.setattr(worker, "_translator", Fails)

    async def scenario() -> None:
        async with running(model) as engine:
            assert isinstance(engine._worker, CTranslate2Worker)
            break_library(engine._worker)
            good = GenerateRequest("good", [5, 6, 1], 3)
            for attempt in range(3):
                bad = engine.submit(GenerateRequest("bad", [7, 1], 3))
                # At the start each row is tried alone, so a mate of the bad one is answered.
                mates = [engine.submit(good)] if stage == "start" and attempt < 2 else []
                with pytest.raises(GenerationFailedError, match="no room"):
                    await collect(bad)
                for mate in mates:
                    assert len(tokens_of(await collect(mate))) == 3
                if attempt < 2:
                    assert len(tokens_of((await ask(engine, good))[0])) == 3
                assert engine.death is None

    asyncio.run(scenario())


def test_three_failures_in_a_row_end_the_engine(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with running(model) as engine:
            monkeypatch.setattr(engine._worker, "_translator", None)
            for _ in range(3):
                assert engine.death is None
                with pytest.raises(GenerationFailedError, match="translate_batch"):
                    await ask(engine, GenerateRequest("bad", [7, 1], 3))
            await until(lambda: engine.death is not None)
            assert "3 batches failed" in str(engine.death)
            with pytest.raises(EngineUnavailableError, match="translate_batch"):
                engine.submit(GenerateRequest("late", [5, 1], 2))

    asyncio.run(scenario())


def test_the_end_of_one_lane_ends_the_engine_and_what_runs_in_the_others(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a lane ended")

    async def scenario() -> None:
        async with running(model) as engine:
            long = engine.submit(endless("long", [5, 6, 1]))
            await anext(long)
            monkeypatch.setattr(engine._worker, "_answer", fail)
            other = engine.submit(GenerateRequest("other", [7, 1], 3))
            for stream in (long, other):
                with pytest.raises(EngineUnavailableError, match="no longer answers"):
                    await collect(stream)
            assert "a lane ended" in str(engine.death)

    asyncio.run(scenario())


def test_closing_gives_up_what_runs_and_what_waits(model: Path) -> None:
    async def scenario() -> None:
        async with running(model, max_batch=1) as engine:
            runs, waits = (engine.submit(endless(name, [5, 6, 1])) for name in ("runs", "waits"))
            await anext(runs)
            assert await asyncio.to_thread(engine.close, 30)
            for stream in (runs, waits):
                with pytest.raises(EngineUnavailableError, match="stopping"):
                    await collect(stream)
            with pytest.raises(EngineUnavailableError):
                engine.submit(GenerateRequest("late", [5, 1], 2))
            assert engine.death is None

    before = threading.active_count()
    asyncio.run(scenario())
    assert threading.active_count() <= before


def test_only_requests_of_one_kind_share_a_batch_and_the_most_urgent_chooses_it() -> None:
    inbox = Inbox(9)
    for i in range(6):
        request = GenerateRequest(str(i), [5, 1], 1, do_sample=i % 2 == 0, temperature=1.0 + i // 4)
        inbox.put(Answer(request, str, frozenset(), lambda _: None))
    taken = [[answer.request.id for answer in inbox.take(2, 99, kind=kind_of)] for _ in range(5)]
    assert taken == [["0", "2"], ["1", "3"], ["4"], ["5"], []]


def broken(model: Path, to: Path, how: str) -> Path:
    """A copy of a model with one thing wrong."""
    shutil.copytree(model, to)
    file = to / "model.bin"
    whole = file.read_bytes()
    if how == "no weights":
        file.unlink()
    elif how == "not weights":
        file.write_bytes(b"\xff" * len(whole))
    elif how == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "decoder-only":
        name = b"TransformerDecoderSpec\0"
        file.write_bytes(whole[:4] + len(name).to_bytes(2, "little") + name + whole[22:])
    elif how == "no vocabulary":
        (to / "shared_vocabulary.json").unlink()
    elif how == "other vocabulary":
        path = to / "shared_vocabulary.json"
        path.write_text(path.read_text().replace("</s>", "</S>"))
    elif how == "config":
        (to / "config.json").write_text("{")
    return remade(to)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no weights", r"model\.bin cannot be read: No such file"),
        ("not weights", r"model\.bin is damaged.*stage the model again"),
        ("cut", r"does not load: .*stage the model again"),
        ("decoder-only", r"TransformerDecoderSpec.*ENGINE=transformers"),
        ("no vocabulary", r"shared_vocabulary\.json cannot be read"),
        ("other vocabulary", r"token '</s>' is number 1 of the tokenizer and None"),
        ("config", r"config\.json is not JSON"),
    ],
)
def test_a_model_that_does_not_load_says_why_and_answers_nothing(
    model: Path, tmp_path: Path, how: str, words: str
) -> None:
    async def scenario() -> None:
        engine = CTranslate2Engine()
        with pytest.raises(ValueError, match=words):
            engine.load(broken(model, tmp_path / "model", how), EngineSettings())
        with pytest.raises(EngineUnavailableError):
            engine.submit(GenerateRequest("a", [1], 1))
        assert engine.close(1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"forced_bos_token_id": 5, "guidance_scale": 1},
            r"forced_bos_token_id=5, which CTranslate2 does not do",
        ),
        ({"encoder_repetition_penalty": 1.2}, r"encoder_repetition_penalty=1\.2.*ENGINE=transformers"),
        ({"max_time": 2.0, "stop_strings": []}, r"asks for max_time=2\.0, which"),
        ({"stop_strings": ["."]}, r"asks for stop_strings=\['\.'\], which"),
        ({"eos_token_id": None}, "gives no eos_token_id"),
        ({"decoder_start_token_id": 5}, "begins answers with"),
        ({"suppress_tokens": [10**6]}, "names token 1000000"),
    ],
)
def test_a_generation_config_that_cannot_be_followed_is_refused(
    model: Path, tmp_path: Path, values: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        CTranslate2Engine().load(with_values(model, tmp_path / "model", **values), EngineSettings())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "float64"}, r"DTYPE is 'float64'.*float32.*get_supported_compute_types"),
        ({"device": "cuda"}, "runs on the CPU, not on 'cuda'"),
    ],
)
def test_what_this_machine_cannot_compute_is_refused(model: Path, settings: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CTranslate2Engine().load(model, EngineSettings(**settings))
