"""What a client is told when something is wrong with its request."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from conftest import serving

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


def ask(run, settings, *requests: dict[str, object]) -> list[httpx.Response]:
    """The responses to several requests, sent one after the other to one server."""

    async def send() -> list[httpx.Response]:
        async with serving(settings) as (client, _):
            return [await client.request(**({"method": "POST", "url": "/generate"} | r)) for r in requests]

    return run(send())


@pytest.mark.parametrize(
    ("request_", "status", "code", "words"),
    [
        ({"json": {"prompt": ""}}, 422, "invalid_request", "prompt is empty"),
        ({"json": {"prompt": " \n"}}, 422, "invalid_request", "prompt is empty"),
        ({"json": {}}, 422, "invalid_request", "prompt: field required"),
        ({"json": {"prompt": 5}}, 422, "invalid_request", "prompt: input should be a valid string"),
        ({"json": ["prompt"]}, 422, "invalid_request", "should be an object"),
        ({"json": {"prompt": "a", "max_tokens": 5}}, 422, "invalid_request", "max_tokens: extra inputs"),
        (
            {"json": {"prompt": "a", "max_new_tokens": 0}},
            422,
            "invalid_request",
            "greater than or equal to 1",
        ),
        ({"json": {"prompt": "a", "max_new_tokens": 25}}, 422, "too_many_tokens", "the limit is 24"),
        ({"json": {"prompt": "a", "max_new_tokens": "5"}}, 422, "invalid_request", "valid integer"),
        ({"json": {"prompt": "a", "temperature": -1}}, 422, "invalid_request", "temperature"),
        ({"json": {"prompt": "a", "temperature": 0.001}}, 422, "invalid_request", "at least 0.01"),
        ({"json": {"prompt": "a", "temperature": 0, "do_sample": True}}, 422, "invalid_request", "greedy"),
        ({"json": {"prompt": "a", "temperature": 0, "top_k": 3}}, 422, "invalid_request", "top_p and top_k"),
        ({"json": {"prompt": "a", "top_p": 0.5, "do_sample": False}}, 422, "invalid_request", "do_sample"),
        ({"json": {"prompt": "a", "top_p": 1.5}}, 422, "invalid_request", "top_p"),
        ({"json": {"prompt": "a", "top_k": 0}}, 422, "invalid_request", "top_k"),
        ({"json": {"prompt": "a", "seed": -1}}, 422, "invalid_request", "seed"),
        ({"json": {"prompt": "a", "stop": [""]}}, 422, "invalid_request", "stop"),
        ({"json": {"prompt": "a", "stop": ["x"] * 9}}, 422, "invalid_request", "stop"),
        ({"json": {"prompt": "word " * 60}}, 422, "prompt_too_long", "the limit is 40"),
        ({"content": b"", "headers": JSON}, 400, "invalid_json", "not JSON"),
        ({"content": b'{"prompt": ', "headers": JSON}, 400, "invalid_json", "not JSON"),
        ({"content": b'{"prompt": NaN}', "headers": JSON}, 422, "invalid_request", "valid string"),
        ({"content": b'{"prompt": "\\ud800"}', "headers": JSON}, 400, "invalid_json", "not JSON"),
        ({"content": b'{"prompt": "\xff"}', "headers": JSON}, 400, "invalid_utf8", "byte 12"),
        ({"content": b"[" * 5000, "headers": JSON}, 400, "invalid_json", "not JSON"),
        ({"content": b"Tell me", "headers": TEXT}, 415, "unsupported_media_type", "application/json"),
        ({"content": b"{}", "headers": {}}, 415, "unsupported_media_type", "application/json"),
        (
            {"content": b"{}", "headers": JSON | {"Content-Encoding": "gzip"}},
            415,
            "unsupported_media_type",
            "unco",
        ),
        ({"url": "/predict", "content": b"", "headers": TEXT}, 422, "invalid_request", "prompt is empty"),
        ({"url": "/predict", "content": b"\xff\xfe", "headers": TEXT}, 400, "invalid_utf8", "byte 0"),
        (
            {"url": "/predict", "data": {"prompt": "a"}},
            415,
            "unsupported_media_type",
            "text/plain or application/json",
        ),
        (
            {"url": "/predict", "content": b"a", "headers": {"Content-Type": "text/plain; charset=latin-1"}},
            415,
            "unsupported_media_type",
            "UTF-8",
        ),
        (
            {"url": "/predict", "json": {"prompt": "a", "stream": True}},
            422,
            "invalid_request",
            "stream: extra",
        ),
        (
            {"url": "/predict", "content": b"a" * 80_000, "headers": TEXT},
            413,
            "body_too_large",
            "68096 bytes",
        ),
        ({"url": "/nowhere"}, 404, "not_found", "Not Found"),
        ({"url": "/predict/", "json": {"prompt": "a"}}, 404, "not_found", "Not Found"),
        ({"url": "/predict", "method": "GET"}, 405, "method_not_allowed", "Method Not Allowed"),
    ],
)
def test_a_bad_request_is_refused_with_a_clear_line(
    t5: Path, settings_for, run, request_: dict[str, object], status: int, code: str, words: str
) -> None:
    (response,) = ask(run, settings_for(t5), request_)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert words in error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize("content", ["", " ", "\n"])
def test_a_conversation_of_which_no_token_is_left_is_refused(
    staged: Path, settings_for, run, content: str
) -> None:
    messages = [{"role": "user", "content": content}]
    body = {"model": "owner/tiny", "messages": messages, "max_tokens": 2}
    (response,) = ask(run, settings_for(staged), {"url": "/v1/chat/completions", "json": body})
    assert response.status_code == 400
    assert "empty" in response.json()["error"]["message"]


def test_a_refusal_does_not_repeat_the_prompt(t5: Path, settings_for, run) -> None:
    (response,) = ask(
        run, settings_for(t5), {"json": {"prompt": "zebra", "max_new_tokens": -1, "top_p": "zebra"}}
    )
    assert response.status_code == 422
    assert "zebra" not in response.text


def test_the_limits_themselves_are_allowed(t5: Path, settings_for, run) -> None:
    settings = settings_for(t5)
    prompts = [{"json": {"prompt": "a" * n, "max_new_tokens": 24}} for n in range(1, 41)]
    responses = ask(run, settings, *prompts)
    longest = max(r.json()["usage"]["prompt_tokens"] for r in responses if r.status_code == 200)
    assert longest == settings.max_input_tokens
    assert {r.status_code for r in responses} == {200, 422}


def test_a_decoder_only_model_answers_within_its_context(gpt2: Path, settings_for, run) -> None:
    settings = settings_for(gpt2, max_input_tokens=1000, max_new_tokens=60)
    fits, too_many, too_long = ask(
        run,
        settings,
        {"json": {"prompt": "Tell me a joke about a cloud"}},
        {"json": {"prompt": "Tell me a joke about a cloud", "max_new_tokens": 60}},
        {"json": {"prompt": "Tell me a joke about a cloud " * 10}},
    )
    usage = fits.json()["usage"]
    assert usage["prompt_tokens"] + usage["generated_tokens"] == 64
    for refused in (too_many, too_long):
        assert refused.status_code == 422
        assert "context of 64 tokens" in refused.json()["error"]["message"]


def test_requests_after_refused_ones_are_answered(t5: Path, settings_for, run) -> None:
    refused = [{"json": {"prompt": "word " * 60}}] * 10
    *_, last = ask(run, settings_for(t5, max_queue=1), *refused, {"json": {"prompt": "Tell me"}})
    assert last.status_code == 200


def test_many_clients_at_once_are_all_answered_as_if_alone(staged: Path, settings_for, run) -> None:
    prompts = [f"Tell me a joke {n}" for n in range(16)]

    async def send() -> tuple[list[str], list[str]]:
        async with serving(settings_for(staged, max_queue=16)) as (client, _):

            async def answer(prompt: str) -> str:
                return (await client.post("/generate", json={"prompt": prompt})).json()["generated_text"]

            alone = [await answer(prompt) for prompt in prompts]
            return alone, await asyncio.gather(*(answer(prompt) for prompt in prompts))

    alone, together = run(send())
    assert together == alone
