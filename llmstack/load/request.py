"""Sends one request of a load test and notes what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import SSEError, aconnect_sse

from llmstack.client import STREAM_END, AskError, check, error_message, parsed, retry_after
from llmstack.load.apis import LoadApi
from llmstack.load.prompts import Prompts
from llmstack.load.sample import Outcome, Sample


@dataclass(frozen=True)
class Request:
    """What every request asks for.

    Args:
        api: how the server is asked.
        prompts: where the prompts come from.
        max_new_tokens: most tokens of an answer.
        stream: whether answers are streamed.
        timeout: seconds after which an answer is given up.
    """

    api: LoadApi
    prompts: Prompts
    max_new_tokens: int
    stream: bool
    timeout: float

    def body(self) -> dict[str, Any]:
        """The JSON of one more request."""
        return self.api.body(self.prompts.next(), self.max_new_tokens, stream=self.stream)


class Sender:
    """Sends requests.

    Args:
        client: the HTTP client.
        request: what to ask for.
        trouble: what a tunnel on the way says when a connection breaks; None without one.
    """

    def __init__(
        self, client: httpx.AsyncClient, request: Request, trouble: Callable[[], str] | None = None
    ) -> None:
        self._client = client
        self._request = request
        self._trouble = trouble

    async def send(self, due: float, clock: Callable[[], float]) -> Sample:
        """Send one request and wait for its end.

        Args:
            due: when it should be sent.
            clock: seconds from the beginning of the step.
        """
        sample = Sample(due=due, sent=clock())
        try:
            # One limit for the whole of it; the HTTP client's would begin anew with every piece.
            async with asyncio.timeout(self._request.timeout):
                await (self._streamed if self._request.stream else self._whole)(sample, clock)
        except TimeoutError:
            sample.outcome, sample.detail = Outcome.TIMEOUT, f"no answer in {self._request.timeout:g} s"
        except (SSEError, AskError, LookupError, TypeError) as error:
            sample.outcome, sample.detail = (
                Outcome.REFUSED,
                f"not the answer of the deployment's server: {error}",
            )
        except httpx.HTTPError as error:
            sample.outcome = Outcome.DISCONNECTED
            said = self._trouble() if self._trouble is not None else ""
            sample.detail = said or str(error) or type(error).__name__
        sample.ended = clock()
        return sample

    async def _whole(self, sample: Sample, clock: Callable[[], float]) -> None:
        del clock
        api = self._request.api
        response = await self._client.post(api.path, json=self._request.body())
        if response.is_success:
            sample.tokens = api.tokens(parsed(response.text))
        else:
            _refused(sample, response)

    async def _streamed(self, sample: Sample, clock: Callable[[], float]) -> None:
        api = self._request.api
        async with aconnect_sse(self._client, "POST", api.path, json=self._request.body()) as source:
            if not source.response.is_success:
                await source.response.aread()
                _refused(sample, source.response)
                return
            async for event in source.aiter_sse():
                if event.data == STREAM_END:
                    break
                data = parsed(event.data)
                if "error" in data:
                    sample.outcome, sample.detail = Outcome.FAILED, error_message(data)
                    return
                brought = api.event(data)
                if brought.done:
                    sample.tokens = brought.tokens
                    return
                if brought.text:
                    sample.pieces.append(clock())
        sample.outcome, sample.detail = Outcome.DISCONNECTED, "the stream ended before the answer did"


def _refused(sample: Sample, response: httpx.Response) -> None:
    if response.status_code == 429:
        sample.outcome = Outcome.FULL
    else:
        sample.outcome = Outcome.FAILED if response.is_server_error else Outcome.REFUSED
    sample.pause = retry_after(response)
    try:
        check(response)
        sample.detail = f"{response.status_code}: a redirect"
    except AskError as error:
        sample.detail = str(error)
