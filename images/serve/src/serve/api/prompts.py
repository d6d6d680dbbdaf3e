"""From a request's prompt to token ids within the limits; nothing is cut unless the request says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from serve.engines.base import Capabilities, Engine, UnsupportedError
from serve.errors import ApiError

Truncate = Literal["never", "start", "end"]


def encode_chat(engine: Engine, capabilities: Capabilities, messages: Sequence[dict[str, str]]) -> list[int]:
    """The prompt of a conversation, by the model's own template.

    A model without one was not trained on conversations. A single message of the user's is then the prompt as
    it is; anything more has no form that such a model knows.

    Raises:
        ApiError: 422, the conversation has no form, or the message that is the prompt is empty.
    """
    if not capabilities.chat_template:
        if len(messages) == 1 and messages[0]["role"] == "user":
            if not messages[0]["content"].strip():
                raise ApiError(422, "invalid_request", "the message is empty", param="messages")
            return engine.encode(messages[0]["content"])
        message = "the model has no chat template: send one message of role user, or use /v1/completions"
        raise ApiError(422, "no_chat_template", message, param="messages")
    try:
        return engine.encode_chat(messages)
    except UnsupportedError as error:
        raise ApiError(422, "invalid_messages", str(error), param="messages") from None


def fit(ids: list[int], special: Sequence[int], limit: int, truncate: Truncate) -> list[int]:
    """The prompt within `limit` tokens.

    Args:
        ids: the prompt as tokens.
        special: the tokens of an empty prompt: those that the model expects around every prompt. They stay.
        limit: most tokens of a prompt.
        truncate: which end to cut.

    Raises:
        ApiError: 422, the prompt is too long and nothing may be cut, or nothing of it would be left.
    """
    if len(ids) <= limit:
        return ids
    before = next((n for n, (a, b) in enumerate(zip(ids, special, strict=False)) if a != b), len(special))
    after = len(special) - before
    inner = ids[before : len(ids) - after]
    room = limit - before - after
    if truncate == "never" or room < 1:
        message = f"the prompt has {len(ids)} tokens, the limit is {limit}; shorten it"
        raise ApiError(422, "prompt_too_long", message)
    kept = inner[-room:] if truncate == "start" else inner[:room]
    return ids[:before] + kept + ids[len(ids) - after :]


def new_tokens(prompt_tokens: int, wanted: int | None, most_new: int, context: int | None) -> int:
    """The number of new tokens that a request gets at most.

    Args:
        prompt_tokens: length of the prompt.
        wanted: what the request asks for; None for as many as there is room for.
        most_new: the server's limit.
        context: most tokens of prompt and answer together; None where the architecture sets no bound.

    Raises:
        ApiError: 422, the number is over a limit.
    """
    if wanted is not None and wanted > most_new:
        message = f"{wanted} new tokens are asked for, the limit is {most_new}: ask for fewer"
        raise ApiError(422, "too_many_tokens", message)
    room = most_new if context is None else context - prompt_tokens
    if room < (wanted or 1):
        message = (
            f"prompt ({prompt_tokens} tokens) and new tokens ({wanted or 1}) "
            f"exceed the model's context of {context} tokens"
        )
        raise ApiError(422, "context_exceeded", message)
    return wanted or min(room, most_new)
