"""The prompts of a load test."""

from __future__ import annotations

import random
from pathlib import Path

from llmstack.client_chat import sendable

QUESTIONS = (
    "Tell me a joke about a cloud.",
    "Translate English to German: How old are you?",
    "What is the capital of Portugal?",
    "Write one sentence about rain in spring.",
    "Is a tomato a fruit or a vegetable?",
    "Name three things that float on water.",
)
SENTENCES = (
    "The ferry left the harbour a quarter of an hour late because of the fog.",
    "Two engineers were still on the quay, comparing the figures of the week before.",
    "Nobody had expected that the smaller pump would last longer than the larger one.",
    "In the afternoon the wind turned to the west and the temperature fell by six degrees.",
    "A letter from the insurer lay unopened on the desk until the following Monday.",
    "The museum keeps the first drawings of the bridge in a room without windows.",
    "Most of the orchard was replanted after the frost, in rows four metres apart.",
    "She counted the crates twice and wrote both numbers down.",
    "The evening train stops at every station, and on Sundays it does not run at all.",
    "By then the river had carried the boat as far as the old mill.",
)
LENGTHS = ((0, 6), (3, 3), (6, 1))
"""Sentences and weight: of ten prompts six are a question, three have about 45 words, one about 85.

Not more: the least that a model of the catalog reads is 512 tokens, and some vocabularies cut a word in five.
"""


class PromptsError(Exception):
    """A file of prompts that cannot be used; the text is for a person."""


class Prompts:
    """Draws prompts, the same ones for the same seed.

    Args:
        texts: the prompts to draw from; empty for the built-in mixture of lengths.
        seed: for the drawing.
    """

    def __init__(self, texts: tuple[str, ...], seed: int) -> None:
        self._texts = texts
        # Nothing secret depends on it.
        self._chooser = random.Random(seed)  # noqa: S311

    def next(self) -> str:
        """One more prompt."""
        if self._texts:
            return self._chooser.choice(self._texts)
        # Drawn anew each time: a server that keeps what it computed for a prompt must not look faster for it.
        lengths, weights = zip(*LENGTHS, strict=True)
        (sentences,) = self._chooser.choices(lengths, weights)
        if not sentences:
            return self._chooser.choice(QUESTIONS)
        return "Summarize: " + " ".join(self._chooser.choices(SENTENCES, k=sentences))


def read_prompts(file: Path) -> tuple[str, ...]:
    """The prompts of a text file, one in each line; empty lines are left out.

    Raises:
        PromptsError: it cannot be read, is not UTF-8, or has none.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PromptsError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PromptsError(f"{file} is not UTF-8 text") from None
    prompts = tuple(line for line in lines if line.strip())
    if not prompts:
        raise PromptsError(f"{file} has no prompt: write one in each line")
    return prompts


def check_prompt(text: str) -> tuple[str, ...]:
    """A single prompt, as prompts to draw from.

    Raises:
        PromptsError: it is empty, or not UTF-8.
    """
    if not text.strip() or not sendable(text):
        raise PromptsError("the prompt is empty or not UTF-8 text")
    return (text,)
