"""The table that this server and whoever deploys it both read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

CHECKOUT = Path(__file__).resolve().parents[2]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Route(_Data):
    """One route: its HTTP method and path."""

    method: str
    path: str


class Variable(_Data):
    """One environment variable."""

    required: bool
    meaning: str


class Contract(_Data):
    """`contract.json`: port, routes, environment, where models are mounted, the manifest's name."""

    version: int
    port: int
    routes: dict[str, Route]
    environment: dict[str, Variable]
    mount_path: str
    manifest: str


@cache
def load() -> Contract:
    """Reads `contract.json`: from the installed package, or from the folder above `src` in a checkout."""
    packaged = Path(__file__).with_name("contract.json")
    path = packaged if packaged.exists() else CHECKOUT / "contract.json"
    return Contract.model_validate_json(path.read_bytes())
