"""Progress, as plain lines on a terminal and as JSON lines for Cloud Logging elsewhere.

Cloud Logging takes ``severity`` and ``message`` of a JSON line on stdout as the entry's own, and the rest as
its payload (cloud.google.com/logging/docs/structured-logging).
"""

import json
import time
from typing import TextIO

_TERMINAL_SECONDS = 1.0
_LOG_SECONDS = 10.0
_MIB = 1024 * 1024


class Progress:
    """Counts bytes and says so now and then.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._plain = stream.isatty()
        self._pause = _TERMINAL_SECONDS if self._plain else _LOG_SECONDS
        self._bytes = 0
        self._total = 0
        self._began = self._said = time.monotonic()

    def say(self, message: str, severity: str = "INFO", **fields: object) -> None:
        """Write one line.

        Args:
            message: What happened, without secrets.
            severity: One of Cloud Logging's: INFO, NOTICE, WARNING, ERROR.
            fields: More for the JSON line; a terminal shows the message alone.
        """
        line = message if self._plain else json.dumps({"severity": severity, "message": message, **fields})
        self._stream.write(line + "\n")
        self._stream.flush()

    def warn(self, message: str) -> None:
        """Write one line of severity WARNING."""
        self.say(message, "WARNING")

    def expect(self, total: int) -> None:
        """Start counting.

        Args:
            total: Bytes that are to be moved.
        """
        self._total = total
        self._bytes = 0
        self._began = self._said = time.monotonic()

    def drop(self, size: int) -> None:
        """Take off bytes that need not be moved after all."""
        self._total -= size

    def add(self, size: int) -> None:
        """Count bytes that the store has (negative: has lost), and write a line now and then."""
        self._bytes += size
        now = time.monotonic()
        if now - self._said < self._pause and self._bytes < self._total:
            return
        self._said = now
        rate = self._bytes / max(now - self._began, 1e-6)
        eta = round(max(self._total - self._bytes, 0) / max(rate, 1.0))
        message = (
            f"{self._bytes / _MIB:.1f} of {self._total / _MIB:.1f} MiB, {rate / _MIB:.1f} MiB/s, {eta} s left"
        )
        self.say(message, bytes=self._bytes, total=self._total, rate=round(rate), eta=eta)
