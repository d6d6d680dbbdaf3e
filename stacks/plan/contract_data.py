"""What each image reads and answers: its `contract.json`, which its own code loads too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_IMAGES = Path(__file__).resolve().parents[2] / "images"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Route(_Part):
    """One route that the serving image answers."""

    method: str
    path: str


class Setting(_Part):
    """One environment variable or argument that an image reads."""

    required: bool
    meaning: str


class ServeContract(_Part):
    """What an image that serves reads and answers."""

    port: int
    routes: Mapping[str, Route]
    startup_command: tuple[str, ...] = ()
    """Run in the container, says whether it can answer; for an image none of whose routes does."""
    environment: Mapping[str, Setting]
    mount_path: str
    manifest: str


class Manifest(_Part):
    """The list of files that stands beside staged weights."""

    name: str
    fields: Mapping[str, str]


class Format(_Part):
    """A form in which weights are written, and the element types that it can have."""

    dtypes: tuple[str, ...]


class OtherCommand(_Part):
    """A command beside the one that stages: what each of its arguments means."""

    arguments: Mapping[str, str]


class WeightsContract(_Part):
    """What the weights image reads and writes."""

    command: str
    arguments: Mapping[str, Setting]
    commands: Mapping[str, OtherCommand]
    formats: Mapping[str, Format]
    environment: Mapping[str, Setting]
    manifest: Manifest


@cache
def serve_contract() -> ServeContract:
    """Reads the serving image's contract."""
    return ServeContract.model_validate(_read("serve"))


@cache
def torchserve_contract() -> ServeContract:
    """Reads the contract of the TorchServe image."""
    return ServeContract.model_validate(_read("torchserve"))


@cache
def weights_contract() -> WeightsContract:
    """Reads the weights image's contract."""
    return WeightsContract.model_validate(_read("weights"))


def _read(image: str) -> object:
    return json.loads((_IMAGES / image / "contract.json").read_text(encoding="utf-8"))
