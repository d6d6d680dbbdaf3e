"""The interface of every engine, and what goes in and comes out.

An engine owns one model on one thread (or process) of its own. The HTTP side, on its event loop, loads it
once, submits requests and reads each one's events:

    capabilities = await asyncio.to_thread(engine.load, path, settings)
    stream = engine.submit(GenerateRequest(id="1", prompt_ids=engine.encode("Hello"), max_new_tokens=16))
    async for event in stream:
        ...                       # event.text; the last one has event.finish
    await stream.aclose()         # at any time, from any state: stops the work on this request

Importing this module imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model's end token, or one of the request's stop strings."""
    LENGTH = "length"
    """The request's limit of new tokens."""
    CANCELLED = "cancelled"
    """`cancel` or `aclose` was called."""
    DEADLINE = "deadline"
    """The request's deadline passed; the text so far has been delivered."""


class EngineError(Exception):
    """Base of what an engine raises; the message names what is wrong and what would be right."""


class ModelError(EngineError, ValueError):
    """The staged model cannot be served: a file is missing, damaged or does not fit the others. One line."""


class EngineUnavailableError(EngineError):
    """The engine is not loaded, is stopping or has died: nothing can be submitted, what waits is given up."""


class QueueFullError(EngineError):
    """As many requests wait as `EngineSettings.max_waiting` allows: ask again later."""


class UnsupportedError(EngineError):
    """This engine or model cannot do it, for instance answer with more tokens than the context has."""


class GenerationFailedError(EngineError):
    """The model failed on this request; others are not affected."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How to run the model on this machine."""

    dtype: str = "float32"
    """Element type to compute in, as torch names it."""
    threads: int = 1
    """Threads of one forward pass on the CPU."""
    device: str | None = None
    """Torch's name of the device; None takes the GPU where there is one."""
    max_batch: int = 32
    """Most requests that run at once."""
    max_batch_tokens: int = 16_384
    """Most prompt tokens, padding included, that one batch starts with; bounds memory."""
    max_waiting: int = 256
    """Most requests that wait for a place in a batch."""
    max_wait_seconds: float = 0.005
    """Longest time that an idle engine lets a single request wait for others to share its batch."""
    prefill_tokens: int = 512
    """Prompt tokens of decoder-only models that are read at most between two tokens of answers that run. The
    library's continuous batching reads a longer prompt in several steps; else one prompt is read whole."""
    cache_tokens: int = 16_384
    """Tokens of prompts and answers together that are kept at once for a decoder-only model; requests that do
    not fit wait. Padding comes on top where batches are merged."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is known of a model once it is loaded."""

    kind: Literal["encoder-decoder", "decoder-only"]
    batching: Literal["dynamic", "continuous"]
    """`dynamic`: requests join as batches; `continuous`: each joins and leaves a running batch by itself."""
    parameters: int
    """Number of weights."""
    device: str
    dtype: str
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    context_tokens: int | None
    """Most tokens of prompt and answer together; None where the architecture sets no bound."""
    chat_template: bool
    """Whether `encode_chat` works."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One prompt and how it is to be answered. Values are checked: a wrong one raises ValueError here."""

    id: str
    """Unique among the requests that the engine holds."""
    prompt_ids: Sequence[int]
    """The prompt as `encode` gave it; never empty."""
    max_new_tokens: int
    do_sample: bool = False
    """False takes the likeliest token at every step and looks at no other sampling value."""
    temperature: float = 1.0
    """Above 0; 1 is the model's own distribution."""
    top_p: float = 1.0
    """Keeps the likeliest tokens that together have this probability; 1 keeps all."""
    top_k: int = 0
    """Keeps that many of the likeliest tokens; 0 keeps all."""
    seed: int | None = None
    """Repeats a sampled answer, whatever else runs in the batch; None draws anew."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer; not part of it."""
    deadline: float | None = None
    """`time.monotonic()` at which the answer is ended where it is; None for no deadline."""

    def __post_init__(self) -> None:
        wrong = [
            text
            for failed, text in (
                (not self.prompt_ids, "prompt_ids is empty"),
                (self.max_new_tokens < 1, f"max_new_tokens is {self.max_new_tokens}, must be at least 1"),
                (not self.temperature > 0, f"temperature is {self.temperature}, must be above 0"),
                (not 0 < self.top_p <= 1, f"top_p is {self.top_p}, must be above 0 and at most 1"),
                (self.top_k < 0, f"top_k is {self.top_k}, must be at least 0"),
                ("" in self.stop, "a stop string is empty"),
            )
            if failed
        ]
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One step of an answer. The texts of all events joined are the answer; the last event has `finish`."""

    text: str
    """What can be shown since the event before; empty while a character or stop string is undecided."""
    token_id: int | None = None
    """The token that the model chose; None at an end token, a cancellation, a deadline."""
    finish: FinishReason | None = None
    generated_tokens: int = 0
    """Tokens so far, the end token not counted."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine does at this moment; for metrics."""

    waiting: int
    running: int
    """Requests in the running batch or batches."""
    steps: int
    """Forward passes since the model was loaded; standing still while `running` is above 0 means stuck."""
    tokens: int
    """Tokens generated since the model was loaded."""
    steps_by_rows: Mapping[int, int] = field(default_factory=dict)
    """Forward passes since the model was loaded, by the number of answers that each carried on: the sizes of
    the batches, for a histogram. The counts add up to `steps`. Continuous batching runs on a thread of the
    library's, so there a pass whose tokens are read in two parts counts as two. An engine that does not see
    its own passes leaves it empty."""


class TokenStream(AsyncIterator[TokenEvent], ABC):
    """The events of one request.

    Iterating raises `GenerationFailedError` where the model failed and `EngineUnavailableError` where the
    engine stopped.
    """

    @abstractmethod
    async def aclose(self) -> None:
        """Gives the request up if it has not ended; its place in the batch is free after the present step."""


class Engine(ABC):
    """Owns one model. `load` is called once; everything else from any thread once `load` has returned."""

    @abstractmethod
    def load(self, path: Path, settings: EngineSettings) -> Capabilities:
        """Reads the model and starts the engine. Blocks for seconds to minutes: call it off the event loop.

        Args:
            path: a complete staged model: configuration, tokenizer, safetensors weights.
            settings: how to run it.

        Raises:
            ModelError: a file of the model is missing, damaged or does not fit the others.
            Exception: whatever else says why it cannot be served. The engine is of no use after either.
        """

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Text to token ids, with the special tokens that the model expects; never truncates."""

    @abstractmethod
    def encode_chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Messages (`role`, `content`) to the token ids of a prompt, by the model's chat template.

        Raises:
            UnsupportedError: the model has no chat template, or it refuses these messages.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text, special tokens left out."""

    @abstractmethod
    def submit(self, request: GenerateRequest) -> TokenStream:
        """Queues a request at once and returns its events. Call it on the event loop that reads them.

        Raises:
            EngineUnavailableError, QueueFullError: see there.
            UnsupportedError: prompt and `max_new_tokens` do not fit.
        """

    @abstractmethod
    def cancel(self, request_id: str) -> None:
        """Gives a request up: its events end with CANCELLED. Does nothing when no such request is held."""

    @abstractmethod
    def close(self, timeout: float) -> bool:
        """Gives up all requests (`EngineUnavailableError`) and stops the engine.

        Args:
            timeout: seconds to wait for it.

        Returns:
            Whether it has ended.
        """

    @property
    @abstractmethod
    def death(self) -> str | None:
        """Why the engine will answer nothing any more; None while it does, and after `close`."""

    @abstractmethod
    def now(self) -> Load:
        """What the engine does at this moment."""
