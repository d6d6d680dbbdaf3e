"""What a resource of this provider implements."""

from __future__ import annotations

from abc import ABC, abstractmethod

from providers.base.provider import (
    CheckRequest,
    CheckResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    Provider,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import Properties
from providers.modelops.client import Google


class Resource(ABC):
    """The life of one kind of resource; the methods mean what `Provider`'s of the same names mean.

    Args:
        provider: gives the log, threads for blocking work, and cancellation.
        google: gives the clients of Google's APIs.
    """

    def __init__(self, provider: Provider, google: Google) -> None:
        self.provider = provider
        self.google = google

    @abstractmethod
    async def check(self, request: CheckRequest) -> CheckResponse: ...

    @abstractmethod
    async def diff(self, request: DiffRequest) -> DiffResponse: ...

    @abstractmethod
    async def create(self, request: CreateRequest) -> CreateResponse: ...

    @abstractmethod
    async def read(self, request: ReadRequest) -> ReadResponse | None: ...

    @abstractmethod
    async def update(self, request: UpdateRequest) -> Properties: ...

    @abstractmethod
    async def delete(self, request: DeleteRequest) -> None: ...
