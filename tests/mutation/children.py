"""Work in forked processes: each starts from what is imported here, and leaves nothing behind here."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

K = TypeVar("K")
A = TypeVar("A")

_FORK = multiprocessing.get_context("fork")


def answers(work: Callable[[K], A], keys: Iterable[K], jobs: int) -> Iterator[tuple[K, A | None]]:
    """Does the work for each key in a process of its own.

    Args:
        work: Called with a key in a forked process; what it returns comes back by pickle.
        keys: What to do the work for.
        jobs: How many processes run at once.

    Yields:
        Key and answer as they come; None where a process ended without an answer.
    """
    waiting = list(reversed(list(keys)))
    running: dict[Connection, tuple[K, BaseProcess]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            key = waiting.pop()
            receiver, sender = _FORK.Pipe(duplex=False)
            process: BaseProcess = _FORK.Process(target=_answer, args=(work, key, sender))
            process.start()
            sender.close()
            running[receiver] = key, process
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            key, process = running.pop(ready)
            try:
                answer = ready.recv()
            except EOFError:
                answer = None
            ready.close()
            process.join()
            yield key, answer


def _answer(work: Callable[[K], A], key: K, sender: Connection) -> None:
    sender.send(work(key))
    sender.close()
    # Threads and exit handlers of what was tested are no business of this process.
    os._exit(0)
