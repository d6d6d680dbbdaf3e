"""A provider that answers by what its inputs ask for, and an engine that keeps what is logged to it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc

from providers.base.diff import Change, Kind
from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import (
    CheckFailure,
    CheckResponse,
    CreateResponse,
    DiffResponse,
    InvokeResponse,
    Provider,
    ReadResponse,
)
from providers.base.server import start
from providers.base.values import UNKNOWN, Secret, encode_properties

URN = "urn:pulumi:dev::llm::toy:index:Thing::one"


class Toy(Provider):
    """Answers by what the inputs ask for."""

    def __init__(self):
        super().__init__("toy", "1.2.3")
        self.seen = []

    async def configure(self, request):
        self.seen.append(request)

    async def check(self, request):
        self.seen.append(request)
        failures = [CheckFailure("a.b[0].c", "expected int, got string")] if "bad" in request.news else []
        return CheckResponse(request.news, failures)

    async def diff(self, request):
        changes = request.changed_inputs()
        repair = [Change(("digest",), Kind.UPDATE, "", None)] if request.old_outputs.get("damaged") else []
        forced = DiffResponse.of(changes, ["name"], delete_before_replace=True)
        return DiffResponse(changes, forced.replaces, forced.delete_before_replace, repair)

    async def create(self, request):
        self.seen.append(request)
        how = request.inputs.get("how")
        if how == "refused":
            raise ProviderError("the name is taken;\n  choose another")
        if how == "half":
            raise InitializationFailed("id-1", {"password": Secret("x")}, ["not ready"], {"how": "half"})
        if how == "bug":
            raise KeyError("oops")
        if how == "wait":
            await self.pause(3600)
        if how == "block":
            await self.blocking(self.cancelled.wait)
        if how == "status":
            self.log.status(request.urn, "working")
            self.log.info(request.urn, "done")
        if request.preview:
            return CreateResponse("", {**request.inputs, "url": UNKNOWN})
        return CreateResponse("id-1", request.inputs)

    async def read(self, request):
        return None if request.id == "gone" else ReadResponse(request.id, {"a": 1}, {"a": 1, "b": 2})

    async def update(self, request):
        return {**request.news, "was": request.old_inputs.get("a")}

    async def delete(self, request):
        self.seen.append(request)

    async def invoke(self, request):
        return InvokeResponse({"echo": request.args})


class FakeEngine(engine_pb2_grpc.EngineServicer):
    """Keeps what providers log."""

    def __init__(self):
        self.messages = []

    def Log(self, request, context):  # noqa: N802
        self.messages.append((request.urn, request.message, request.ephemeral, request.severity))
        return empty_pb2.Empty()


@asynccontextmanager
async def served(provider):
    server, port = await start(provider)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    await server.stop(grace=0)


@asynccontextmanager
async def fake_engine():
    engine = FakeEngine()
    server = grpc.server(ThreadPoolExecutor(2))
    engine_pb2_grpc.add_EngineServicer_to_server(engine, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield engine, f"127.0.0.1:{port}"
    server.stop(grace=None)


def with_toy(conversation):
    async def run():
        toy = Toy()
        async with served(toy) as stub:
            return await conversation(toy, stub)

    return asyncio.run(run())


def create(**inputs):
    return provider_pb2.CreateRequest(urn=URN, properties=encode_properties(inputs))


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value
