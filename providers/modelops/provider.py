"""The provider `modelops`: finds the class that manages a resource by its token and hands requests over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from providers.base.errors import ProviderError
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
from providers.modelops.resource import Resource
from providers.modelops.staged_model import StagedModel
from providers.modelops.vertexai.custom_job import CustomJob
from providers.modelops.vertexai.deployment import ModelDeployment
from providers.modelops.vertexai.model import Model
from providers.modelops.vertexai.pipeline_run import PipelineRun

NAME: Final = "modelops"
VERSION: Final = "0.1.0"

RESOURCES: Final[Mapping[str, type[Resource]]] = {
    "modelops:index:StagedModel": StagedModel,
    "modelops:vertex:Model": Model,
    "modelops:vertex:ModelDeployment": ModelDeployment,
    "modelops:vertex:CustomJob": CustomJob,
    "modelops:vertex:PipelineRun": PipelineRun,
}
"""Every resource, by its type token."""


class ModelopsProvider(Provider):
    """Manages the resources of `RESOURCES` with Google's APIs.

    Args:
        name: the package's name.
        version: the provider's version.
        google: how to reach Google; with the ambient credentials by default.
    """

    def __init__(self, name: str = NAME, version: str = VERSION, google: Google | None = None) -> None:
        super().__init__(name, version)
        reach = google or Google(self.cancelled)
        self._resources = {token: resource(self, reach) for token, resource in RESOURCES.items()}

    async def check(self, request: CheckRequest) -> CheckResponse:
        return await self._of(request.type).check(request)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        return await self._of(request.type).diff(request)

    async def create(self, request: CreateRequest) -> CreateResponse:
        return await self._of(request.type).create(request)

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        return await self._of(request.type).read(request)

    async def update(self, request: UpdateRequest) -> Properties:
        return await self._of(request.type).update(request)

    async def delete(self, request: DeleteRequest) -> None:
        await self._of(request.type).delete(request)

    def _of(self, token: str) -> Resource:
        if token not in self._resources:
            raise ProviderError(f"modelops has no resource {token}; it has {', '.join(self._resources)}")
        return self._resources[token]
