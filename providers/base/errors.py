"""What a provider raises. A person reads the message as it is: one line, the thing and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from providers.base.values import Properties


class ProviderError(Exception):
    """An operation failed and left nothing behind that the engine should remember."""


class Cancelled(ProviderError):  # noqa: N818 - what happened, not an error
    """The engine asked running operations to stop (Ctrl-C)."""


@dataclass(eq=False)
class InitializationFailed(Exception):  # noqa: N818 - the engine's own word
    """A resource exists, but is not as it should be.

    The engine keeps its id and properties, shows the reasons, and updates the resource on the next run.

    Args:
        id: the resource's id.
        outputs: what is known of it.
        reasons: what is wrong and what to do, one line each.
        inputs: its inputs, where a read found others than the engine has.
    """

    id: str
    outputs: Properties
    reasons: Sequence[str]
    inputs: Properties | None = None

    def __str__(self) -> str:
        return "; ".join(self.reasons)


def one_line(text: object) -> str:
    """A text, usually an error's, with its line breaks and runs of blanks made one blank each."""
    return " ".join(str(text).split())
