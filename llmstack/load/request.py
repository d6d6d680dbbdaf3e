"""Sends one request of a load test and notes what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import SSEError, aconnect_sse

from llmstack.client import AskError, check, error_message, parsed, retry_after
from llmstack.load.prompts import Prompts
from llmstack.load.sample import Outcome, Sample

PATH = "/generate"


@dataclass(frozen=True)
class Request:
    """What every request asks for.

    Args:
        prompts: where the prompts come from.
        max_new_tokens: most tokens of an answer.
        stream: whether answers are streamed.
        timeout: seconds after which an answer is given up.
    """

    prompts: Prompts
    max_new_tokens: int
    stream: bool
    timeout: float

    def body(self) -> dict[str, Any]:
        """The JSON of one more request."""
        return {
            "prompt": self.prompts.next(),
            "max_new_tokens": self.max_new_tokens,
            "stream": self.stream,
        }


class Sender:
    """Sends requests.

    Args:
        client: the HTTP client.
        request: what to ask for.
    """

    def __init__(self, client: httpx.AsyncClient, request: Request) -> None:
        self._client = client
        self._request = request

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
        except (SSEError, AskError, KeyError, TypeError) as error:
            sample.outcome, sample.detail = Outcome.REFUSED, f"not the serving image's answer: {error}"
        except httpx.HTTPError as error:
            sample.outcome = Outcome.DISCONNECTED
            sample.detail = str(error) or type(error).__name__
        sample.ended = clock()
        return sample

    async def _whole(self, sample: Sample, clock: Callable[[], float]) -> None:
        del clock
        response = await self._client.post(PATH, json=self._request.body())
        if response.is_success:
            sample.tokens = parsed(response.text)["usage"]["generated_tokens"]
        else:
            _refused(sample, response)

    async def _streamed(self, sample: Sample, clock: Callable[[], float]) -> None:
        async with aconnect_sse(self._client, "POST", PATH, json=self._request.body()) as source:
            if not source.response.is_success:
                await source.response.aread()
                _refused(sample, source.response)
                return
            async for event in source.aiter_sse():
                data = parsed(event.data)
                if "error" in data:
                    sample.outcome, sample.detail = Outcome.FAILED, error_message(data)
                    return
                if data.get("done"):
                    sample.tokens = data["usage"]["generated_tokens"]
                    return
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
