"""What CTranslate2 answers from within a batch, against transformers' `generate` of one prompt at a time."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import SENTENCES
from ctranslate2_models import agreement, converted, plain_t5, running
from running import ask, collect, plain_generate, random_prompts, text_of, tokens_of, with_generation_config
from serve.engines.base import FinishReason, GenerateRequest, TokenEvent, UnsupportedError
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration, T5Tokenizer

START = [0]
"""What answers begin with. Only transformers counts it as written; a trained model never writes it again."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=["gated", "plain"])
def checkpoint(request: pytest.FixtureRequest, t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of transformers: as flan-t5, then as t5-small."""
    return t5 if request.param == "gated" else plain_t5(t5, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def model(t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of them, staged."""
    return converted(t5, tmp_path_factory.mktemp("staged") / "float32")


async def burst(
    path: Path, count: int, **settings: Any
) -> tuple[list[Any], list[int], list[list[TokenEvent]]]:
    """Prompts, limits and what the engine answers when all arrive in bursts."""
    chooser = random.Random(1)
    async with running(path, max_batch=16, **settings) as engine:
        prompts = random_prompts(engine, count)  # type: ignore[arg-type]  it only encodes
        limits = [chooser.randint(1, 24) for _ in prompts]
        tasks = []
        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            tasks.append(asyncio.create_task(collect(engine.submit(GenerateRequest(str(i), prompt, limit)))))
            if chooser.random() < 0.1:
                await asyncio.sleep(0.01)
        return prompts, limits, list(await asyncio.gather(*tasks))


def with_frequent_end(checkpoint: Path, to: Path) -> Path:
    """A copy whose end tokens include some that the model likes, so that answers end at many lengths."""
    words = [[5 + i, 9 + 2 * i, 1] for i in range(20)]
    counts = Counter(
        token for answer in plain_generate(checkpoint, words, [24] * 20) for token in set(answer[2:])
    )
    common = [token for token, count in counts.most_common() if count <= 10][:4]
    return with_generation_config(checkpoint, to, eos_token_id=[1, *common])


def test_greedy_answers_of_200_prompts_in_mixed_batches_are_those_of_plain_generate(
    checkpoint: Path, tmp_path: Path
) -> None:
    source = with_frequent_end(checkpoint, tmp_path / "source")
    prompts, limits, events = asyncio.run(burst(converted(source, tmp_path / "staged"), 200))
    expected = plain_generate(source, prompts, limits)
    assert [tokens_of(answer) for answer in events] == expected
    assert len({tuple(answer) for answer in expected}) > 30, "the model must tell prompts apart"
    reasons = Counter(answer[-1].finish for answer in events)
    assert min(reasons[FinishReason.STOP], reasons[FinishReason.LENGTH]) > 10, reasons


def test_int8_agrees_with_float32_beyond_what_chance_would_give(
    checkpoint: Path, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Random weights have near ties everywhere, so this is far less than a trained model's agreement."""
    staged = converted(checkpoint, tmp_path / "int8", "int8")
    prompts, limits, events = asyncio.run(burst(staged, 60, dtype="int8"))
    share = agreement([tokens_of(answer) for answer in events], plain_generate(checkpoint, prompts, limits))
    record_property("agreement", share)
    print(f"int8 agrees with float32 in {share:.0%} of the tokens")
    assert share > 0.2


@pytest.mark.parametrize(
    "values",
    [
        {"min_new_tokens": 12, "eos_token_id": list(range(1, 60))},
        {"min_length": 9, "eos_token_id": list(range(1, 60))},
        {"no_repeat_ngram_size": 2, "suppress_tokens": START},
        {"repetition_penalty": 1.7, "suppress_tokens": START},
        {"suppress_tokens": [5, 20, 30, 40]},
        {"bad_words_ids": [[1], [65], [82, 82]]},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_the_generation_config_asks_for_is_done_as_transformers_does_it(
    t5: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    source = with_generation_config(t5, tmp_path / "source", **values)
    prompts, limits, events = asyncio.run(burst(converted(source, tmp_path / "staged"), 16))
    assert [tokens_of(answer) for answer in events] == plain_generate(source, prompts, limits)
    assert plain_generate(t5, prompts, limits) != plain_generate(source, prompts, limits)


def test_the_texts_of_all_events_joined_are_the_decoded_answer_in_any_script(model: Path) -> None:
    async def scenario() -> None:
        async with running(model) as engine:
            prompts = [*random_prompts(engine, 9), engine.encode("naïve café 東京 🙂")]  # type: ignore[arg-type]
            found = await ask(engine, *(GenerateRequest(str(i), p, 20) for i, p in enumerate(prompts)))
            for events in found:
                assert text_of(events) == engine.decode(tokens_of(events))
                assert [event.generated_tokens for event in events] == list(range(1, 21))
                assert [event.finish for event in events[:-1]] == [None] * 19
            assert any(not text_of(events).isascii() for events in found)

    asyncio.run(scenario())


def test_a_stop_string_ends_one_answer_and_leaves_its_batch_mates_alone(model: Path) -> None:
    async def scenario() -> None:
        async with running(model) as engine:
            prompt = engine.encode("Tell me a joke")
            (whole,) = await ask(engine, GenerateRequest("whole", prompt, 20))
            text = text_of(whole)
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


def test_sampled_and_greedy_requests_are_answered_together_each_in_its_own_way(model: Path) -> None:
    async def scenario() -> None:
        async with running(model) as engine:
            prompt = engine.encode("Tell me a joke")
            (greedy,) = await ask(engine, GenerateRequest("alone", prompt, 8))
            kinds: list[dict[str, Any]] = [
                {},
                {"do_sample": True, "temperature": 3.0},
                {"do_sample": True, "temperature": 1e-30},
                {"do_sample": True, "temperature": 3.0, "top_k": 1},
                {"do_sample": True, "temperature": 3.0, "top_p": 1e-6},
                {"do_sample": True, "top_k": 10**6},
            ]
            requests = [
                GenerateRequest(f"{kind}-{i}", prompt, 8, **values)
                for i in range(6)
                for kind, values in enumerate(kinds)
            ]
            found = [tokens_of(events) for events in await ask(engine, *requests)]
            by_kind = [found[kind :: len(kinds)] for kind in range(len(kinds))]
            for kind in (0, 2, 3, 4):
                assert by_kind[kind] == [tokens_of(greedy)] * 6
            for kind in (1, 5):
                assert len({tuple(answer) for answer in by_kind[kind]}) > 1

    asyncio.run(scenario())


def test_a_sampled_answer_cannot_be_repeated_and_a_greedy_one_needs_no_seed(model: Path) -> None:
    async def scenario() -> None:
        async with running(model) as engine:
            with pytest.raises(UnsupportedError, match=r"leave seed out.*ENGINE=transformers"):
                engine.submit(GenerateRequest("a", [5, 1], 3, do_sample=True, seed=7))
            (events,) = await ask(engine, GenerateRequest("a", [5, 1], 3, seed=7))
            assert len(tokens_of(events)) == 3

    asyncio.run(scenario())


def test_text_is_split_as_beside_t5_s_own_config_where_no_file_names_the_tokenizer_s_class(
    t5: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(t5, source)
    tokens = sorted(AutoTokenizer.from_pretrained(t5).get_vocab().items(), key=lambda item: item[1])
    scored = [(token, -float(number)) for token, number in tokens]
    extra = [(f"<extra_id_{number}>", -200.0) for number in reversed(range(100))]
    T5Tokenizer(vocab=[*scored, *extra]).save_pretrained(source)
    (source / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    # What T5's own class does not take from the file, and the library's general one does.
    file = source / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": "Lowercase"}}))
    model = T5ForConditionalGeneration(T5Config.from_pretrained(t5, vocab_size=len(scored) + 100))
    model.save_pretrained(source)
    expected = AutoTokenizer.from_pretrained(source)

    async def scenario() -> list[list[int]]:
        async with running(converted(source, tmp_path / "staged")) as engine:
            return [engine.encode(text) for text in SENTENCES]

    assert asyncio.run(scenario()) == [expected(text)["input_ids"] for text in SENTENCES]


def test_it_loads_and_answers_where_there_is_no_torch(model: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
sys.modules["torch"] = None  # importing it fails, as where it is not installed
from serve.engines.base import EngineSettings, GenerateRequest
from serve.engines.ctranslate2_engine import CTranslate2Engine
async def main():
    engine = CTranslate2Engine()
    engine.load(Path(sys.argv[1]), EngineSettings())
    stream = engine.submit(GenerateRequest("1", engine.encode("Tell me a joke"), 5))
    print([event.token_id async for event in stream], engine.close(30))
asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("torch.")]
"""
    done = subprocess.run([sys.executable, "-c", program, str(model)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    async def scenario() -> list[int]:
        async with running(model) as engine:
            return tokens_of((await ask(engine, GenerateRequest("1", engine.encode("Tell me a joke"), 5)))[0])

    assert done.stdout.strip() == f"{asyncio.run(scenario())} True"
    assert "PyTorch" not in done.stderr
