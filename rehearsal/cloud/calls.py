"""What a handler of an API method gets, and what it may ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from rehearsal.cloud.errors import denied
from rehearsal.cloud.supervisor import Supervisor
from rehearsal.cloud.tokens import Tokens
from rehearsal.cloud.workloads import Workloads
from rehearsal.world import World

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cloud:
    """What all handlers share."""

    world: World
    tokens: Tokens
    workloads: Workloads
    supervisor: Supervisor
    address: str
    """`127.0.0.1:PORT`."""
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop, from a handler's thread, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def soon(self, work: Callable[[], object]) -> None:
        """Call a function on the event loop, from a handler's thread."""
        self.loop.call_soon_threadsafe(work)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an API method, already checked against the discovery document."""

    cloud: Cloud
    method: str
    """Its id, for instance `run.projects.locations.jobs.run`."""
    media: str
    """`upload`, `resumable/upload` or `download` by the path's prefix, else empty."""
    params: Mapping[str, Any]
    body: dict[str, Any] | None
    member: str | None
    """Who calls; None without credentials."""
    request: Request

    @property
    def world(self) -> World:
        """The rehearsal's world."""
        return self.cloud.world

    def require(self, permission: str, resource: str) -> None:
        """Refuse the call unless its caller has a permission.

        Raises:
            ApiError: 401 without credentials, 403 with those of somebody who may not.
        """
        if not self.world.allows(self.member or "allUsers", permission, resource):
            raise denied(permission, resource, self.member)


Answer = dict[str, Any] | Response
Handler = Callable[[Call], Answer]
"""Runs in a thread of its own, so it may block."""
