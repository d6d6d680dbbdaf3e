"""What the requests and answers of a load test look like, for each kind of server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from llmstack.client import AskError, Deployment, check, parsed


@dataclass(frozen=True)
class Event:
    """What an event of a streamed answer brings.

    Args:
        text: whether there is more of the answer.
        done: whether the answer is complete.
        tokens: tokens of the whole answer, where the event says.
    """

    text: bool
    done: bool = False
    tokens: int | None = None


class LoadApi(ABC):
    """One kind of server's way to be asked for a completion; greedy, the prompt as it is."""

    path: str
    """Where requests go."""
    streams = True
    """Whether answers can be streamed."""
    model = ""
    """What the deployment serves; empty where its answers say it."""

    @abstractmethod
    def body(self, prompt: str, max_new_tokens: int, *, stream: bool) -> dict[str, Any]:
        """The JSON of a request."""

    @abstractmethod
    def tokens(self, answer: dict[str, Any]) -> int | None:
        """The tokens of a whole answer; None where the server does not count them.

        Raises:
            LookupError, TypeError: it is not this server's answer.
        """

    def event(self, data: dict[str, Any]) -> Event:
        """What an event of a stream brings.

        Raises:
            LookupError, TypeError: it is not this server's event.
        """
        raise NotImplementedError


class ServingApi(LoadApi):
    """The serving image's own route."""

    path = "/generate"

    def body(self, prompt: str, max_new_tokens: int, *, stream: bool) -> dict[str, Any]:
        """The JSON of a request."""
        return {"prompt": prompt, "max_new_tokens": max_new_tokens, "stream": stream}

    def tokens(self, answer: dict[str, Any]) -> int | None:
        """The tokens of a whole answer."""
        tokens: int = answer["usage"]["generated_tokens"]
        return tokens

    def event(self, data: dict[str, Any]) -> Event:
        """What an event of a stream brings."""
        if data.get("done"):
            return Event(text=False, done=True, tokens=self.tokens(data))
        return Event(text=True)


class OpenAiApi(LoadApi):
    """vLLM's route for plain completions.

    Args:
        model: the name that it serves the model by.
    """

    path = "/v1/completions"

    def __init__(self, model: str) -> None:
        self.model = model

    def body(self, prompt: str, max_new_tokens: int, *, stream: bool) -> dict[str, Any]:
        """The JSON of a request."""
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        asked = {"model": self.model, "prompt": prompt, "max_tokens": max_new_tokens, "temperature": 0}
        return {**asked, "stream": stream, **usage}

    def tokens(self, answer: dict[str, Any]) -> int | None:
        """The tokens of a whole answer."""
        tokens: int = answer["usage"]["completion_tokens"]
        return tokens

    def event(self, data: dict[str, Any]) -> Event:
        """What an event of a stream brings; the last one has no choice."""
        if not data["choices"]:
            return Event(text=False, done=True, tokens=self.tokens(data))
        return Event(text=bool(data["choices"][0]["text"]))


class JetStreamApi(LoadApi):
    """JetStream's HTTP front, which neither streams nor counts tokens.

    Args:
        model: what it serves, as the stack says.
    """

    path = "/generate"
    streams = False

    def __init__(self, model: str) -> None:
        self.model = model

    def body(self, prompt: str, max_new_tokens: int, *, stream: bool) -> dict[str, Any]:
        """The JSON of a request."""
        del stream
        return {"prompt": prompt, "max_tokens": max_new_tokens}

    def tokens(self, answer: dict[str, Any]) -> int | None:
        """None; that there is an answer is checked."""
        answer["response"]
        return None


class VertexApi(LoadApi):
    """Predictions of an endpoint of Vertex AI, which are whole and count no tokens.

    Args:
        path: where its predictions are asked for.
        model: what it serves, as the stack says.
    """

    streams = False

    def __init__(self, path: str, model: str) -> None:
        self.path = path
        self.model = model

    def body(self, prompt: str, max_new_tokens: int, *, stream: bool) -> dict[str, Any]:
        """The JSON of a request."""
        del stream
        return {"instances": [{"prompt": prompt}], "parameters": {"max_new_tokens": max_new_tokens}}

    def tokens(self, answer: dict[str, Any]) -> int | None:
        """None; that there is a prediction is checked."""
        answer["predictions"][0]
        return None


def load_api(deployment: Deployment) -> LoadApi:
    """Finds how a deployment is asked.

    Raises:
        AskError: it refused to say what it serves.
        httpx.HTTPError: it cannot be reached.
    """
    if deployment.api == "serving":
        return ServingApi()
    if deployment.api == "jetstream":
        return JetStreamApi(deployment.model)
    if deployment.api == "vertex":
        return VertexApi(deployment.path, deployment.model)
    with deployment.client() as client:
        response = client.get("/v1/models")
    check(response)
    try:
        return OpenAiApi(str(parsed(response.text)["data"][0]["id"]))
    except (KeyError, IndexError, TypeError) as error:
        raise AskError(f"what answers is not the deployment's server: its models have no {error}") from error


def first_answer(deployment: Deployment, api: LoadApi, prompt: str, max_new_tokens: int) -> str:
    """Asks once, and gives the name of the model that answered.

    Raises:
        AskError: the deployment refused.
        httpx.HTTPError: it cannot be reached.
    """
    with deployment.client() as client:
        response = client.post(api.path, json=api.body(prompt, max_new_tokens, stream=False))
    check(response)
    answer = parsed(response.text)
    try:
        api.tokens(answer)
    except (LookupError, TypeError) as error:
        raise AskError(f"what answers is not the deployment's server: its answer has no {error}") from error
    return api.model or str(answer.get("model", "unknown model"))
