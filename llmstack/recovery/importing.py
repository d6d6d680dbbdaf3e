"""Importing resources at their places: below the components that the program puts them under."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pulumi import automation

from llmstack.recovery.errors import RecoveryError
from llmstack.recovery.foresight import Foresight, Wanted

_FLAGS = ("--yes", "--skip-preview", "--generate-code=false", "--protect=false")
"""Nothing is left protected: whether a resource is, the program says at the next `up`."""


def import_all(
    stack: automation.Stack,
    command: automation.PulumiCommand,
    foresight: Foresight,
    ids: Mapping[str, str],
    known: Collection[str],
) -> None:
    """Import resources, with the components and providers that the state does not have yet.

    Args:
        stack: The stack.
        command: The engine.
        foresight: What the program asks for.
        ids: The id of each resource to import, by URN.
        known: URNs that the state has.

    Raises:
        RecoveryError: The engine or the provider refuses.
        automation.ConcurrentUpdateError: Another engine works on the stack.
    """
    workspace = stack.workspace
    with tempfile.TemporaryDirectory(prefix="llmstack-recover-") as folder:
        file = Path(folder) / "import.json"
        file.write_text(json.dumps(_ImportFile(foresight, ids, known).content()), encoding="utf-8")
        arguments = ["import", "--stack", stack.name, "--file", str(file), *_FLAGS]
        try:
            command.run(arguments, workspace.work_dir, workspace.env_vars)
        except automation.ConcurrentUpdateError:
            raise
        except automation.CommandError as error:
            raise RecoveryError(str(error)) from None


class _ImportFile:
    """What `pulumi import --file` reads; each URN has a name of its own in it."""

    def __init__(self, foresight: Foresight, ids: Mapping[str, str], known: Collection[str]) -> None:
        self._foresight = foresight
        self._ids = ids
        self._names: dict[str, str] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        for urn in ids:
            self._add(foresight.create[urn])
        self._elsewhere = {
            name: urn for urn, name in self._names.items() if urn in known or urn in foresight.providers
        }

    def content(self) -> dict[str, Any]:
        """The whole file."""
        return {
            "nameTable": self._elsewhere,
            "resources": list(self._entries.values()),
            # The engine would make a missing provider from the configuration alone, without what the
            # plugin's own check adds to it.
            "providerInputs": {
                name: self._foresight.providers[urn]
                for name, urn in self._elsewhere.items()
                if urn in self._foresight.providers
            },
        }

    def _add(self, wanted: Wanted) -> None:
        """Parents come before their children."""
        if wanted.urn in self._entries:
            return
        parent = self._foresight.create.get(wanted.parent)
        if parent is not None:
            self._add(parent)
        entry = {"type": wanted.type, "name": self._name(wanted.urn), "logicalName": wanted.name}
        if wanted.parent:
            entry["parent"] = self._name(wanted.parent)
        self._entries[wanted.urn] = {**entry, **self._what(wanted)}

    def _what(self, wanted: Wanted) -> dict[str, Any]:
        if wanted.component:
            return {"component": True}
        return {"id": self._ids[wanted.urn], "provider": self._name(wanted.provider)}

    def _name(self, urn: str) -> str:
        return self._names.setdefault(urn, f"r{len(self._names)}")
