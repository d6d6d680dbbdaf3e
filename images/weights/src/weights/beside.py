"""One call at a time beside the caller: hashing and sending release the interpreter while others compute."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Beside:
    """Runs calls in a thread of its own, in order; the next one waits for the last, which bounds the memory.

    Args:
        name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: Future[Any] | None = None

    def start(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Begin a call when the one before has ended; raises what that one raised."""
        self.wait()
        self._running = self._thread.submit(call, *arguments)

    def wait(self) -> None:
        """Until the call that was begun has ended; raises what it raised."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """Begin no more. It does not wait: on SIGTERM the thread may sit in a request to a silent server."""
        self._thread.shutdown(wait=False, cancel_futures=True)
