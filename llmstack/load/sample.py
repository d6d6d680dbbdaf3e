"""What is known of one request of a load test."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    FULL = "429"
    FAILED = "5xx"
    """Also an answer that a server broke off with an error."""
    TIMEOUT = "timeout"
    """This client's own limit passed."""
    DISCONNECTED = "disconnect"
    """No connection, or it ended before the answer did."""
    REFUSED = "refused"
    """Any other refusal, for instance of a prompt that is too long."""


@dataclass(slots=True)
class Sample:
    """One request. Times are seconds from the beginning of its step.

    Args:
        due: when it should have been sent; in a closed loop, when it was.
        sent: when it was handed to the HTTP client.
        ended: when its answer was complete, or known not to come.
        outcome: how it ended.
        tokens: generated tokens of a complete answer; None where the server does not count them.
        pieces: when each piece of a streamed answer came.
        pause: seconds that the server asked to wait before another request; None where it did not say.
        detail: why it was not answered.
    """

    due: float
    sent: float
    ended: float = 0.0
    outcome: Outcome = Outcome.ANSWERED
    tokens: int | None = 0
    pieces: list[float] = field(default_factory=list)
    pause: float | None = None
    detail: str = ""

    @property
    def latency(self) -> float:
        """Seconds from when it was due: a client that is held up does not hide how long users wait.

        Gil Tene calls the other way, measuring from when it was sent, "coordinated omission":
        https://www.youtube.com/watch?v=lJ8ydIuPFeU.
        """
        return self.ended - self.due

    @property
    def first_piece(self) -> float | None:
        """Seconds from when it was due to the first piece; None for an answer that was not streamed."""
        return self.pieces[0] - self.due if self.pieces else None

    @property
    def gaps(self) -> list[float]:
        """Seconds between the pieces of a streamed answer."""
        return [later - earlier for earlier, later in zip(self.pieces, self.pieces[1:], strict=False)]
