"""A `StagedModel`, and the engine's calls about it."""

import asyncio

from providers.base.provider import (
    CheckRequest,
    CreateRequest,
    DeleteRequest,
    DiffRequest,
    ReadRequest,
    UpdateRequest,
)
from tests.unit.modelops.fake_google import JOB, LABEL, PREFIX, SOURCE, TARGET

TYPE = "modelops:index:StagedModel"
URN = f"urn:pulumi:dev::llm::{TYPE}::assistant"
INPUTS = {"job": JOB, "target": TARGET, **SOURCE, "targetLabel": LABEL, "retain": False}
MANIFEST = PREFIX + "manifest.json"


def create(provider, inputs=INPUTS, **more):
    return asyncio.run(provider.create(CreateRequest(URN, TYPE, "assistant", dict(inputs), **more)))


def update(provider, news, olds=INPUTS, old_outputs=None, **more):
    outputs = {**olds, "files": 2, "manifestSha256": "x"} if old_outputs is None else old_outputs
    request = UpdateRequest(URN, TYPE, "assistant", JOB, dict(olds), outputs, dict(news), **more)
    return asyncio.run(provider.update(request))


def read(provider, inputs=INPUTS, id=JOB):
    return asyncio.run(provider.read(ReadRequest(URN, TYPE, "assistant", id, dict(inputs), dict(inputs))))


def delete(provider, inputs=INPUTS):
    asyncio.run(provider.delete(DeleteRequest(URN, TYPE, "assistant", JOB, dict(inputs), dict(inputs))))


def diff(provider, news, outputs, olds=INPUTS):
    return asyncio.run(provider.diff(DiffRequest(URN, TYPE, JOB, dict(olds), outputs, dict(news))))


def check(provider, news):
    answer = asyncio.run(provider.check(CheckRequest(URN, TYPE, "assistant", {}, news)))
    return answer.inputs, {failure.path: failure.reason for failure in answer.failures}
