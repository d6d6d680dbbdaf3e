"""What the models answer, against transformers' own `generate`."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import httpx
import torch
from conftest import SENTENCES, serving
from serve.settings import Settings
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer


def plain_generate(folder: Path, prompt: str, new_tokens: int) -> str:
    """The answer of a program that uses transformers directly."""
    decoder_only = not AutoConfig.from_pretrained(folder).is_encoder_decoder
    model = (AutoModelForCausalLM if decoder_only else AutoModelForSeq2SeqLM).from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=model.generation_config.eos_token_id if decoder_only else None,
        )[0]
    answer = ids[inputs["input_ids"].shape[1] :] if decoder_only else ids
    return tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def events_of(text: str) -> list[dict[str, object]]:
    """The data of a stream of server-sent events."""
    return [json.loads(block.removeprefix("data: ")) for block in text.split("\n\n") if block]


def random_prompts(count: int) -> list[str]:
    """Prompts of one to eight words, the same in every run."""
    words = " ".join(SENTENCES).split()
    chooser = random.Random(3)
    return [" ".join(chooser.sample(words, chooser.randint(1, 8))) for _ in range(count)]


def test_the_answer_is_that_of_plain_generate(
    staged: Path, settings_for: Callable[..., Settings], run
) -> None:
    prompts = random_prompts(12)

    async def ask() -> list[str]:
        async with serving(settings_for(staged)) as (client, _):
            answers = [
                await client.post("/generate", json={"prompt": p, "max_new_tokens": 16}) for p in prompts
            ]
            return [answer.json()["generated_text"] for answer in answers]

    expected = [plain_generate(staged, prompt, 16) for prompt in prompts]
    assert run(ask()) == expected
    assert len(set(expected)) > 3, "the models must tell prompts apart, or this test shows little"


def test_text_json_and_stream_give_the_same_answer(staged: Path, settings_for, run) -> None:
    async def ask(client: httpx.AsyncClient, prompt: str) -> int:
        text = await client.post("/predict", content=prompt, headers={"Content-Type": "text/plain"})
        json_ = await client.post("/predict", json={"prompt": prompt})
        whole = await client.post("/generate", json={"prompt": prompt})
        stream = await client.post("/generate", json={"prompt": prompt, "stream": True})
        *tokens, last = events_of(stream.text)
        assert text.headers["content-type"].startswith("text/plain")
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert json_.json() == {"generated_text": text.text}
        assert "".join(event["token"] for event in tokens) == last["generated_text"] == text.text
        assert last == {"done": True} | whole.json()
        return len(tokens)

    async def ask_all() -> list[int]:
        async with serving(settings_for(staged)) as (client, _):
            return [await ask(client, prompt) for prompt in random_prompts(6)]

    assert max(run(ask_all())) > 1, "a stream of one event streams nothing"


def test_usage_and_finish_reason_say_how_the_answer_ended(gpt2: Path, settings_for, run) -> None:
    async def ask() -> dict[str, object]:
        async with serving(settings_for(gpt2)) as (client, _):
            return (await client.post("/generate", json={"prompt": "Tell me", "max_new_tokens": 5})).json()

    answer = run(ask())
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    assert answer["usage"] == {
        "prompt_tokens": len(tokenizer("Tell me")["input_ids"]),
        "generated_tokens": 5,
        "truncated_tokens": 0,
    }
    assert answer["finish_reason"] == "length"
    assert answer["model"] == "owner/tiny"


def test_a_seed_repeats_a_random_answer_and_its_absence_does_not(staged: Path, settings_for, run) -> None:
    async def ask() -> list[list[str]]:
        async with serving(settings_for(staged)) as (client, _):

            async def answer(**more: object) -> str:
                body = {"prompt": "Tell me a joke", "temperature": 2.0, **more}
                return (await client.post("/generate", json=body)).json()["generated_text"]

            # Each unseeded request follows the same seeded one: a generator left as it was would show.
            rounds = [[await answer(seed=11), await answer()] for _ in range(3)]
            return [*rounds, [await answer(seed=12), await answer(do_sample=True)]]

    *rounds, other = run(ask())
    assert len({seeded for seeded, _ in rounds}) == 1
    assert len({unseeded for _, unseeded in rounds}) > 1
    assert other[0] != rounds[0][0]


def test_temperature_zero_is_greedy(gpt2: Path, settings_for, run) -> None:
    async def ask() -> list[str]:
        async with serving(settings_for(gpt2)) as (client, _):
            bodies = [{"prompt": "Tell me"}, {"prompt": "Tell me", "temperature": 0}]
            return [(await client.post("/predict", json=body)).json()["generated_text"] for body in bodies]

    greedy, zero = run(ask())
    assert greedy == zero


def test_a_stop_string_ends_the_answer_and_is_not_in_it(staged: Path, settings_for, run) -> None:
    async def ask() -> tuple[dict, dict, list]:
        async with serving(settings_for(staged)) as (client, _):
            prompt = {"prompt": SENTENCES[0]}
            whole = (await client.post("/generate", json=prompt)).json()
            middle = len(whole["generated_text"]) // 2
            stop = whole["generated_text"][middle : middle + 3]
            cut = (await client.post("/generate", json=prompt | {"stop": [stop, "never there"]})).json()
            stream = await client.post("/generate", json=prompt | {"stop": stop, "stream": True})
            assert stop in whole["generated_text"]
            return whole | {"stop": stop}, cut, events_of(stream.text)

    whole, cut, events = run(ask())
    assert cut["generated_text"] == whole["generated_text"].partition(whole["stop"])[0]
    assert cut["finish_reason"] == "stop"
    assert cut["usage"]["generated_tokens"] < whole["usage"]["generated_tokens"]
    assert "".join(event.get("token", "") for event in events) == cut["generated_text"]
