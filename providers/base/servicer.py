"""The engine's `ResourceProvider` service, answered by a `Provider`.

Source of the protocol: the descriptions in `pulumi.runtime.proto.provider_pb2` and the engine's own client,
`sdk/go/common/resource/plugin/provider_plugin.go`.
"""

from __future__ import annotations

# ruff: noqa: N802, ARG002 - the generated base class gives the methods' names and arguments
import json
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from providers.base import provider as api
from providers.base import wire
from providers.base.errors import InitializationFailed, ProviderError, one_line
from providers.base.values import decode_properties, encode_properties

Context = Any
"""`grpc.aio.ServicerContext`, whose generic parameters the generated service does not name."""

T = TypeVar("T")


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Translates between the wire and a provider, and turns its exceptions into answers a person can read."""

    def __init__(self, provider: api.Provider) -> None:
        self._provider = provider

    async def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: Context
    ) -> provider_pb2.ProviderHandshakeResponse:
        self._provider.log.connect(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True)

    async def Attach(self, request: plugin_pb2.PluginAttach, context: Context) -> empty_pb2.Empty:
        self._provider.log.connect(request.address)
        return empty_pb2.Empty()

    async def GetPluginInfo(self, request: empty_pb2.Empty, context: Context) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._provider.version)

    async def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: Context
    ) -> provider_pb2.GetSchemaResponse:
        # Programs use typed classes of their own; nothing is generated from a schema.
        schema = {"name": self._provider.name, "version": self._provider.version}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    async def GetMapping(
        self, request: provider_pb2.GetMappingRequest, context: Context
    ) -> provider_pb2.GetMappingResponse:
        return provider_pb2.GetMappingResponse()

    async def GetMappings(
        self, request: provider_pb2.GetMappingsRequest, context: Context
    ) -> provider_pb2.GetMappingsResponse:
        return provider_pb2.GetMappingsResponse()

    async def Cancel(self, request: empty_pb2.Empty, context: Context) -> empty_pb2.Empty:
        await self._provider.cancel()
        return empty_pb2.Empty()

    async def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: Context
    ) -> provider_pb2.CheckResponse:
        async def work() -> provider_pb2.CheckResponse:
            return wire.check_response(await self._provider.check_config(wire.check_request(request)))

        return await self._answer(context, request.urn, work)

    async def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: Context
    ) -> provider_pb2.DiffResponse:
        async def work() -> provider_pb2.DiffResponse:
            return wire.diff_response(await self._provider.diff_config(wire.diff_request(request)))

        return await self._answer(context, request.urn, work)

    async def Configure(
        self, request: provider_pb2.ConfigureRequest, context: Context
    ) -> provider_pb2.ConfigureResponse:
        async def work() -> provider_pb2.ConfigureResponse:
            await self._provider.configure(
                api.ConfigureRequest(decode_properties(request.args), dict(request.variables))
            )
            return provider_pb2.ConfigureResponse(
                acceptSecrets=True, supportsPreview=True, acceptResources=True, acceptOutputs=False
            )

        return await self._answer(context, "", work)

    async def Check(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        async def work() -> provider_pb2.CheckResponse:
            return wire.check_response(await self._provider.check(wire.check_request(request)))

        return await self._answer(context, request.urn, work)

    async def Diff(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        async def work() -> provider_pb2.DiffResponse:
            return wire.diff_response(await self._provider.diff(wire.diff_request(request)))

        return await self._answer(context, request.urn, work)

    async def Create(
        self, request: provider_pb2.CreateRequest, context: Context
    ) -> provider_pb2.CreateResponse:
        async def work() -> provider_pb2.CreateResponse:
            created = await self._provider.create(
                api.CreateRequest(
                    urn=request.urn,
                    type=wire.type_of(request),
                    name=wire.name_of(request),
                    inputs=decode_properties(request.properties),
                    preview=request.preview,
                    timeout=request.timeout or None,
                )
            )
            return provider_pb2.CreateResponse(id=created.id, properties=encode_properties(created.outputs))

        return await self._answer(context, request.urn, work)

    async def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:
        async def work() -> provider_pb2.ReadResponse:
            found = await self._provider.read(
                api.ReadRequest(
                    urn=request.urn,
                    type=wire.type_of(request),
                    name=wire.name_of(request),
                    id=request.id,
                    inputs=decode_properties(request.inputs),
                    outputs=decode_properties(request.properties),
                    timeout=request.timeout or None,
                )
            )
            if found is None:
                return provider_pb2.ReadResponse()  # With an id, the engine would take it as existing.
            return provider_pb2.ReadResponse(
                id=found.id,
                inputs=encode_properties(found.inputs),
                properties=encode_properties(found.outputs),
            )

        return await self._answer(context, request.urn, work)

    async def Update(
        self, request: provider_pb2.UpdateRequest, context: Context
    ) -> provider_pb2.UpdateResponse:
        async def work() -> provider_pb2.UpdateResponse:
            outputs = await self._provider.update(
                api.UpdateRequest(
                    urn=request.urn,
                    type=wire.type_of(request),
                    name=wire.name_of(request),
                    id=request.id,
                    old_inputs=decode_properties(request.old_inputs),
                    old_outputs=decode_properties(request.olds),
                    news=decode_properties(request.news),
                    ignore_changes=list(request.ignoreChanges),
                    preview=request.preview,
                    timeout=request.timeout or None,
                )
            )
            return provider_pb2.UpdateResponse(properties=encode_properties(outputs))

        return await self._answer(context, request.urn, work)

    async def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:
        async def work() -> empty_pb2.Empty:
            await self._provider.delete(
                api.DeleteRequest(
                    urn=request.urn,
                    type=wire.type_of(request),
                    name=wire.name_of(request),
                    id=request.id,
                    inputs=decode_properties(request.old_inputs),
                    outputs=decode_properties(request.properties),
                    timeout=request.timeout or None,
                )
            )
            return empty_pb2.Empty()

        return await self._answer(context, request.urn, work)

    async def Invoke(
        self, request: provider_pb2.InvokeRequest, context: Context
    ) -> provider_pb2.InvokeResponse:
        async def work() -> provider_pb2.InvokeResponse:
            answer = await self._provider.invoke(
                api.InvokeRequest(request.tok, decode_properties(request.args), request.preview)
            )
            return wire.invoke_response(answer)

        return await self._answer(context, "", work)

    async def _answer(self, context: Context, urn: str, work: Callable[[], Awaitable[T]]) -> T:
        """Does the work; what it raises becomes the call's one-line error."""
        try:
            return await work()
        except InitializationFailed as failure:
            await context.abort(grpc.StatusCode.UNKNOWN, one_line(failure), wire.failure_details(failure))
        except ProviderError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, one_line(error))
        except Exception as error:
            self._provider.log.debug(urn, traceback.format_exc())
            await context.abort(grpc.StatusCode.UNKNOWN, self._defect(error))
        raise AssertionError("abort always raises")

    def _defect(self, error: Exception) -> str:
        what = one_line(error) or "no message"
        return (
            f"provider {self._provider.name} {self._provider.version} failed unexpectedly: "
            f"{type(error).__name__}: {what} (`pulumi --debug` shows where)"
        )
