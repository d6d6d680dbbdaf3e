"""Processes of a rehearsal that outlive whoever starts them, and the lock under which they are started."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def start_detached(folder: Path, log: Path, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a module in a session of its own, so that Ctrl-C in a terminal reaches the engine only.

    Args:
        folder: the rehearsal that the process belongs to.
        log: file that gets its output; a pipe would tie it to whoever starts it.
        module: the module to run.
        arguments: its arguments.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=CHECKOUT,
            env={**os.environ, "LLMSTACK_REHEARSAL": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; whoever comes meanwhile waits."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
