"""Drives one resource through the stand-in for Google Cloud, as the engine would."""

from __future__ import annotations

import asyncio

from providers.base.paths import format_path
from providers.base.provider import (
    CheckRequest,
    ConfigureRequest,
    CreateRequest,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import Properties
from rehearsal.standins.gcp.provider import GcpStandin
from rehearsal.world import World
from tests.unit.standin_world import PROJECT, REGION


class Resource:
    """Drives one resource through the stand-in as the engine would."""

    def __init__(self, world: World, token: str) -> None:
        self.standin = GcpStandin("gcp", "10.2.0", world)
        asyncio.run(self.standin.configure(ConfigureRequest({"project": PROJECT, "region": REGION}, {})))
        self.token, self.urn = token, f"urn:pulumi:dev::llm::{token}::r"
        self.id = ""
        self.inputs: Properties = {}
        self.outputs: Properties = {}

    def check(self, inputs: Properties) -> Properties:
        request = CheckRequest(self.urn, self.token, "r", self.inputs, inputs, b"seed")
        answer = asyncio.run(self.standin.check(request))
        assert answer.failures == []
        return answer.inputs

    def up(self, inputs: Properties) -> Properties:
        """Create or update."""
        news = self.check(inputs)
        if self.id:
            update = UpdateRequest(self.urn, self.token, "r", self.id, self.inputs, self.outputs, news)
            self.outputs = asyncio.run(self.standin.update(update))
        else:
            made = asyncio.run(self.standin.create(CreateRequest(self.urn, self.token, "r", news)))
            self.id, self.outputs = made.id, made.outputs
        self.inputs = news
        return self.outputs

    def diff(self, inputs: Properties) -> DiffResponse:
        request = DiffRequest(self.urn, self.token, self.id, self.inputs, self.outputs, self.check(inputs))
        return asyncio.run(self.standin.diff(request))

    def changes(self, inputs: Properties) -> list[str]:
        return [format_path(change.path) for change in self.diff(inputs).changes or ()]

    def read(self, imported: bool = False) -> ReadResponse | None:
        known = ({}, {}) if imported else (self.inputs, self.outputs)
        return asyncio.run(self.standin.read(ReadRequest(self.urn, self.token, "r", self.id, *known)))

    def refresh(self) -> None:
        found = self.read()
        assert found is not None
        self.inputs, self.outputs = found.inputs, found.outputs

    def delete(self) -> None:
        request = DeleteRequest(self.urn, self.token, "r", self.id, self.inputs, self.outputs)
        asyncio.run(self.standin.delete(request))
