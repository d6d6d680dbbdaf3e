"""The stand-in for Pulumi's Kubernetes plugin."""

from __future__ import annotations

import time
from pathlib import Path

from providers.base import server
from providers.base.errors import Cancelled, InitializationFailed, ProviderError
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
from providers.base.values import Properties, has_unknown
from rehearsal.cluster.pod import not_rehearsed
from rehearsal.cluster.state import running
from rehearsal.standins.common import Standin, open_world
from rehearsal.standins.compare import like
from rehearsal.standins.kubernetes.access import Target, UnreachableError, reach
from rehearsal.standins.kubernetes.compare import changes_of, normalised, pruned
from rehearsal.standins.kubernetes.kinds import Kind, annotation, kind_of, metadata_of
from rehearsal.standins.kubernetes.naming import AUTONAMED, named, split_id
from rehearsal.standins.kubernetes.objects import ApiObjects, Body, Objects, Refusal, WorldObjects
from rehearsal.standins.kubernetes.outputs import imported, outputs_of
from rehearsal.standins.kubernetes.settings import Settings, compare_settings, settings_of
from rehearsal.standins.kubernetes.waiting import AWAIT_SECONDS, Failed, Wait
from rehearsal.standins.sdk import sdk_version
from rehearsal.standins.typecheck import check_types
from rehearsal.world import World

_POLL_SECONDS = 0.5


class KubernetesStandin(Standin):
    """Objects of the rehearsed cloud's clusters; arguments as for every stand-in."""

    def __init__(self, name: str, version: str, world: World) -> None:
        super().__init__(name, version, world)
        self._settings = Settings()
        self._apis: dict[str, ApiObjects] = {}

    async def diff_config(self, request: DiffRequest) -> DiffResponse:
        """Another cluster replaces every object; anything else about the connection does not."""
        return compare_settings(request)

    async def configure(self, request: ConfigureRequest) -> None:
        """Takes the settings in; that a cluster cannot be reached shows when something is asked of it."""
        self._settings = settings_of(request)

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Types at every depth, the name and the namespace."""
        kind = kind_of(request.type)
        types = kind.types()
        failures = check_types(types.inputs, request.news) if types else _untyped(kind, request.news)
        if metadata_of(request.news).get("generateName") is not None:
            failures.append("metadata.generateName: not modelled by the rehearsed cloud; leave the name out")
        if failures:
            return CheckResponse(request.news, [CheckFailure("", failure) for failure in failures])
        return CheckResponse(named(kind, request, self._default_namespace()))

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Compares the object as it is, where the program says something about it, with the program's."""
        kind = kind_of(request.type)
        changes = changes_of(request.old_outputs, request.old_inputs, request.news, kind)
        if not changes:
            return DiffResponse(())
        settings = self._settings
        may_change = settings.mutable_secrets if kind.name == "Secret" else settings.mutable_maps
        mutable = may_change and request.news.get("immutable") is not True
        response = DiffResponse.of(changes, kind.replace_paths(mutable=mutable))
        same = metadata_of(request.news).get("name") == metadata_of(request.old_outputs).get("name")
        fixed = annotation(request.news, AUTONAMED) != "true"
        return DiffResponse(changes, response.replaces, bool(response.replaces) and same and fixed)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Makes the object, and waits until it is ready."""
        kind = kind_of(request.type)
        if request.preview:
            return CreateResponse("", await self._foretold(kind, request.inputs, request.inputs, new=True))
        wait = Wait.of(kind, request.inputs, request.timeout)
        live = await self._written(wait, new=not self._settings.upsert)
        if kind.name == "Job" and (reason := not_rehearsed(normalised(request.inputs)["spec"]["template"])):
            self.log.warning(request.urn, reason)
        return CreateResponse(wait.name.id, await self._settled(wait, live))

    async def update(self, request: UpdateRequest) -> Properties:
        """Changes the object in place, and waits until it is ready."""
        kind = kind_of(request.type)
        if request.preview:
            merged = {**request.old_outputs, **request.news}
            return await self._foretold(kind, request.news, merged, new=False)
        wait = Wait.of(kind, request.news, request.timeout)
        return await self._settled(wait, await self._written(wait, new=False))

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        """The object as the cluster has it; None when it is gone."""
        kind = kind_of(request.type)
        name = split_id(kind, request.id)
        objects = self._objects()

        def look() -> Body | None:
            with self.world.call(request.type, "read", request.id):
                return objects.get(name)

        live = await self.in_world(look)
        if live is None:
            return None
        known = request.inputs or request.outputs
        inputs = pruned(live, normalised(request.inputs)) if request.inputs else imported(kind, live)
        outputs = outputs_of(kind, known, live)
        missing = await self.blocking(Wait(name, request.inputs).verdict, objects, live)
        if missing is not None:  # the engine updates it with the next run, as after a failed creation
            raise InitializationFailed(
                request.id, outputs, [f"{kind.name} {name.id}: {missing}"], like(known, inputs)
            )
        return ReadResponse(request.id, like(known, inputs), outputs)

    async def delete(self, request: DeleteRequest) -> None:
        """Removes the object and waits until it is gone; one that is gone already is no error."""
        kind = kind_of(request.type)
        name, objects = split_id(kind, request.id), self._objects()
        policy = annotation(request.inputs, "deletionPropagationPolicy").capitalize() or "Foreground"

        def remove() -> None:
            with self.world.call(request.type, "delete", request.id):
                objects.delete(name, policy)

        def there() -> bool:
            return objects.get(name) is not None

        await self.in_world(remove)
        deadline = time.monotonic() + (request.timeout or AWAIT_SECONDS)
        while annotation(request.inputs, "skipAwait") != "true" and await self.blocking(there):
            if time.monotonic() > deadline:
                raise ProviderError(f"{kind.name} {name.id} is still being deleted: look at its finalizers")
            await self.pause(_POLL_SECONDS)

    # Parts -----------------------------------------------------------------------------------------

    def _objects(self) -> Objects:
        """The objects of the cluster that the settings lead to.

        Raises:
            ProviderError: they lead to none.
        """
        settings = self._settings
        try:
            target = reach(self.world, settings.kubeconfig, settings.context, settings.cluster)
        except UnreachableError as error:
            raise ProviderError(f"configured Kubernetes cluster is unreachable: {error}") from None
        return self._objects_of(target)

    def _objects_of(self, target: Target) -> Objects:
        state = running(self.world.folder, target.cluster)
        if state is None:
            return WorldObjects(self.world, target.cluster)
        if state.endpoint not in self._apis:
            self._apis[state.endpoint] = ApiObjects(Path(state.kubeconfig))
        return self._apis[state.endpoint]

    def _default_namespace(self) -> str:
        settings = self._settings
        if settings.namespace or not settings.known:
            return settings.namespace
        try:
            return reach(self.world, settings.kubeconfig, settings.context, settings.cluster).namespace
        except UnreachableError:
            return ""

    async def _foretold(
        self, kind: Kind, inputs: Properties, otherwise: Properties, *, new: bool
    ) -> Properties:
        """Outputs in a preview: what the API server would make of the inputs, where it can be asked."""
        if has_unknown(inputs) or not self._settings.known:
            return otherwise
        try:
            objects = self._objects()
        except ProviderError:
            return otherwise  # it may be reachable once the program has run
        if not isinstance(objects, ApiObjects):
            return otherwise
        name, body = Wait.of(kind, inputs, None).name, normalised(inputs)
        try:
            live = await self.blocking(
                lambda: objects.apply(name, body, new=new, force=self._forces(inputs), dry=True)
            )
        except Refusal as refusal:
            if refusal.code in (404, 409):
                return otherwise  # its namespace is still to be made, or what exists still to be removed
            raise ProviderError(f"{kind.name} {name.id}: {refusal}") from None
        live.pop("status", None)
        return outputs_of(kind, inputs, live)

    async def _written(self, wait: Wait, *, new: bool) -> Body:
        name, objects, body = wait.name, self._objects(), normalised(wait.inputs)
        operation = "create" if new else "update"

        def write() -> Body:
            with self.world.call(name.kind.token, operation, name.id):
                return objects.apply(name, body, new=new, force=self._forces(wait.inputs))

        try:
            return await self.in_world(write)
        except Refusal as refusal:
            raise ProviderError(f"{name.kind.name} {name.id}: {refusal}") from None

    async def _settled(self, wait: Wait, live: Body) -> Properties:
        """Wait until the object is ready; its outputs then, or the failure that keeps its id and state."""
        name, objects = wait.name, self._objects()
        if not wait.needed(objects, live):
            return outputs_of(name.kind, wait.inputs, live)
        deadline = time.monotonic() + wait.seconds
        while True:
            found = await self.blocking(objects.get, name)
            if found is None:
                raise ProviderError(f"{name.kind.name} {name.id} was deleted while it was waited for")
            outputs = outputs_of(name.kind, wait.inputs, found)
            try:
                missing = await self.blocking(wait.look, objects, found)
            except Failed as failed:
                raise _unready(wait, outputs, f": {failed}") from None
            if missing is None:
                return outputs
            if time.monotonic() > deadline:
                raise _unready(wait, outputs, f" is not ready after {wait.seconds:g} s: {missing}")
            try:
                await self.pause(_POLL_SECONDS)
            except Cancelled:
                raise _unready(wait, outputs, f": no longer waited for; {missing}") from None

    def _forces(self, inputs: Properties) -> bool:
        asked = annotation(inputs, "patchForce")
        return asked == "true" if asked else self._settings.force


def _unready(wait: Wait, outputs: Properties, said: str) -> InitializationFailed:
    return InitializationFailed(wait.name.id, outputs, [f"{wait.name.kind.name} {wait.name.id}{said}"])


def _untyped(kind: Kind, inputs: Properties) -> list[str]:
    """What is wrong with an object of a kind that the SDK does not know."""
    given = (inputs.get("apiVersion"), inputs.get("kind"))
    if given == (kind.api_version, kind.name):
        return []
    return [f"apiVersion and kind must be {kind.api_version} and {kind.name}, as the resource's type says"]


def main() -> None:
    """The plugin's process."""
    world = open_world("kubernetes")
    server.main(
        lambda name, version: KubernetesStandin(name, version, world), "kubernetes", sdk_version("kubernetes")
    )
