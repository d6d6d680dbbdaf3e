"""Faults that a person injects into the rehearsed cloud, and the record of every call.

A fault matches calls by provider, operation and target (shell patterns) and strikes the `nth` matching
call and the `times - 1` after it. What each kind answers is what Google answers:
https://cloud.google.com/apis/design/errors and https://cloud.google.com/compute/docs/troubleshooting.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rehearsal.world_db import Database
from rehearsal.world_errors import InjectedFault

_ANSWERS = {
    "quota": (429, "RESOURCE_EXHAUSTED", "Quota exceeded for {operation} of {target}."),
    "stockout": (503, "UNAVAILABLE", "ZONE_RESOURCE_POOL_EXHAUSTED: not enough resources for {target} now."),
    "429": (429, "RESOURCE_EXHAUSTED", "Too many requests: {operation} of {target}."),
    "503": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "error": (500, "INTERNAL", "An internal error has occurred."),
}
KINDS = (*_ANSWERS, "slow", "late", "crash_before", "crash_after")
"""What can be injected. `slow` waits `seconds` and goes on; `late` goes on and answers only after `seconds`;
a crash kills the process at once."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault.

    Attributes:
        kind: One of `KINDS`.
        provider: Pattern of a type token or API name.
        operation: Pattern of an operation.
        target: Pattern of a full resource name.
        nth: The first matching call that it strikes, from 1.
        times: How many calls in a row it strikes.
        seconds: How long `slow` and `late` take.
        message: Said instead of the kind's own message.
    """

    kind: str
    provider: str = "*"
    operation: str = "*"
    target: str = "*"
    nth: int = 1
    times: int = 1
    seconds: float = 0.0
    message: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"fault kind '{self.kind}' is not known: use one of {', '.join(KINDS)}")
        if self.nth < 1 or self.times < 1 or self.seconds < 0:
            raise ValueError("a fault needs nth >= 1, times >= 1 and seconds >= 0")


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the cloud. `outcome` is `running`, `ok`, `error` or the kind of the fault that struck."""

    at: str
    pid: int
    provider: str
    operation: str
    target: str
    outcome: str
    detail: str


Calls = list[Call]


class Faults:
    """The table of faults and the table of calls.

    Args:
        database: The world's database.
        now: The world's time, RFC 3339.
    """

    def __init__(self, database: Database, now: Callable[[], str]) -> None:
        self._db = database
        self._now = now

    def add(self, fault: Fault) -> None:
        """Inject a fault."""
        with self._db.write() as db:
            db.execute(
                "INSERT INTO faults (provider, operation, target, kind, nth, times, seconds, message) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    fault.provider,
                    fault.operation,
                    fault.target,
                    fault.kind,
                    fault.nth,
                    fault.times,
                    fault.seconds,
                    fault.message,
                ),
            )

    def active(self) -> list[Fault]:
        """The faults in place, in the order in which they were injected."""
        with self._db.read() as db:
            return [_fault(row) for _, row in _rows(db)]

    def clear(self) -> None:
        """Remove every fault."""
        with self._db.write() as db:
            db.execute("DELETE FROM faults")

    def calls(self) -> Calls:
        """Every call so far, oldest first."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT at, pid, provider, operation, target, outcome, detail FROM calls ORDER BY id"
            )
            return [Call(*row) for row in rows]

    @contextmanager
    def call(self, provider: str, operation: str, target: str) -> Iterator[None]:
        """See `World.call`."""
        number, striking = self._begin(provider, operation, target)
        for fault in striking:
            self._strike(number, fault, operation, target)
        try:
            yield
        except Exception as error:
            self._end(number, "error", str(error))
            raise
        for fault in striking:
            if fault.kind == "late":
                self._end(number, "late", "")
                time.sleep(fault.seconds)
        if any(fault.kind == "crash_after" for fault in striking):
            self._end(number, "crash_after", "")
            _die()
        self._end(number, striking[0].kind if striking else "ok", "")

    def _begin(self, provider: str, operation: str, target: str) -> tuple[int, list[Fault]]:
        """Record the call, count it for every fault that matches, and return those that strike it."""
        at = self._now()
        striking = []
        with self._db.write() as db:
            number = db.execute(
                "INSERT INTO calls (at, pid, provider, operation, target, outcome, detail) "
                "VALUES (?, ?, ?, ?, ?, 'running', '')",
                (at, os.getpid(), provider, operation, target),
            ).lastrowid
            for (key, seen), row in _rows(db):
                fault = _fault(row)
                if not _matches(fault, provider, operation, target):
                    continue
                db.execute("UPDATE faults SET seen = seen + 1 WHERE id = ?", (key,))
                if fault.nth <= seen + 1 < fault.nth + fault.times:
                    striking.append(fault)
        return int(number or 0), striking

    def _strike(self, number: int, fault: Fault, operation: str, target: str) -> None:
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault.kind == "crash_before":
            self._end(number, "crash_before", "")
            _die()
        elif fault.kind in _ANSWERS:
            code, status, text = _ANSWERS[fault.kind]
            message = fault.message or text.format(operation=operation, target=target)
            self._end(number, fault.kind, message)
            raise InjectedFault(fault.kind, message, code=code, status=status)

    def _end(self, number: int, outcome: str, detail: str) -> None:
        with self._db.write() as db:
            db.execute("UPDATE calls SET outcome = ?, detail = ? WHERE id = ?", (outcome, detail, number))


def _rows(db: sqlite3.Connection) -> list[tuple[tuple[int, int], tuple[object, ...]]]:
    rows = db.execute(
        "SELECT id, seen, kind, provider, operation, target, nth, times, seconds, message "
        "FROM faults ORDER BY id"
    ).fetchall()
    return [((row[0], row[1]), row[2:]) for row in rows]


def _fault(row: tuple[object, ...]) -> Fault:
    return Fault(*row)  # type: ignore[arg-type]


def _matches(fault: Fault, provider: str, operation: str, target: str) -> bool:
    return (
        fnmatchcase(provider, fault.provider)
        and fnmatchcase(operation, fault.operation)
        and fnmatchcase(target, fault.target)
    )


def _die() -> None:
    """End this process as a crash does: no cleanup, no answer to whoever waits."""
    os.kill(os.getpid(), signal.SIGKILL)
