"""Progress, as a bar and plain lines on a terminal and as JSON lines for Cloud Logging elsewhere.

Cloud Logging takes ``severity`` and ``message`` of a JSON line on stdout as the entry's own, and the rest as
its payload (cloud.google.com/logging/docs/structured-logging).
"""

import json
import threading
import time
from contextlib import suppress
from typing import Any, TextIO

_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 10.0
_MIB = 1024 * 1024


class Progress:
    """Counts bytes and says so now and then; may be told from several threads.

    Args:
        stream: Where the lines go.
        pause: Seconds between two lines of the count, where the stream is no terminal.
    """

    def __init__(self, stream: TextIO, pause: float = _LOG_SECONDS) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._pause = pause
        self._lock = threading.RLock()
        self._bar: Any = None  # tqdm's, on a terminal
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
        line = message if self._terminal else json.dumps({"severity": severity, "message": message, **fields})
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            with suppress(BrokenPipeError):  # nobody reads any more: no reason to end the work
                self._stream.write(line + "\n")
                self._stream.flush()
            if self._bar is not None:
                self._bar.refresh()

    def warn(self, message: str, **fields: object) -> None:
        """Write one line of severity WARNING."""
        self.say(message, "WARNING", **fields)

    def finish(self) -> None:
        """Leave the bar as it is, before something else writes to the terminal."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def expect(self, total: int) -> None:
        """Start counting.

        Args:
            total: Bytes that are to be moved.
        """
        self.finish()
        self._total = total
        self._bytes = 0
        self._began = self._said = time.monotonic()
        if self._terminal:
            self._bar = _new_bar(self._stream, total)

    def drop(self, size: int) -> None:
        """Take off bytes that need not be moved after all."""
        with self._lock:
            self._total -= size
            if self._bar is not None:
                self._bar.total = self._total
                self._bar.refresh()

    def add(self, size: int) -> None:
        """Count bytes that the target has (negative: has lost), and say so now and then."""
        with self._lock:
            self._bytes += size
            if self._bar is not None:
                self._bar.update(size)
            if self._terminal:
                return
            now = time.monotonic()
            if now - self._said < self._pause and self._bytes < self._total:
                return
            self._said = now
            rate = self._bytes / max(now - self._began, 1e-6)
            eta = round(max(self._total - self._bytes, 0) / max(rate, 1.0))
            self.say(
                f"{self._bytes / _MIB:.1f} of {self._total / _MIB:.1f} MiB, {rate / _MIB:.1f} MiB/s, "
                f"{eta} s left",
                bytes=self._bytes,
                total=self._total,
                rate=round(rate),
                eta=eta,
            )


def _new_bar(stream: TextIO, total: int) -> Any:
    # Here and not above: a job has no terminal and need not pay for the import.
    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.set_lock(threading.RLock())  # its own default makes a semaphore for processes, which are none here
    tqdm.monitor_interval = 0  # no thread that watches the bar
    return tqdm(
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        file=stream,
        dynamic_ncols=True,
        mininterval=_TERMINAL_SECONDS,
    )
