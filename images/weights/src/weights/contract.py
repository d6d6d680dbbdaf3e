"""The contract with whoever starts this image: arguments, formats, exit codes, manifest fields, as data.

``contract.json`` lies two folders above this package, in a checkout and in the image alike.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CONTRACT_FILE = Path(__file__).resolve().parents[2] / "contract.json"


@dataclass(frozen=True)
class Command:
    """A subcommand: its meaning, and each argument's; all are required, those without dashes by position."""

    meaning: str
    arguments: dict[str, str]


@dataclass(frozen=True)
class FormatTerms:
    """A format: its meaning, and the element types that it can be asked for."""

    meaning: str
    dtypes: list[str]


@dataclass(frozen=True)
class Contract:
    """What both sides agreed on.

    Attributes:
        command: The subcommand that jobs call.
        arguments: Flag to its meaning; every flag is required.
        commands: The other subcommands, for a person.
        formats: The formats, by name.
        exit_codes: Name of an outcome to the process's exit code.
        manifest_name: Name of the manifest's object below the target prefix.
        manifest_version: Version that manifests are written with.
    """

    command: str
    arguments: dict[str, str]
    commands: dict[str, Command]
    formats: dict[str, FormatTerms]
    exit_codes: dict[str, int]
    manifest_name: str
    manifest_version: int


@cache
def contract() -> Contract:
    """Read the contract, once."""
    data: dict[str, Any] = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))
    return Contract(
        command=data["command"],
        arguments={flag: spec["meaning"] for flag, spec in data["arguments"].items()},
        commands={name: Command(**command) for name, command in data["commands"].items()},
        formats={name: FormatTerms(**terms) for name, terms in data["formats"].items()},
        exit_codes=data["exit_codes"],
        manifest_name=data["manifest"]["name"],
        manifest_version=data["manifest"]["version"],
    )
