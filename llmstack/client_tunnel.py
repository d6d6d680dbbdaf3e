"""Requests through a tunnel on loopback: what breaks them is told in the words of the tunnel's other end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx


class TunnelTransport(httpx.HTTPTransport):
    """Says of a connection that broke what the other end of the tunnel said, and not that this end closed.

    Args:
        trouble: what the tunnel says; empty where it works.
    """

    def __init__(self, trouble: Callable[[], str]) -> None:
        super().__init__()
        self._trouble = trouble

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request."""
        with self._telling():
            response = super().handle_request(request)
        response.stream = _TunnelStream(response.stream, self._telling)
        return response

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            if said := self._trouble():
                raise httpx.ConnectError(said) from error
            raise


class _TunnelStream(httpx.SyncByteStream):
    """The body of an answer, which may break off long after its head has come."""

    def __init__(self, stream: Any, telling: Callable[[], AbstractContextManager[None]]) -> None:
        self._stream = stream
        self._telling = telling

    def __iter__(self) -> Iterator[bytes]:
        with self._telling():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()
