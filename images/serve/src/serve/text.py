"""From token ids to text, one token at a time.

The pieces of a streamed answer and the text of a whole answer come from the same code: a whole answer is
its pieces joined. So both are equal by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "�"
"""What decoders write for bytes that are not a whole character yet."""


class TokenText:
    """Turns a growing sequence of token ids into text.

    A token's text may depend on its neighbours (a leading blank, a character split over tokens). So each step
    decodes a short window twice, without and with the newest token, and the difference is new. The window
    starts at the last token whose text was complete, which keeps the work per token constant.

    Args:
        decode: token ids to text, special tokens left out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = 0
        self._read = 0

    def push(self, token_id: int) -> str:
        """Takes the next token and returns the text that it completes, often but not always some."""
        self._ids.append(token_id)
        before, after = self._window()
        if after.endswith(UNFINISHED) or len(after) <= len(before):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return after[len(before) :]

    def flush(self) -> str:
        """Returns what is left at the end: bytes that never became a whole character."""
        before, after = self._window()
        self._start = self._read = len(self._ids)
        return after[len(before) :]

    def _window(self) -> tuple[str, str]:
        return self._decode(self._ids[self._start : self._read]), self._decode(self._ids[self._start :])


class StopStrings:
    """Cuts a text at the first stop string, and holds back what may turn out to be the start of one.

    Args:
        stops: the stop strings, none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Takes more text; returns what can be shown now, and whether a stop string was met."""
        text = self._held + text
        cuts = [position for stop in self._stops if (position := text.find(stop)) >= 0]
        if cuts:
            self._held = ""
            return text[: min(cuts)], True
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """Returns what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a start of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
