"""The real engine around a model whose speed the test decides; threads, queue and stop strings are real."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from serve.batching.inbox import Inbox
from serve.batching.worker import Worker
from serve.engines.base import Capabilities, EngineSettings
from serve.engines.local import LocalEngine


class ScriptedEngine(LocalEngine):
    """Answers with one letter per token, for as long as each request wants; not before `go` is set.

    A prompt `fail…` raises inside the engine, `hang` never comes back, `die…` ends the engine's thread.
    """

    def __init__(self, chat_template: str | None = None) -> None:
        super().__init__()
        self.go = threading.Event()
        self.may_load = threading.Event()
        self.may_load.set()
        self.load_error: Exception | None = None
        self.answered: list[str] = []
        self._chat_template = chat_template

    def _prepare(self, path: Path, settings: EngineSettings) -> tuple[Capabilities, Any, Worker]:
        self.may_load.wait()
        if self.load_error:
            raise self.load_error
        known = Capabilities(
            "decoder-only", "dynamic", 1, "cpu", "float32", frozenset([0]), None, bool(self._chat_template)
        )
        return known, _Letters(), _ScriptedWorker(self)


class _Letters:
    """A tokenizer whose tokens are letters."""

    chat_template = None

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(chr(96 + token) for token in ids)


class _ScriptedWorker(Worker):
    def __init__(self, script: ScriptedEngine) -> None:
        super().__init__()
        self._script = script
        self._running = 0
        self._warm = False

    @property
    def running(self) -> int:
        return self._running

    def run(self, inbox: Inbox) -> None:
        while inbox.wait():
            for answer in inbox.take(1, 1000):
                self._running = 1
                self._answer(answer)
                self._running = 0

    def _answer(self, answer: Any) -> None:
        prompt = "".join(map(chr, answer.request.prompt_ids))
        if self._warm:
            self._script.go.wait()
            self._script.answered.append(prompt)
        self._warm = True
        if prompt.startswith("fail"):
            self._fail([answer], RuntimeError("scripted"))
        if prompt.startswith("die"):
            raise DeathError("scripted death")
        if prompt == "hang":
            threading.Event().wait()
        while not (answer.ended or answer.expire(0) or answer.push(1)):
            self._count(1)


class DeathError(Exception):
    """Ends the engine's thread."""
