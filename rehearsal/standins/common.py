"""What every stand-in plugin shares: its world, its stamp, how the world's refusals become errors."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential

from providers.base.errors import ProviderError
from providers.base.provider import CheckFailure, CheckRequest, CheckResponse, Provider
from rehearsal.world import InjectedFault, World, WorldError

FOLDER_VARIABLE = "LLMSTACK_REHEARSAL"
STAMP = "rehearsal"
"""The provider input that marks a state as rehearsed; a real plugin does not know it and refuses it."""

_STAMP_SETTING = "stamp"
_RETRY_SETTING = "retry.wait_seconds"
_ATTEMPTS = 5
_RETRIED_KINDS = ("429", "503")
"""The real provider tries these again; a missing quota and a stock-out come back at once."""

T = TypeVar("T")


def open_world(plugin: str) -> World:
    """The world that the environment names.

    Args:
        plugin: Who asks, for the message.

    Raises:
        SystemExit: There is none; a stand-in never starts by accident.
    """
    folder = os.environ.get(FOLDER_VARIABLE, "")
    if not folder or not Path(folder).is_dir():
        found = f"'{folder}' is no folder" if folder else "it is not set"
        sys.exit(
            f"pulumi-resource-{plugin}: this is a stand-in for rehearsals and needs "
            f"{FOLDER_VARIABLE}=<existing folder>; {found}. For the real cloud, take rehearsal/bin off PATH."
        )
    return World(Path(folder).resolve())


def stamp(world: World) -> str:
    """The world's own mark, made when it is first asked for."""
    found = world.setting(_STAMP_SETTING)
    if found is None:
        world.set_setting(_STAMP_SETTING, uuid.uuid4().hex)
        return stamp(world)
    return found


class Standin(Provider):
    """A provider plugin that works on a world instead of a cloud.

    Args:
        name: The plugin's name, for instance `gcp`.
        version: That of the installed SDK, so that the engine finds what the program asks for.
        world: The world.
    """

    def __init__(self, name: str, version: str, world: World) -> None:
        super().__init__(name, version)
        self.world = world

    async def check_config(self, request: CheckRequest) -> CheckResponse:
        """Adds the world's stamp; refuses a state that was made elsewhere."""
        mark = await self.blocking(stamp, self.world)
        known = request.olds.get(STAMP)
        if request.olds and known is None:
            reason = "this state was made with the real provider; a rehearsal works on a state of its own"
            return CheckResponse(request.news, [CheckFailure("", reason)])
        if known not in (None, mark):
            reason = (
                f"this state belongs to another rehearsed cloud than the one in {self.world.folder}; "
                f"set {FOLDER_VARIABLE} to that one's folder, or start with a fresh stack"
            )
            return CheckResponse(request.news, [CheckFailure("", reason)])
        return CheckResponse({**request.news, STAMP: mark})

    async def in_world(self, work: Callable[[], T]) -> T:
        """Run blocking work on the world; its refusals become one clear line each.

        Raises:
            ProviderError: The world refused, as Google words it.
        """
        try:
            return await self.blocking(self._patiently, work)
        except WorldError as error:
            raise ProviderError(f"googleapi: Error {error.code}: {error.message} ({error.status})") from error

    def _patiently(self, work: Callable[[], T]) -> T:
        """Try again what the real provider tries again."""
        wait = float(self.world.setting(_RETRY_SETTING) or 1.0)
        patient = retry(
            retry=retry_if_exception(_is_transient),
            wait=wait_exponential(multiplier=wait, max=10 * wait),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        return patient(work)()


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, InjectedFault) and error.kind in _RETRIED_KINDS
