"""An engine in this process: one thread loads the model and runs it."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve.batching.answer import Answer, QueueStream
from serve.batching.inbox import Inbox
from serve.batching.worker import Worker
from serve.engines.base import (
    Capabilities,
    Engine,
    EngineError,
    EngineSettings,
    EngineUnavailableError,
    FinishReason,
    GenerateRequest,
    Load,
    TokenEvent,
    TokenStream,
    UnsupportedError,
)

LOG = logging.getLogger(__name__)


class LocalEngine(Engine):
    """Everything but the model: the thread, the requests held, their texts, the engine's end."""

    def __init__(self) -> None:
        self._held: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._encoding = threading.Lock()
        self._loaded = threading.Event()
        self._thread: threading.Thread | None = None
        self._inbox = Inbox(0)
        self._worker: Worker | None = None
        self._capabilities: Capabilities | None = None
        self._tokenizer: Any = None
        self._error: Exception | None = None
        self._death: str | None = None

    @abstractmethod
    def _prepare(self, path: Path, settings: EngineSettings) -> tuple[Capabilities, Any, Worker]:
        """Loads the model, on the engine's thread; returns what it is, its tokenizer, and what runs it."""

    def load(self, path: Path, settings: EngineSettings) -> Capabilities:
        """Reads the model and starts the engine; see `Engine.load`."""
        self._settings = settings
        self._inbox = Inbox(settings.max_waiting)
        self._thread = threading.Thread(target=self._main, args=(path, settings), name="engine", daemon=True)
        self._thread.start()
        self._loaded.wait()
        if self._error is not None:
            raise self._error
        assert self._capabilities is not None
        return self._capabilities

    def encode(self, text: str) -> list[int]:
        """Text to token ids; see `Engine.encode`."""
        # Fast tokenizers refuse to be used from two threads while one of them changes truncation settings.
        with self._encoding:
            return list(self._tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def encode_chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Messages to token ids; see `Engine.encode_chat`."""
        if not self._tokenizer.chat_template:
            raise UnsupportedError("this model has no chat template; send a prompt instead of messages")
        try:
            with self._encoding:
                return list(
                    self._tokenizer.apply_chat_template(
                        list(messages), add_generation_prompt=True, return_dict=False
                    )
                )
        except Exception as error:
            # A template may refuse what it does not know, with an exception of jinja's or of its own.
            raise UnsupportedError(f"the chat template refuses the messages: {error}") from error

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text, blanks as the model wrote them."""
        # Tidying blanks looks at neighbouring words, so a streamed text could not be tidied in the same way.
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def submit(self, request: GenerateRequest) -> TokenStream:
        """Queues a request at once and returns its events; see `Engine.submit`."""
        if self._death is not None or self._worker is None or self._capabilities is None:
            raise EngineUnavailableError(self._death or "the model is not loaded")
        self._check_size(request, self._capabilities)
        stream = QueueStream()

        def deliver(event: TokenEvent | EngineError) -> None:
            if isinstance(event, EngineError) or event.finish is not None:
                self._held.pop(request.id, None)
            stream.deliver(event)

        answer = Answer(request, self.decode, self._capabilities.end_ids, deliver)
        stream.answer = answer
        with self._lock:
            if request.id in self._held:
                raise ValueError(f"a request with id {request.id!r} is held already")
            # Before it is queued: it may end at once, and takes itself out then.
            self._held[request.id] = answer
            try:
                self._inbox.put(answer)
            except EngineError:
                self._held.pop(request.id, None)
                raise
        return stream

    def cancel(self, request_id: str) -> None:
        """Gives a request up; see `Engine.cancel`."""
        if (answer := self._held.get(request_id)) is not None:
            answer.finish(FinishReason.CANCELLED)

    def close(self, timeout: float) -> bool:
        """Gives up all requests and stops the engine; see `Engine.close`."""
        self._inbox.close()
        self._give_up("the engine is stopping")
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def death(self) -> str | None:
        """Why the engine will answer nothing any more; see `Engine.death`."""
        return self._death

    def now(self) -> Load:
        """What the engine does at this moment."""
        worker = self._worker
        if worker is None:
            return Load(waiting=0, running=0, steps=0, tokens=0)
        rows = dict(worker.steps_by_rows)
        return Load(len(self._inbox), worker.running, worker.steps, worker.tokens, rows)

    def _main(self, path: Path, settings: EngineSettings) -> None:
        try:
            self._capabilities, self._tokenizer, self._worker = self._prepare(path, settings)
        except Exception as error:
            self._error = error
            self._death = f"{type(error).__name__}: {error}"
            return
        finally:
            self._loaded.set()
        try:
            self._worker.run(self._inbox)
        except Exception as error:
            LOG.exception("the engine died")
            self._die(f"{type(error).__name__}: {error}")
        else:
            self._give_up("the engine is stopping")

    def _die(self, reason: str) -> None:
        self._death = reason
        self._inbox.close()
        self._give_up("the model no longer answers")

    def _give_up(self, message: str) -> None:
        for answer in list(self._held.values()):
            answer.fail(EngineUnavailableError(message))

    def _check_size(self, request: GenerateRequest, capabilities: Capabilities) -> None:
        bounds = [capabilities.context_tokens]
        if capabilities.kind == "decoder-only":
            bounds.append(self._settings.cache_tokens)
        total = len(request.prompt_ids) + request.max_new_tokens
        for bound in bounds:
            if bound is not None and total > bound:
                raise UnsupportedError(
                    f"prompt ({len(request.prompt_ids)} tokens) and max_new_tokens "
                    f"({request.max_new_tokens}) are more than the {bound} tokens that this model can hold; "
                    "shorten one of them"
                )
