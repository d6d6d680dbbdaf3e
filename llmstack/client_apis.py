"""Asking what is not the serving image itself: JetStream's HTTP front, vLLM, and endpoints of Vertex AI."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from llmstack.client import AskError, Deployment, check, parsed
from llmstack.client_chat import Chat, Message, Reply, Sampling, expected_form

WHOLE_ANSWERS = (
    "JetStream's HTTP front sends whole answers: nothing is shown before the last word; it makes at most 100 "
    "tokens unless --max-new-tokens says otherwise"
)
"""As github.com/GoogleCloudPlatform/ai-on-gke has it, in inference-servers/jetstream/http-server."""
COMPLETION_TOKENS = 256
"""Most tokens of a plain completion where nobody says; vLLM's own default is 16."""


def open_chat(deployment: Deployment, notice: Callable[[str], None]) -> Chat:
    """Gives what asks a deployment in its own API; to be closed.

    Args:
        deployment: the deployment.
        notice: is told why it takes longer.
    """
    kinds: dict[str, type[Chat]] = {
        "serving": Chat,
        "openai": VllmChat,
        "jetstream": JetStreamChat,
        "vertex": VertexChat,
    }
    return kinds[deployment.api](deployment, notice)


class VllmChat(Chat):
    """Asks vLLM; a model without a chat template gets a prompt as it is.

    https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    """

    _template: bool | None = None

    def remembers(self) -> bool:
        """Whether the model takes a conversation, that is, has a chat template; found out with one token."""
        if self._template is None:
            self._template = super().remembers()
        return self._template

    def reply(self, messages: Sequence[Message], sampling: Sampling, say: Callable[[str], None]) -> Reply:
        """The answer to a conversation, or to a plain prompt; `say` gets its pieces as they come."""
        if self.remembers():
            return super().reply(messages, sampling, say)
        fields = sampling.fields()
        body: dict[str, Any] = {
            "model": self.model(),
            "prompt": messages[-1]["content"],
            "max_tokens": fields.pop("max_completion_tokens", COMPLETION_TOKENS),
            **fields,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return self._patiently(
            lambda: self._told("/v1/completions", body, lambda choice: choice["text"], say)
        )

    def _lacks_template(self, refused: dict[str, Any]) -> bool:
        # vLLM says it in words alone, in `message` or, since 0.10, in `error.message`.
        error = refused.get("error", refused)
        return isinstance(error, dict) and "chat template" in str(error.get("message", "")).lower()


class JetStreamChat(Chat):
    """Asks JetStream's HTTP front, which takes a prompt and a number of tokens, and gives a text."""

    def __init__(self, deployment: Deployment, notice: Callable[[str], None]) -> None:
        super().__init__(deployment, notice)
        self._name = deployment.model
        self._told_once = False

    def model(self) -> str:
        """The name of the model that is served, as the stack says: the server does not tell."""
        return self._name

    def remembers(self) -> bool:
        """Whether the model takes a conversation: never, since the front takes a plain prompt."""
        return False

    def reply(self, messages: Sequence[Message], sampling: Sampling, say: Callable[[str], None]) -> Reply:
        """The answer to the last message; `say` gets it whole.

        Raises:
            AskError: the deployment refused, or cannot do what `sampling` says.
            httpx.HTTPError: it cannot be reached.
        """
        _check_greedy(sampling)
        if not self._told_once:
            self._told_once = True
            self._notice(WHOLE_ANSWERS)
        body: dict[str, Any] = {"prompt": messages[-1]["content"]}
        if sampling.max_new_tokens is not None:
            body["max_tokens"] = sampling.max_new_tokens
        began = time.monotonic()
        text = self._patiently(lambda: self._whole(body))
        say(text)
        return Reply(self._name, text, None, None, None, time.monotonic() - began, None)

    def _whole(self, body: dict[str, Any]) -> str:
        response = self._client.post("/generate", json=body)
        check(response)
        with expected_form():
            return str(parsed(response.text)["response"])


class VertexChat(Chat):
    """Asks an endpoint of Vertex AI, which hands a prompt to its container and gives back a whole prediction.

    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict
    """

    def __init__(self, deployment: Deployment, notice: Callable[[str], None]) -> None:
        super().__init__(deployment, notice)
        self._name, self._path = deployment.model, deployment.path

    def model(self) -> str:
        """The name of the model that is served, as the stack says: an endpoint does not tell."""
        return self._name

    def remembers(self) -> bool:
        """Whether the model takes a conversation: never, since an instance is a plain prompt."""
        return False

    def reply(self, messages: Sequence[Message], sampling: Sampling, say: Callable[[str], None]) -> Reply:
        """The answer to the last message; `say` gets it whole.

        Raises:
            AskError: the deployment refused.
            httpx.HTTPError: it cannot be reached.
        """
        body = {"instances": [{"prompt": messages[-1]["content"]}], "parameters": _parameters(sampling)}
        began = time.monotonic()
        text = self._patiently(lambda: self._whole(body))
        say(text)
        return Reply(self._name, text, None, None, None, time.monotonic() - began, None)

    def _whole(self, body: dict[str, Any]) -> str:
        response = self._client.post(self._path, json=body)
        check(response)
        with expected_form():
            return str(parsed(response.text)["predictions"][0])


def _parameters(sampling: Sampling) -> dict[str, Any]:
    """The parameters of a request as both containers take them; TorchServe has no stop texts, and says so."""
    given = {name: value for name, value in asdict(sampling).items() if value not in (None, ())}
    # Greedy is what both do unasked; as a temperature, TorchServe does not take it.
    return given if given.get("temperature") != 0 else {k: v for k, v in given.items() if k != "temperature"}


def _check_greedy(sampling: Sampling) -> None:
    """Refuses what the front has no field for: how a token is drawn is decided when the server starts."""
    asked = {
        "temperature": sampling.temperature,
        "top-p": sampling.top_p,
        "top-k": sampling.top_k,
        "seed": sampling.seed,
        "stop": sampling.stop or None,
    }
    given = [
        name for name, value in asked.items() if value is not None and (name, value) != ("temperature", 0)
    ]
    if given:
        raise AskError(
            f"JetStream's HTTP front takes a prompt and --max-new-tokens alone: leave out {', '.join(given)}"
        )
