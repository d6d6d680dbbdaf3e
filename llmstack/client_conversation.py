"""A conversation in a terminal: prompts line by line, commands, an answer that Ctrl-C stops."""

from __future__ import annotations

import os
import readline
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx

from llmstack.client import AskError
from llmstack.client_chat import Chat, Message, Reply, Sampling, assistant, sendable, user

HELP = """\
/set                     show how answers are made
/set temperature 0.7     change it: max-new-tokens, temperature, top-p, top-k, seed, stop
/set temperature         back to the default
/reset                   forget the conversation
/help                    this
A line that ends in \\ goes on in the next. Ctrl-C stops an answer, Ctrl-D ends."""
MOST_HISTORY = 1000
"""Prompts that are remembered for the arrow keys."""
_PARSERS: dict[str, Callable[[str], object]] = {
    "max_new_tokens": int,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "seed": int,
    "stop": lambda text: (text,),
}


class Conversation:
    """Prompts and answers in turn. A model without a chat template gets each prompt by itself.

    Args:
        chat: the deployment.
        sampling: how to answer, until a command changes it.
        say: shows a piece of an answer.
        notice: shows a line that is no part of an answer.
        figures: whether each answer's figures are shown.
    """

    def __init__(
        self,
        chat: Chat,
        sampling: Sampling,
        say: Callable[[str], None],
        notice: Callable[[str], None],
        *,
        figures: bool,
    ) -> None:
        self._chat = chat
        self._sampling = sampling
        self._say = say
        self._notice = notice
        self._figures = figures
        self._remembers = False
        self._messages: list[Message] = []

    def run(self, name: str, read: Callable[[], str]) -> None:
        """Converse until the end of input.

        Args:
            name: what the deployment is called.
            read: returns the next line.

        Raises:
            AskError: the deployment cannot be asked at all.
            httpx.HTTPError: it cannot be reached.
        """
        self._remembers = self._chat.remembers()
        how = "a conversation" if self._remembers else "no chat template, each prompt is answered by itself"
        self._notice(f"{self._chat.model()} ({name}): {how}; /help, Ctrl-D ends")
        while True:
            try:
                text = _whole(read)
            except EOFError:
                return
            except KeyboardInterrupt:
                self._notice("")
                continue
            self.take(text)

    def take(self, text: str) -> None:
        """Obey a command or answer a prompt; what goes wrong is said and ends nothing."""
        command, _, rest = text.strip().partition(" ")
        if not command:
            return
        if command == "/help":
            self._notice(HELP)
        elif command == "/reset":
            self._messages.clear()
            self._notice("the conversation is forgotten")
        elif command == "/set":
            self._set(rest)
        elif command.startswith("/"):
            self._notice(f"there is no command {command}: /help lists them")
        elif not sendable(text):
            self._notice("that is not UTF-8 text")
        else:
            self._answer(text)

    def _set(self, text: str) -> None:
        option, _, value = text.strip().partition(" ")
        name = option.replace("-", "_")
        if not option:
            self._notice(_described(self._sampling))
        elif name not in _PARSERS:
            known = ", ".join(each.replace("_", "-") for each in _PARSERS)
            self._notice(f"there is no {option} to set; there are {known}")
        else:
            self._change(option, name, value.strip())

    def _change(self, option: str, name: str, value: str) -> None:
        try:
            changed: Any = _PARSERS[name](value) if value else getattr(Sampling(), name)
            # Which values make sense is the deployment's to say, with the next answer.
            self._sampling = replace(self._sampling, **{name: changed})
        except ValueError:
            self._notice(f"{option} is {value!r}: give {'a text' if name == 'stop' else 'a number'}")
            return
        self._notice(_described(self._sampling))

    def _answer(self, text: str) -> None:
        asked = [*self._messages, user(text)]
        pieces: list[str] = []

        def say(piece: str) -> None:
            pieces.append(piece)
            self._say(piece)

        reply: Reply | None = None
        trouble = ""
        try:
            reply = self._chat.reply(asked, self._sampling, say)
        except KeyboardInterrupt:
            trouble = "stopped"
        except AskError as error:
            trouble = f"{error} (/reset shortens the conversation)" if len(asked) > 1 else str(error)
        except httpx.HTTPError as error:
            trouble = f"no answer: {error or type(error).__name__}"
        if pieces:
            self._say("\n")
        if trouble:
            self._notice(trouble)
        if reply is not None and self._figures:
            self._notice(reply.line())
        # What was read of a stopped answer can be referred to; a prompt without an answer has no place.
        if self._remembers and "".join(pieces).strip():
            self._messages = [*asked, assistant("".join(pieces))]


def remember_prompts() -> Path:
    """Load the prompts of earlier conversations for the arrow keys; returns the file that keeps them."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    file = state / "llmstack/ask_history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Prompts are nobody else's business.
        file.touch(mode=0o600)
        readline.read_history_file(file)
    except OSError:
        readline.clear_history()
    readline.set_history_length(MOST_HISTORY)
    return file


def keep_prompts(file: Path) -> None:
    """Save the prompts; a home that cannot be written to keeps none."""
    try:
        readline.write_history_file(file)
    except OSError:
        return


def _whole(read: Callable[[], str]) -> str:
    """The next line, and those that it goes on in."""
    lines = [read()]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(read())
    return "\n".join(lines)


def _described(sampling: Sampling) -> str:
    texts = []
    for each in fields(sampling):
        value = getattr(sampling, each.name)
        if isinstance(value, tuple):
            value = ", ".join(map(repr, value)) or None
        texts.append(f"{each.name.replace('_', '-')}: {'default' if value is None else value}")
    return "; ".join(texts)
