"""OpenAI's own client against a server process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from conftest import SENTENCES, write_manifest
from openai import OpenAI
from test_process import server
from transformers import AutoTokenizer

MODEL = "owner/tiny"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def environment_of(folder: Path) -> dict[str, str]:
    return os.environ | {
        "MODEL_PATH": str(folder),
        "MODEL_NAME": MODEL,
        "HOST": "127.0.0.1",
        "ENGINE": "transformers",
        "DTYPE": "float32",
        "MAX_INPUT_TOKENS": "40",
        "MAX_NEW_TOKENS": "24",
        "MAX_QUEUE": "8",
        "THREADS": "1",
    }


@pytest.fixture(scope="module")
def client(gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """The client of a server of a decoder-only model without a chat template."""
    with server(environment_of(gpt2), tmp_path_factory.mktemp("log") / "log") as (_, http):
        yield OpenAI(base_url=f"{http.base_url}/v1".replace("//v1", "/v1"), api_key="none", max_retries=0)


def test_the_model_is_listed_and_found_by_its_name(client: OpenAI) -> None:
    (listed,) = client.models.list().data
    assert (listed.id, listed.owned_by) == (MODEL, "owner")
    assert client.models.retrieve(MODEL) == listed
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-4")
    assert missing.value.code == "model_not_found"


def test_a_completion_counts_its_tokens_and_its_stream_is_the_same_text(client: OpenAI, gpt2: Path) -> None:
    asked = {"model": MODEL, "prompt": SENTENCES[0], "max_tokens": 12, "temperature": 0}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert whole.choices[0].text
    tokens = len(AutoTokenizer.from_pretrained(gpt2)(SENTENCES[0])["input_ids"])
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (tokens, 12)
    assert whole.usage.total_tokens == tokens + 12
    assert chunks[-1].usage == whole.usage
    assert not chunks[-1].choices
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 4, "a stream of one piece is no stream"


def test_several_prompts_and_choices_come_back_in_order(client: OpenAI) -> None:
    prompts = ["Tell me", "Wie alt", "naïve café"]
    asked = {"model": MODEL, "max_tokens": 6, "temperature": 0}
    alone = [client.completions.create(prompt=p, **asked) for p in prompts]
    together = client.completions.create(prompt=prompts, n=2, **asked)
    texts = [answer.choices[0].text for answer in alone]
    assert [choice.index for choice in together.choices] == list(range(6))
    assert [choice.text for choice in together.choices] == [text for text in texts for _ in range(2)]
    assert together.usage is not None
    assert together.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone if a.usage)
    streamed = [""] * 6
    for chunk in client.completions.create(prompt=prompts, n=2, stream=True, **asked):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == [choice.text for choice in together.choices]


def test_the_same_number_repeats_random_answers_that_differ_from_each_other(client: OpenAI) -> None:
    asked = {"model": MODEL, "prompt": "Tell me", "max_tokens": 12, "n": 3, "seed": 5, "temperature": 2}
    first, second = (client.completions.create(**asked) for _ in range(2))
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in second.choices]
    assert len(set(texts)) == 3


def test_a_stop_string_ends_a_completion(client: OpenAI) -> None:
    asked = {"model": MODEL, "prompt": SENTENCES[0], "max_tokens": 20, "temperature": 0}
    text = client.completions.create(**asked).choices[0].text
    stop = text[len(text) // 2 :][:3]
    cut = client.completions.create(**asked, stop=[stop]).choices[0]
    assert (cut.text, cut.finish_reason) == (text.partition(stop)[0], "stop")


def test_a_chat_without_a_template_takes_one_message_and_says_so_of_more(client: OpenAI) -> None:
    user = {"role": "user", "content": "Tell me"}
    asked = {"model": MODEL, "max_tokens": 6, "temperature": 0}
    chat = client.chat.completions.create(messages=[user], **asked)
    assert (
        chat.choices[0].message.content
        == client.completions.create(prompt="Tell me", **asked).choices[0].text
    )
    with pytest.raises(openai.BadRequestError, match="no chat template") as refused:
        client.chat.completions.create(messages=[{"role": "system", "content": "Be brief"}, user], **asked)
    assert (refused.value.code, refused.value.param) == ("no_chat_template", "messages")


def test_a_chat_is_the_completion_of_what_the_template_makes_of_it(gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    tokenizer.chat_template = TEMPLATE
    folder.mkdir()
    for file in gpt2.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer.save_pretrained(folder)
    write_manifest(folder)
    messages = [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Tell "}, {"type": "text", "text": "me"}]},
    ]
    asked = {"model": MODEL, "temperature": 0}
    with server(environment_of(folder), tmp_path / "log") as (_, http):
        client = OpenAI(base_url=str(http.base_url.join("/v1")), api_key="none", max_retries=0)
        chat = client.chat.completions.create(messages=messages, max_completion_tokens=9, **asked)
        prompt = "system: Be brief\nuser: Tell me\nassistant:"
        plain = client.completions.create(prompt=prompt, max_tokens=9, **asked)
        deltas = list(
            client.chat.completions.create(messages=messages, max_completion_tokens=9, stream=True, **asked)
        )
    assert chat.choices[0].message.content == plain.choices[0].text
    assert chat.usage == plain.usage
    assert deltas[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in deltas) == plain.choices[0].text
    assert deltas[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 25}, "the limit is 24"),
        ({"logprobs": 2}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"prompt": "word " * 60}, "the limit is 40"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": " "}, "prompt is empty"),
        ({"extra_body": {"unheard_of": 1}}, "unheard_of"),
    ],
)
def test_what_cannot_be_honoured_is_a_bad_request_that_names_it(
    client: OpenAI, more: dict[str, object], words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as refused:
        client.completions.create(**({"model": MODEL, "prompt": "a"} | more))  # type: ignore[call-overload]
    assert refused.value.type == "invalid_request_error"
    assert refused.value.request_id


def test_a_prompt_over_the_context_has_the_code_that_clients_look_for(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=MODEL, prompt="Tell me a joke about " * 20)
    assert refused.value.code == "context_length_exceeded"


def test_a_client_that_closes_a_stream_leaves_room_for_the_next(client: OpenAI) -> None:
    # More than the server holds at once: places that were not given back would make the last a 429.
    for _ in range(12):
        with client.completions.create(model=MODEL, prompt="Tell me", max_tokens=24, stream=True) as stream:
            next(iter(stream))
    assert client.completions.create(model=MODEL, prompt="Tell me", max_tokens=2).choices
