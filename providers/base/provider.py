"""The class that providers derive from, with typed requests and responses.

Methods are coroutines on one event loop; blocking work goes through `Provider.blocking`, so that the engine's
parallel operations do run in parallel. Timeouts are in seconds, None where the user set none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from providers.base.diff import Change, diff_properties, touching
from providers.base.errors import Cancelled, ProviderError
from providers.base.log import EngineLog
from providers.base.paths import format_path
from providers.base.values import Properties

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConfigureRequest:
    """The provider's configuration: values in `args`, JSON text by `package:config:key` in `variables`."""

    args: Properties
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """Inputs to validate. `olds` is empty when the resource is created or replaced."""

    urn: str
    type: str
    name: str
    olds: Properties
    news: Properties
    random_seed: bytes = b""


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """One invalid input; `path` is its property path, or empty when it concerns the whole."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckResponse:
    """The inputs with defaults filled in, or why they are refused."""

    inputs: Properties
    failures: Sequence[CheckFailure] = ()


@dataclass(frozen=True, slots=True)
class DiffRequest:
    """Old and new of a resource; where changes are ignored, the engine has put the old values into `news`."""

    urn: str
    type: str
    id: str
    old_inputs: Properties
    old_outputs: Properties
    news: Properties
    ignore_changes: Sequence[str] = ()

    def changed_inputs(self) -> list[Change]:
        """What differs between the old and the new inputs."""
        return diff_properties(self.old_inputs, self.news)


@dataclass(frozen=True, slots=True)
class DiffResponse:
    """What an update would do. `changes` None lets the engine compare the inputs by itself."""

    changes: Sequence[Change] | None = None
    replaces: Sequence[str] = ()
    """Property paths, each of a change, that need another resource in place of this one."""
    delete_before_replace: bool = False
    output_changes: Sequence[Change] = ()
    """Differences in outputs, not inputs, that an update would repair."""

    @staticmethod
    def of(
        changes: Sequence[Change], replace_on: Sequence[str] = (), delete_before_replace: bool = False
    ) -> DiffResponse:
        """A response that replaces where a change touches one of the property paths (wildcards allowed)."""
        replaces = [format_path(change.path) for change in touching(changes, replace_on)]
        return DiffResponse(changes, replaces, bool(replaces) and delete_before_replace)


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A resource to create, or in a preview to foretell."""

    urn: str
    type: str
    name: str
    inputs: Properties
    preview: bool = False
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """The new resource; in a preview the id stays empty and outputs may be UNKNOWN."""

    id: str
    outputs: Properties


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A resource to look at. `inputs` and `outputs` are empty when it is imported."""

    urn: str
    type: str
    name: str
    id: str
    inputs: Properties
    outputs: Properties
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class ReadResponse:
    """The resource as it is."""

    id: str
    inputs: Properties
    outputs: Properties


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """A resource to change in place, or in a preview to foretell."""

    urn: str
    type: str
    name: str
    id: str
    old_inputs: Properties
    old_outputs: Properties
    news: Properties
    ignore_changes: Sequence[str] = ()
    preview: bool = False
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """A resource to remove."""

    urn: str
    type: str
    name: str
    id: str
    inputs: Properties
    outputs: Properties
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class InvokeRequest:
    """A call of one of the provider's functions."""

    token: str
    args: Properties
    preview: bool = False


@dataclass(frozen=True, slots=True)
class InvokeResponse:
    """What a function returned, or why its arguments are refused."""

    result: Properties
    failures: Sequence[CheckFailure] = ()


class Provider:
    """A provider. Derived classes override what they support.

    Methods raise `ProviderError` with one line that a person can act on, or `InitializationFailed` where a
    resource was created but is not right. Anything else is reported as a defect of the provider.
    """

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self.log = EngineLog()
        self.cancelled = threading.Event()
        """Set once the engine asks operations to stop; blocking work that takes long should watch it."""

    async def blocking(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs blocking work on a thread and gives its result.

        `cancel` does not tear it off, so that the engine learns of whatever the work did; long work watches
        `cancelled` and raises `Cancelled`.
        """
        return await asyncio.to_thread(work, *args, **kwargs)

    async def pause(self, seconds: float) -> None:
        """Sleeps, but raises `Cancelled` as soon as the engine asks operations to stop."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.cancelled.is_set():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.1))
        raise Cancelled("cancelled")

    async def check_config(self, request: CheckRequest) -> CheckResponse:
        """Validates the provider's configuration; accepts any by default."""
        return CheckResponse(request.news)

    async def diff_config(self, request: DiffRequest) -> DiffResponse:  # noqa: ARG002
        """What a change of the provider's configuration does; by default it never replaces the provider."""
        return DiffResponse()

    async def configure(self, request: ConfigureRequest) -> None:
        """Takes the configuration in; comes before any operation on a resource."""

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Validates a resource's inputs and fills in defaults. Values may be UNKNOWN."""
        raise self._missing(request.type)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """What changes between two versions of a resource. Values may be UNKNOWN."""
        raise self._missing(request.type)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Creates a resource."""
        raise self._missing(request.type)

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        """Looks at a resource; None where it does not exist."""
        raise self._missing(request.type)

    async def update(self, request: UpdateRequest) -> Properties:
        """Changes a resource in place and gives its outputs."""
        raise self._missing(request.type)

    async def delete(self, request: DeleteRequest) -> None:
        """Removes a resource; one that is gone already is no error."""
        raise self._missing(request.type)

    async def invoke(self, request: InvokeRequest) -> InvokeResponse:
        """Calls a function."""
        raise self._missing(request.token)

    async def cancel(self) -> None:
        """Asks running operations to stop: `pause` raises and `cancelled` is set."""
        self.cancelled.set()

    def _missing(self, token: str) -> ProviderError:
        return ProviderError(f"provider {self.name} {self.version} has no {token}")
