"""Answers with their figures from a deployment, by the chat route of the serving image.

`llmstack.client_apis` has the servers that are not the serving image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, TypeVar

from llmstack.client import AskError, Deployment, broke_off, check, events, parsed
from llmstack.client_patience import patiently

NO_TEMPLATE = "no_chat_template"
"""The serving image's code for a conversation with a model that knows none."""

Message = dict[str, str]
T = TypeVar("T")


@dataclass(frozen=True)
class Sampling:
    """How to answer. What is None is the deployment's default; without any randomness asked for, greedy.

    Args:
        max_new_tokens: most tokens to answer with.
        temperature: 0 for greedy.
        top_p: draw from the likeliest tokens of this mass.
        top_k: draw from this many likeliest tokens.
        seed: makes a random answer repeatable.
        stop: texts that end the answer.

    Raises:
        ValueError: a value that cannot be sent at all. Which values make sense is the deployment's to say.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p"):
            if not math.isfinite(getattr(self, name) or 0.0):
                raise ValueError(f"{name.replace('_', '-')} must be a finite number")
        if not all(sendable(each) for each in self.stop):
            raise ValueError("stop is not UTF-8 text")

    def fields(self) -> dict[str, Any]:
        """The fields of a request to OpenAI's routes, whose default temperature is 1."""
        fields = asdict(self)
        fields["max_completion_tokens"] = fields.pop("max_new_tokens")
        if (self.temperature, self.top_p, self.top_k) == (None, None, None):
            fields["temperature"] = 0.0
        return {name: value for name, value in fields.items() if value not in (None, ())}


@dataclass(frozen=True)
class Reply:
    """A complete answer.

    Args:
        model: the name that the deployment gives its model.
        text: the answer.
        finish_reason: `stop` or `length`; None where the server does not say.
        prompt_tokens: tokens of the prompt; None where the server does not say.
        generated_tokens: tokens of the answer; None where the server does not say.
        seconds: from the request to the answer's end.
        first_token_seconds: from the request to the first text; None where there was none.
    """

    model: str
    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    generated_tokens: int | None
    seconds: float
    first_token_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """The fields of the serving image's own `/generate`, and the times."""
        return {
            "model": self.model,
            "generated_text": self.text,
            "finish_reason": self.finish_reason,
            "usage": {"prompt_tokens": self.prompt_tokens, "generated_tokens": self.generated_tokens},
            "seconds": round(self.seconds, 4),
            "first_token_seconds": _rounded(self.first_token_seconds),
        }

    def line(self) -> str:
        """The figures for a person."""
        first = ""
        if self.first_token_seconds is not None:
            first = f", first after {self.first_token_seconds:.2f} s"
        cut = "; cut at the limit of new tokens" if self.finish_reason == "length" else ""
        if self.generated_tokens is None:
            return f"{self.model}: answered in {self.seconds:.2f} s{first}; its server counts no tokens"
        rate = self.generated_tokens / self.seconds if self.seconds else 0.0
        return (
            f"{self.model}: {self.prompt_tokens} tokens in, {self.generated_tokens} out in "
            f"{self.seconds:.2f} s ({rate:.1f} tokens/s{first}){cut}"
        )


class Chat:
    """Asks one deployment; waits for it while it is busy or loading.

    Args:
        deployment: the deployment.
        notice: is told why it takes longer.
    """

    def __init__(self, deployment: Deployment, notice: Callable[[str], None]) -> None:
        self._client = deployment.client()
        self._notice = notice
        self._model: str | None = None

    def __enter__(self) -> Chat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def model(self) -> str:
        """The name of the model that is served.

        Raises:
            AskError: the deployment refused.
            httpx.HTTPError: it cannot be reached.
        """
        if self._model is None:
            with expected_form():
                name: str = self._patiently(lambda: self._get("/v1/models"))["data"][0]["id"]
            self._model = name
        return self._model

    def remembers(self) -> bool:
        """Whether the model takes a conversation, that is, has a chat template; found out with one token.

        Raises:
            AskError: the deployment refused.
            httpx.HTTPError: it cannot be reached.
        """
        turns = [_message("user", "Hello"), _message("assistant", "Hello"), _message("user", "Hello")]
        body = self._request(turns, Sampling(max_new_tokens=1))

        def probe() -> bool:
            response = self._client.post("/v1/chat/completions", json=body)
            if response.status_code == 400 and self._lacks_template(parsed(response.text)):
                return False
            check(response)
            return True

        return self._patiently(probe)

    def reply(self, messages: Sequence[Message], sampling: Sampling, say: Callable[[str], None]) -> Reply:
        """The answer to a conversation; `say` gets its pieces as they come.

        A model without a chat template answers a single message of the user's as a plain prompt.

        Raises:
            AskError: the deployment refused, or broke off.
            httpx.HTTPError: it cannot be reached.
        """
        body = self._request(messages, sampling)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        # A refusal comes before the first piece, so nothing is ever said twice.
        return self._patiently(lambda: self._stream(body, say))

    def _stream(self, body: dict[str, Any], say: Callable[[str], None]) -> Reply:
        return self._told("/v1/chat/completions", body, lambda choice: choice["delta"].get("content"), say)

    def _told(
        self,
        path: str,
        body: dict[str, Any],
        text: Callable[[dict[str, Any]], str | None],
        say: Callable[[str], None],
    ) -> Reply:
        """Asks one of OpenAI's routes for a stream; `text` gives what a choice of an event adds."""
        pieces: list[str] = []
        first, finish, usage = None, None, {"prompt_tokens": 0, "completion_tokens": 0}
        began = time.monotonic()
        with expected_form():
            for data in events(self._client, path, body):
                usage = data.get("usage") or usage
                for choice in data["choices"]:
                    finish = choice["finish_reason"] or finish
                    if piece := text(choice):
                        first = time.monotonic() - began if first is None else first
                        pieces.append(piece)
                        say(piece)
        if finish is None:
            raise broke_off()
        return Reply(
            model=body["model"],
            text="".join(pieces),
            finish_reason=finish,
            prompt_tokens=usage["prompt_tokens"],
            generated_tokens=usage["completion_tokens"],
            seconds=time.monotonic() - began,
            first_token_seconds=first,
        )

    def _lacks_template(self, refused: dict[str, Any]) -> bool:
        """Whether a refusal says that the model knows no conversations."""
        error = refused.get("error")
        return isinstance(error, dict) and error.get("code") == NO_TEMPLATE

    def _request(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        return {"model": self.model(), "messages": list(messages), **sampling.fields()}

    def _get(self, path: str) -> dict[str, Any]:
        response = self._client.get(path)
        check(response)
        return parsed(response.text)

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, self._notice)


def sendable(text: str) -> bool:
    """Whether a text can be sent: bytes that were no UTF-8 are in it as lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def user(text: str) -> Message:
    """A message of the user's."""
    return _message("user", text)


def assistant(text: str) -> Message:
    """A message of the model's."""
    return _message("assistant", text)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


@contextmanager
def expected_form() -> Iterator[None]:
    """Turns what reading a strange answer raises into an error for a person.

    Raises:
        AskError: the answer is not of the expected form.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise AskError(f"what answers is not the deployment's server: its answer has no {error}") from error


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
