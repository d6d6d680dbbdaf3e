"""`modelops:vertex:Model`: a model in the registry, whose version holds the container and the artifacts.

A version cannot be changed: another container or artifact becomes another version of the same model, and the
aliases move to it. Versions that were made before stay, so going back to one uploads nothing; deleting the
resource deletes the model with all of them. Its id is the full name, `projects/P/locations/L/models/MODEL`.
"""

from __future__ import annotations

from typing import Any, Final

from providers.base.diff import diff_properties, touching
from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import (
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import Properties, strip_secrets
from providers.modelops.client import TemporaryError
from providers.modelops.polling import Deadline
from providers.modelops.vertexai import metrics as metric_labels
from providers.modelops.vertexai.in_use import undeployed
from providers.modelops.vertexai.model_inputs import CONTENT, DEFAULT_ALIAS, ContainerSpec, ModelInputs
from providers.modelops.vertexai.names import OWN_LABELS, SPEC_LABEL, URN_LABEL, mark, place_of
from providers.modelops.vertexai.operations import Operation, OperationFailed, explained
from providers.modelops.vertexai.resource import VertexResource, overlaid

DEFAULT_TIMEOUT_SECONDS: Final = 30 * 60
"""How long an upload or a deletion may take where the resource has no custom timeout; an image is copied."""


class Model(VertexResource[ModelInputs]):
    """Uploads, versions, updates and deletes a model."""

    inputs_type = ModelInputs
    title = "Model"
    replace_on = ("project", "location", "modelId")
    computed = ("resourceName", "versionId", "versionResourceName")

    def damaged(self, outputs: Properties) -> list[str]:
        return [] if outputs.get("versionId") else ["versionId"]

    async def create(self, request: CreateRequest) -> CreateResponse:
        if request.preview:
            return CreateResponse("", self.foretold(request.inputs))
        inputs = self.inputs(request.inputs)
        await self.provider.blocking(self._require_ours, inputs, request.urn)
        outputs = await self._ensure(inputs, request.inputs, request.urn, "", request.timeout)
        self._made[request.urn] = inputs.name
        return CreateResponse(inputs.name, outputs)

    async def update(self, request: UpdateRequest) -> Properties:
        version = str(request.old_outputs.get("versionId") or "")
        changes = diff_properties(request.old_inputs, request.news)
        if touching(changes, CONTENT):
            version = ""
        if request.preview:
            known = {name: request.old_outputs.get(name) for name in self.computed}
            return {**request.news, **known} if version else self.foretold(request.news)
        inputs = self.inputs(request.news)
        return await self._ensure(inputs, request.news, request.urn, version, request.timeout)

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        known = request.inputs or {}
        version = str(request.outputs.get("versionId") or "")
        name = request.id.partition("@")[0]
        model = await self.provider.blocking(self._model, f"{name}@{version}" if version else request.id)
        if model is None and version:
            if await self.provider.blocking(self._model, name) is None:
                return None
            self.provider.log.warning(
                request.urn, f"version {version} of {name} is gone; `pulumi up` uploads it again"
            )
            return ReadResponse(name, known, _outputs(request.outputs, name, ""))
        if model is None:
            return None
        inputs = overlaid(known, _observed(name, model, known))
        return ReadResponse(name, inputs, _outputs(inputs, name, str(model["versionId"])))

    async def delete(self, request: DeleteRequest) -> None:
        name = request.id
        if self._made.get(request.urn) == name:
            return
        what, deadline = f"deleting model {name}", Deadline(request.timeout or DEFAULT_TIMEOUT_SECONDS)
        await self.operations.quiet(self.provider, name, request.urn, what, deadline)
        await undeployed(self.provider, self.api, name, request.urn, what, deadline)
        begun = await self.provider.blocking(self.api.found, what, "models.delete", name=name)
        if begun is not None:
            await self.operations.response(self.provider, Operation.of(begun), request.urn, what, deadline)

    async def _ensure(
        self, inputs: ModelInputs, given: Properties, urn: str, version: str, timeout: float | None
    ) -> Properties:
        """Makes the model what the inputs say; its version is one already, or is uploaded."""
        found = version or await self._version(
            inputs, given, urn, Deadline(timeout or DEFAULT_TIMEOUT_SECONDS)
        )
        outputs = _outputs(given, inputs.name, found)
        try:
            await self.provider.blocking(self._bring_up_to_date, inputs, urn, found)
        except ProviderError as error:
            raise InitializationFailed(inputs.name, outputs, [str(error)]) from error
        return outputs

    async def _version(self, inputs: ModelInputs, given: Properties, urn: str, deadline: Deadline) -> str:
        """The id of the version with the inputs' content, uploaded where there is none."""
        what = f"uploading model {inputs.model_id}"
        while True:
            found = await self.provider.blocking(
                self.api.attempts, lambda: self._found_or_begun(inputs, urn, what)
            )
            if isinstance(found, str):
                return found
            operation, ours = found
            try:
                ended = await self.operations.finished(self.provider, operation, urn, what, deadline)
            except ProviderError as error:
                # It goes on; the next `up` finds what it made, and `destroy` deletes that.
                raise InitializationFailed(
                    inputs.name, _outputs(given, inputs.name, ""), [str(error)]
                ) from error
            if ended.code and ours:
                raise OperationFailed(f"{what}: {explained(ended)}")
            if ours:
                return str(ended.response["modelVersionId"])

    def _found_or_begun(self, inputs: ModelInputs, urn: str, what: str) -> str | tuple[Operation, bool]:
        """The version that is there; else an operation under way, and whether this call began it."""
        model = self._model(inputs.name, repeat=False)
        if model is not None:
            version = self._uploaded_before(inputs)
            if version:
                return version
        running = self.operations.running(inputs.name, repeat=False)
        if running is not None:
            return running, False
        return Operation.of(self._upload(inputs, urn, what, anew=model is None)), True

    def _upload(self, inputs: ModelInputs, urn: str, what: str, anew: bool) -> dict[str, Any]:
        model = {
            "displayName": inputs.display_name,
            "description": inputs.description,
            "labels": _labels(inputs, urn),
            "versionAliases": sorted({*inputs.version_aliases, DEFAULT_ALIAS}),
            "containerSpec": inputs.container_spec.request(),
            **({"artifactUri": inputs.artifact_uri} if inputs.artifact_uri else {}),
        }
        which = {"modelId": inputs.model_id} if anew else {"parentModel": inputs.name}
        begun: dict[str, Any] = self.api.call(
            what, "models.upload", repeat=False, parent=inputs.parent, body={"model": model, **which}
        )
        return begun

    def _uploaded_before(self, inputs: ModelInputs) -> str | None:
        """The newest version with the inputs' content."""
        versions = self.api.pages(
            f"listing the versions of {inputs.name}",
            "models.listVersions",
            "models",
            repeat=False,
            name=inputs.name,
        )
        fitting = [
            int(each["versionId"])
            for each in versions
            if each.get("labels", {}).get(SPEC_LABEL) == inputs.content
        ]
        return str(max(fitting)) if fitting else None

    def _bring_up_to_date(self, inputs: ModelInputs, urn: str, version: str) -> None:
        """Changes what can be changed of a model and its version, as far as it differs.

        What is the model's own must be asked for under its name, labels of a version under the version's:
        the comments on UpdateModelRequest in google/cloud/aiplatform/v1/model_service.proto (googleapis).
        """
        named = f"{inputs.name}@{version}"
        model = self.api.attempts(lambda: self._just_uploaded(named))
        texts = {"displayName": inputs.display_name, "description": inputs.description}
        if any(model.get(field, "") != text for field, text in texts.items()):
            self._patch(inputs.name, texts)
        labels = _labels(inputs, urn)
        if model.get("labels", {}) != labels:
            shown = self._patch(named, {"labels": labels})
            if shown.get("labels", {}) != labels:
                # The others are the model's own: somebody gave them to all of its versions.
                self._patch(inputs.name, {"labels": {URN_LABEL: mark(urn)}})
        present = set(model.get("versionAliases", []))
        wanted = {*inputs.version_aliases, DEFAULT_ALIAS}
        if present != wanted:
            changes = [*sorted(wanted - present), *(f"-{alias}" for alias in sorted(present - wanted))]
            self.api.call(
                f"moving the aliases of {inputs.name}",
                "models.mergeVersionAliases",
                name=named,
                body={"versionAliases": changes},
            )

    def _patch(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = self.api.call(
            f"updating model {name}", "models.patch", name=name, body=fields, updateMask=",".join(fields)
        )
        return shown

    def _just_uploaded(self, name: str) -> dict[str, Any]:
        """A version that must be there, though it may not be known everywhere yet."""
        model = self._model(name, repeat=False)
        if model is None:
            raise TemporaryError(f"model {name} is not to be seen yet; run the command again")
        return model

    def _model(self, name: str, repeat: bool = True) -> dict[str, Any] | None:
        return self.api.found(f"reading model {name}", "models.get", repeat=repeat, name=name)

    def _require_ours(self, inputs: ModelInputs, urn: str) -> None:
        """Refuses a model of the same id that another stack, or a person, has made."""
        model = self._model(inputs.name)
        if model is not None and model.get("labels", {}).get(URN_LABEL) != mark(urn):
            raise ProviderError(
                f"model {inputs.name} exists already and was not made by this resource: choose another "
                f"modelId, or take it over with `pulumi import {urn.split('::')[2].split('$')[-1]} "
                f"{urn.rpartition('::')[2]} {inputs.name}`"
            )


def _labels(inputs: ModelInputs, urn: str) -> dict[str, str]:
    return {**inputs.all_labels, URN_LABEL: mark(urn), SPEC_LABEL: inputs.content}


def _outputs(given: Properties, name: str, version: str) -> Properties:
    return {
        **given,
        "resourceName": name,
        "versionId": version,
        "versionResourceName": f"{name}@{version}" if version else "",
    }


def _observed(name: str, model: dict[str, Any], known: Properties) -> Properties:
    """The inputs of a model as it is. What a version is fixed by cannot have changed under its id."""
    plain, (project, location) = strip_secrets(known), place_of(name)
    labels = {key: value for key, value in model.get("labels", {}).items() if key not in OWN_LABELS}
    metrics, others = metric_labels.from_labels(labels, plain.get("metrics", {}))
    aliases = {alias for alias in model.get("versionAliases", []) if alias != DEFAULT_ALIAS}
    given: list[str] = plain.get("versionAliases", [])
    content: Properties = {name: known[name] for name in CONTENT if known.get(name) is not None}
    if "containerSpec" not in content:
        content = {"containerSpec": ContainerSpec.shown(model.get("containerSpec", {}))}
        content |= {"artifactUri": model["artifactUri"]} if model.get("artifactUri") else {}
    return {
        "project": project,
        "location": location,
        "modelId": name.rpartition("/")[2],
        "displayName": model.get("displayName", ""),
        "description": model.get("description", ""),
        "versionAliases": given if {*given} - {DEFAULT_ALIAS} == aliases else sorted(aliases),
        "labels": others,
        "metrics": metrics,
        **content,
    }
