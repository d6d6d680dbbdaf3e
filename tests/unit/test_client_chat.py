"""Asking a deployment: what is sent, what is waited for, what a failure says."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response

from llmstack import client_patience
from llmstack.client import AskError, BusyError, Deployment
from llmstack.client_chat import Chat, Sampling, user
from tests.unit.scripted_serving import MODEL, Script, refusal, serving


@pytest.fixture
def script() -> Iterator[Script]:
    """A running server's script."""
    with serving(Script()) as running:
        yield running


@pytest.fixture
def notices() -> list[str]:
    """What was said beside answers."""
    return []


@pytest.fixture
def chat(script: Script, notices: list[str]) -> Iterator[Chat]:
    """The server, asked without a token."""
    with Chat(Deployment(script.url, None), notices.append) as asked:
        yield asked


def ask(chat: Chat, sampling: Sampling | None = None) -> str:
    return chat.reply([user("Hi")], sampling or Sampling(), lambda _: None).text


def test_an_answer_is_said_piece_by_piece_and_comes_with_its_figures(chat: Chat) -> None:
    pieces: list[str] = []
    reply = chat.reply([user("Hi")], Sampling(), pieces.append)
    assert pieces == ["Hello", ", ", "world"]
    assert (reply.text, reply.model, reply.finish_reason) == ("Hello, world", MODEL, "stop")
    assert (reply.prompt_tokens, reply.generated_tokens) == (2, 3)
    assert reply.first_token_seconds is not None
    assert 0 < reply.first_token_seconds <= reply.seconds
    assert reply.line().startswith(f"{MODEL}: 2 tokens in, 3 out in ")


def test_an_answer_that_was_cut_says_so(chat: Chat) -> None:
    reply = chat.reply([user("Hi")], Sampling(max_new_tokens=3), lambda _: None)
    assert reply.line().endswith("cut at the limit of new tokens")


def test_without_sampling_the_request_is_greedy_although_the_route_s_default_is_not(
    chat: Chat, script: Script
) -> None:
    ask(chat)
    ask(chat, Sampling(max_new_tokens=9, top_k=5, seed=1, stop=("a", "b")))
    plain, sampled = script.bodies
    assert plain["temperature"] == 0
    assert plain.keys() == {"model", "messages", "temperature", "stream", "stream_options"}
    assert "temperature" not in sampled
    assert sampled.items() >= {"max_completion_tokens": 9, "top_k": 5, "seed": 1, "stop": ["a", "b"]}.items()


@pytest.mark.parametrize("template", [True, False])
def test_whether_a_model_takes_conversations_is_found_out(chat: Chat, script: Script, template: bool) -> None:
    script.template = template
    assert chat.remembers() is template
    assert script.bodies[0]["max_completion_tokens"] == 1


def test_a_busy_or_loading_deployment_is_waited_for_as_long_as_it_asks_and_the_user_told(
    chat: Chat, script: Script, notices: list[str]
) -> None:
    script.refusals.extend(
        [refusal(429, "all places are taken", retry_after="0"), refusal(503, "loading", retry_after="0")]
    )
    assert ask(chat) == "Hello, world"
    assert notices == [
        "429: all places are taken; trying again in 0 s",
        "503: loading; trying again in 0 s",
    ]
    assert len(script.bodies) == 3


@pytest.mark.parametrize("told", ["100000", None])
def test_patience_ends_and_the_last_refusal_is_the_error(
    chat: Chat, script: Script, monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    monkeypatch.setattr(client_patience, "PATIENCE_SECONDS", 0.5)
    script.refusals.extend(refusal(429, "all places are taken", retry_after=told) for _ in range(9))
    with pytest.raises(BusyError, match=r"^429: all places are taken$"):
        ask(chat)
    assert len(script.bodies) == 1


def test_a_refusal_is_one_line_with_the_server_s_own_words(chat: Chat, script: Script) -> None:
    script.refusals.append(refusal(400, "the prompt has 600 tokens, the limit is 512; shorten it"))
    with pytest.raises(AskError, match=r"^400: the prompt has 600 tokens, the limit is 512; shorten it$"):
        ask(chat)


def test_a_page_before_the_server_is_cut_down_to_one_line(chat: Chat, script: Script) -> None:
    script.refusals.append(PlainTextResponse("<html>\n<h1>Not\nFound</h1>" + "x" * 999, 404))
    with pytest.raises(AskError) as caught:
        ask(chat)
    assert str(caught.value).startswith("404: Not Found xxx")
    assert len(str(caught.value)) < 320


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_call_is_told_what_to_do(chat: Chat, script: Script, status: int) -> None:
    script.refusals.append(Response(status_code=status))
    with pytest.raises(AskError, match=r"run gcloud auth login.*roles/run\.invoker.*pulumi up"):
        ask(chat)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (Response("<p>Sign in</p>", media_type="text/event-stream"), "broke off"),
        (Response("data: <p>Sign in\n\n", media_type="text/event-stream"), "it sent: 'Sign in'"),
        (Response("data: {}\n\n", media_type="text/event-stream"), "its answer has no 'choices'"),
    ],
)
def test_something_else_that_answers_is_not_taken_for_the_serving_image(
    chat: Chat, script: Script, page: Response, words: str
) -> None:
    script.refusals.append(page)
    with pytest.raises(AskError, match=words):
        ask(chat)


@pytest.mark.parametrize(("cut", "words"), [("error", ": the model failed"), ("end", " before its end")])
def test_an_answer_that_breaks_off_is_an_error_and_not_tried_again(
    chat: Chat, script: Script, cut: str, words: str
) -> None:
    script.cut = cut
    pieces: list[str] = []
    with pytest.raises(AskError, match=f"^the answer broke off{words}$"):
        chat.reply([user("Hi")], Sampling(), pieces.append)
    assert pieces == ["Hello"]
    assert len(script.bodies) == 1


def test_a_client_that_stops_listening_is_noticed_by_the_server(chat: Chat, script: Script) -> None:
    script.pieces, script.gap = ("a",) * 1000, 0.02

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.reply([user("Hi")], Sampling(), interrupted)
    assert script.left.wait(30)
    # The same client goes on to be used.
    script.pieces, script.gap = ("b",), 0.0
    assert ask(chat) == "b"


def test_an_expired_token_is_renewed_once(script: Script) -> None:
    script.accepted = "fresh"
    renewals: list[str] = []

    def renew() -> str:
        renewals.append("fresh")
        return "fresh"

    with Chat(Deployment(script.url, "stale", renew), print) as chat:
        assert ask(chat) == ask(chat) == "Hello, world"
    assert renewals == ["fresh"]
    script.accepted = "another"
    with Chat(Deployment(script.url, "stale", renew), print) as chat, pytest.raises(AskError, match=r"^401"):
        chat.model()
    assert len(renewals) == 2


@pytest.mark.parametrize("another", ["stale", None])
def test_a_renewal_in_vain_is_not_repeated_for_every_request(another: str | None, script: Script) -> None:
    script.accepted = "fresh"
    renewals: list[str | None] = []

    def renew() -> str | None:
        renewals.append(another)
        return another

    with Chat(Deployment(script.url, "stale", renew), print) as chat:
        for _ in range(3):
            with pytest.raises(AskError, match=r"^401"):
                chat.model()
    assert renewals == [another]


def test_the_server_s_own_route_answers_whole_and_as_a_stream(script: Script) -> None:
    deployment = Deployment(script.url, None)
    assert deployment.generate("Hi", 5)["generated_text"] == "Hello, world"
    assert list(deployment.stream("Hi")) == ["Hello", ", ", "world"]
    assert script.bodies == [
        {"prompt": "Hi", "stream": False, "max_new_tokens": 5},
        {"prompt": "Hi", "stream": True},
    ]


@pytest.mark.parametrize(
    "wrong", [{"temperature": float("nan")}, {"top_p": float("inf")}, {"stop": ("\udcff",)}]
)
def test_a_value_that_cannot_be_sent_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"finite number|UTF-8"):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_an_answer_that_breaks_off_behind_a_tunnel_is_told_in_the_tunnel_s_words() -> None:
    with serving(Script(cut="connection")) as script:
        pieces = Deployment(script.url, None, trouble=lambda: "the pod is gone").stream("Hi")
        assert next(pieces) == "Hello"
        with pytest.raises(httpx.ConnectError, match="the pod is gone"):
            next(pieces)
