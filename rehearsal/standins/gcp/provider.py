"""The stand-in for Pulumi's Google Cloud plugin."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from providers.base import server
from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import (
    CheckFailure,
    CheckRequest,
    CheckResponse,
    ConfigureRequest,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import UNKNOWN, Properties, mark_secret, strip_secrets
from rehearsal.runner.choose import starts_services
from rehearsal.standins.common import Standin, open_world
from rehearsal.standins.compare import (
    comparable,
    differences,
    filled_paths,
    foretold_update,
    like,
    replace_paths,
)
from rehearsal.standins.gcp.models import MODELS
from rehearsal.standins.model import Cloud, Found, Model
from rehearsal.standins.refusals import refused
from rehearsal.standins.sdk import ResourceType, resource_type, sdk_version
from rehearsal.standins.typecheck import check_types
from rehearsal.world import AlreadyExists, NotFound, World

_PROJECT_VARIABLES = ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
_REGION_VARIABLES = ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION")
"""Where the real provider looks when the stack's configuration does not say."""

_GENERATED = "__defaults"
"""Among a resource's inputs, the names of those that nobody gave; the real provider has the same mark."""

_CREATE_SECONDS = 1200.0
"""The real provider's own limit for making a Cloud Run service."""


class GcpStandin(Standin):
    """Google Cloud, as far as it is modelled, in a world; arguments as for every stand-in."""

    def __init__(self, name: str, version: str, world: World) -> None:
        super().__init__(name, version, world)
        self._project = ""
        self._region = ""

    async def configure(self, request: ConfigureRequest) -> None:
        """Takes project and region from the provider's arguments, the configuration or the environment."""
        self._project = _setting(request, "project", _PROJECT_VARIABLES)
        self._region = _setting(request, "region", _REGION_VARIABLES)
        if self._project:
            await self.blocking(self.world.ensure_project, self._project)

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Types, defaults, generated names, and what Google would refuse without looking anything up."""
        return await self.blocking(self._check, request)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Compares the resource as it is with the program's inputs."""
        model, types = _model(request.type), resource_type(request.type)
        actual = {name: request.old_outputs.get(name) for name in types.inputs}
        changes = differences(actual, _plain(request.news), _filled(types))
        if not changes:
            return DiffResponse(())
        fixed_name = model.auto_name not in request.news.get(_GENERATED, ())
        return DiffResponse.of(changes, replace_paths(request.type), delete_before_replace=fixed_name)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Makes the resource, and waits until it works."""
        model, types = _model(request.type), resource_type(request.type)
        if request.preview:
            return CreateResponse("", _foretold(types, request.inputs))
        cloud = self._cloud(request.urn, request.timeout)
        inputs = _plain(request.inputs)
        id = await self.in_world(lambda: self._create(model, cloud, inputs, request.urn))
        outputs = await self._settled(model, cloud, id, request.inputs, {})
        return CreateResponse(id, outputs)

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        """The resource as the world has it; None when it is gone."""
        model, types = _model(request.type), resource_type(request.type)
        cloud = self._cloud(request.urn, request.timeout)

        def look() -> Found | None:
            with self.world.call(model.type_name, "read", request.id):
                return model.read(cloud, request.id)

        found = await self.in_world(look)
        if found is None:
            return None
        before = strip_secrets(request.outputs)
        outputs = _outputs(model, types, found, before)
        known = {name: outputs[name] for name in types.inputs if outputs.get(name) is not None}
        inputs = comparable(known, _plain(request.inputs), _filled(types) if request.inputs else ())
        inputs |= {name: value for name, value in request.inputs.items() if name == _GENERATED}
        return ReadResponse(
            found.id,
            like({**request.outputs, **request.inputs}, inputs),
            _secretly(types, {**request.outputs, **request.inputs}, outputs),
        )

    async def update(self, request: UpdateRequest) -> Properties:
        """Changes the resource in place, and waits until it works."""
        model = _model(request.type)
        if request.preview:
            filled = _filled(resource_type(request.type))
            foretold = foretold_update(request.old_outputs, request.old_inputs, request.news, filled)
            return {**request.old_outputs, **foretold}
        cloud = self._cloud(request.urn, request.timeout)
        inputs = _plain(request.news)
        await self.in_world(lambda: self._update(model, cloud, request.id, inputs))
        return await self._settled(model, cloud, request.id, request.news, request.old_outputs)

    async def delete(self, request: DeleteRequest) -> None:
        """Removes the resource, unless something protects it; one that is gone is no error."""
        model = _model(request.type)
        cloud = self._cloud(request.urn, request.timeout)
        state = strip_secrets(request.outputs)
        await self.in_world(lambda: self._delete(model, cloud, request.id, state))

    # Blocking parts ------------------------------------------------------------------------------

    def _check(self, request: CheckRequest) -> CheckResponse:
        model = MODELS.get(request.type)
        if model is None:
            return CheckResponse(request.news, [CheckFailure("", not_modelled(request.type))])
        types, cloud = resource_type(request.type), self._cloud(request.urn, None)
        failures = check_types(types.inputs, request.news)
        inputs = request.news
        if not failures:
            inputs = self._filled_in(model, types, cloud, request)
            findings = refused(request.type, "check", cloud, _plain(inputs))
            failures = [message for _, message in findings]
        return CheckResponse(inputs, [CheckFailure("", failure) for failure in failures])

    def _filled_in(
        self, model: Model, types: ResourceType, cloud: Cloud, request: CheckRequest
    ) -> Properties:
        given = {name: value for name, value in request.news.items() if value is not None}
        if model.auto_name is not None and model.auto_name not in given:
            given[model.auto_name] = request.olds.get(model.auto_name) or _generated(request)
            given[_GENERATED] = [model.auto_name]
        inputs = model.defaults(cloud, given)
        for name in sorted(given.keys() & model.unmodelled(types)):
            cloud.warn(f"{name}: accepted without a check, because the rehearsed cloud does not model it")
        return {name: value for name, value in inputs.items() if name in types.inputs or name == _GENERATED}

    def _create(self, model: Model, cloud: Cloud, inputs: Properties, urn: str) -> str:
        address = model.address(cloud, inputs)
        with self.world.call(model.type_name, "create", address):
            self._refuse(model, cloud, inputs)
            try:
                return model.create(cloud, inputs)
            except AlreadyExists as error:
                raise AlreadyExists(f"{error.message} {_import_remedy(urn)}") from error

    def _update(self, model: Model, cloud: Cloud, id: str, inputs: Properties) -> None:
        with self.world.call(model.type_name, "update", id):
            if model.read(cloud, id) is None:
                raise NotFound(
                    f"{id} is not in the rehearsed cloud at {self.world.folder}: "
                    "run `pulumi refresh`, and up makes it again."
                )
            self._refuse(model, cloud, inputs)
            model.update(cloud, id, inputs)

    def _delete(self, model: Model, cloud: Cloud, id: str, state: Properties) -> None:
        with self.world.call(model.type_name, "delete", id):
            if model.read(cloud, id) is None or state.get("deletionPolicy") == "ABANDON":
                return
            blocker = model.blocker(cloud, id, state)
            if blocker is not None:
                raise ProviderError(blocker)
            model.delete(cloud, id, state)

    def _refuse(self, model: Model, cloud: Cloud, inputs: Properties) -> None:
        findings = refused(model.type_name, "apply", cloud, inputs)
        if findings:
            row = findings[0][0]
            reasons = " ".join(message for _, message in findings)
            raise ProviderError(f"googleapi: Error {row.code}: {reasons}")

    async def _settled(
        self, model: Model, cloud: Cloud, id: str, inputs: Properties, old: Properties
    ) -> Properties:
        """Wait until the resource works; its outputs then, or the failure that keeps its id and state."""
        types = resource_type(model.type_name)
        problem = await self.in_world(lambda: model.settle(cloud, id))
        found = await self.in_world(lambda: model.read(cloud, id))
        if found is None:
            raise ProviderError(f"{id} vanished from the rehearsed cloud while it was being made")
        kept = {**strip_secrets(old), **strip_secrets(inputs)}
        outputs = _secretly(types, inputs, _outputs(model, types, found, kept))
        if problem is not None:
            raise InitializationFailed(id, outputs, problem.reasons)
        return outputs

    def _cloud(self, urn: str, timeout: float | None) -> Cloud:
        warn: Callable[[str], None] = lambda text: self.log.warning(urn, text)  # noqa: E731
        runs = starts_services()
        return Cloud(self.world, self._project, self._region, runs, warn, timeout or _CREATE_SECONDS)


def not_modelled(token: str) -> str:
    """What is said about a type that the rehearsed cloud does not have."""
    return f"not modelled by the rehearsed cloud: {token} (modelled: {', '.join(sorted(MODELS))})"


def _import_remedy(urn: str) -> str:
    """What to do about a resource that exists, though the stack does not know it."""
    stack = urn.split(":")[2]
    return (
        f"It is not in the state of stack {stack}, and nothing is adopted: if an `up` was cut off, "
        f"`llmstack recover {stack}` imports it; else choose another name."
    )


def _model(token: str) -> Model:
    if token not in MODELS:
        raise ProviderError(not_modelled(token))
    return MODELS[token]


def _setting(request: ConfigureRequest, name: str, variables: tuple[str, ...]) -> str:
    given = strip_secrets(request.args).get(name) or request.variables.get(f"gcp:config:{name}")
    candidates = [given, *(os.environ.get(variable) for variable in variables)]
    return next((value for value in candidates if isinstance(value, str) and value), "")


def _generated(request: CheckRequest) -> str:
    suffix = hashlib.sha256(request.random_seed + request.urn.encode()).hexdigest()[:7]
    return f"{request.name[:22].rstrip('-').lower()}-{suffix}"


def _plain(inputs: Properties) -> Properties:
    """The inputs as the cloud gets them: no secret marks, no marks of the provider's own."""
    return {name: value for name, value in strip_secrets(inputs).items() if name != _GENERATED}


def _filled(types: ResourceType) -> tuple[Any, ...]:
    return (*((name,) for name in types.filled), *filled_paths(types.token))


def _foretold(types: ResourceType, inputs: Properties) -> Properties:
    """Outputs in a preview: the inputs, and UNKNOWN for whatever only the cloud will say."""
    later = dict.fromkeys((*types.computed, *types.filled), UNKNOWN)
    return {**later, **inputs}


def _outputs(model: Model, types: ResourceType, found: Found, kept: Mapping[str, Any]) -> Properties:
    """All outputs: what Google has, plus what only the provider keeps (from inputs or from the state)."""
    provider_only = {
        name: kept.get(name, model.kept.get(name))
        for name in (*model.kept, *model.unmodelled(types))
        if kept.get(name, model.kept.get(name)) is not None
    }
    inputs = dict(found.inputs)
    for name in model.unmanaged_maps:
        if kept and isinstance(inputs.get(name), dict):  # nothing is kept when a resource is imported
            known = kept.get(name) or {}
            inputs[name] = {key: value for key, value in inputs[name].items() if key in known}
    return {**provider_only, **inputs, **found.computed}


def _secretly(types: ResourceType, inputs: Properties, outputs: Properties) -> Properties:
    return mark_secret(like(inputs, outputs), types.secret_outputs)


def main() -> None:
    """The plugin's process.

    Our own provider and the containers ask Google's APIs, not this plugin, so those must answer first.
    """
    from rehearsal.cloud.client import CloudError, ensure_running  # late: tests need no cloud process

    world = open_world("gcp")
    try:
        ensure_running(world.folder)
    except CloudError as error:
        sys.exit(f"pulumi-resource-gcp: {error}")
    server.main(lambda name, version: GcpStandin(name, version, world), "gcp", sdk_version("gcp"))
