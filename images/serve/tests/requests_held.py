"""What the tests of load share: bodies, an engine that goes on by itself, a wait for what is held."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from scripted import ScriptedEngine
from serve.api.service import Service


def body(prompt: str, **more: object) -> dict[str, object]:
    return {"prompt": prompt, "max_new_tokens": 3} | more


def going() -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.go.set()
    return engine


async def held(service: Service, number: int) -> None:
    """Waits until this many requests are held and on their way to the engine."""
    while service.gate.held != number:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.03)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(block.removeprefix("data: ")) for block in text.split("\n\n") if block]
