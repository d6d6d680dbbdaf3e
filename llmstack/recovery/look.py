"""Which resources exist: asked of the engine and the provider plugins, and of nothing else.

A stack of its own, in a folder that is removed, is given a state that claims the resources; a refresh then
reads each from its id alone, as an import does, and drops from that state what is not there. Nothing fails
because something does not exist, all are read at once, and the real stack's state is never touched.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pulumi import automation
from pulumi.automation.events import EngineEvent

from llmstack.recovery.errors import RecoveryError
from llmstack.recovery.state import plain, resources

_STACK: Final = "look"
_PROJECT: Final = "llmstack-recover"
_DISABLED = re.compile(r"SERVICE_DISABLED|has not been used in project|it is disabled")
"""Where an API is off there is nothing of it: https://cloud.google.com/service-usage/docs/enabled-service"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One resource to look for; `provider` is a key of the providers given to `Look`."""

    type: str
    id: str
    provider: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """A resource that exists, as the provider reads it; secrets are in the clear."""

    id: str
    outputs: Mapping[str, Any]


class Look:
    """Reads and removes resources outside of any stack.

    Args:
        command: The engine.
        variables: The environment in which the provider plugins reach the cloud.
        providers: Inputs of each provider, by its URN in the real stack.
        folder: The real stack's project, whose own plugins are used here, too.
    """

    def __init__(
        self,
        command: automation.PulumiCommand,
        variables: Mapping[str, str],
        providers: Mapping[str, Mapping[str, Any]],
        folder: Path,
    ) -> None:
        self._command = command
        self._folder = folder
        self._variables = variables
        self._providers = providers

    def find(self, probes: Sequence[Probe]) -> tuple[dict[Probe, Sighting], dict[Probe, str]]:
        """Those that exist, and what was said of those that could not be read.

        Raises:
            RecoveryError: The engine or a plugin does not work at all.
        """
        refused: dict[Probe, str] = {}
        while True:
            asked = [probe for probe in probes if probe not in refused]
            if not asked:
                return {}, refused
            with self._stack(asked) as stack:
                failures = _refresh(stack)
                if not failures:
                    return _seen(stack, asked), _real(refused)
            refused |= {asked[number]: message for number, message in failures.items()}

    def remove(self, probes: Sequence[Probe]) -> None:
        """Delete resources.

        Raises:
            RecoveryError: One of them cannot be deleted.
        """
        with self._stack(probes) as stack:
            failures = _refresh(stack)
            if not failures:
                try:
                    stack.destroy()
                except automation.CommandError as error:
                    failures = {0: str(error)}
        if failures:
            raise RecoveryError("; ".join(failures.values()))

    @contextmanager
    def _stack(self, probes: Sequence[Probe]) -> Iterator[automation.Stack]:
        """A stack whose state claims the resources."""
        with tempfile.TemporaryDirectory(prefix="llmstack-recover-") as folder:
            (Path(folder) / "state").mkdir()
            settings = {"name": _PROJECT, "runtime": "python", "plugins": own_plugins(self._folder)}
            (Path(folder) / "Pulumi.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
            options = automation.LocalWorkspaceOptions(
                work_dir=folder,
                pulumi_command=self._command,
                env_vars={
                    **self._variables,
                    "PULUMI_BACKEND_URL": f"file://{folder}/state",
                    "PULUMI_CONFIG_PASSPHRASE": secrets.token_hex(),
                },
            )
            stack = automation.create_stack(
                stack_name=_STACK, project_name=_PROJECT, program=_no_program, opts=options
            )
            stack.import_stack(automation.Deployment(version=3, deployment=self._claims(probes)))
            yield stack

    def _claims(self, probes: Sequence[Probe]) -> dict[str, Any]:
        claims: list[dict[str, Any]] = []
        references: dict[str, str] = {}
        for provider in dict.fromkeys(probe.provider for probe in probes):
            types, name = provider.split("::")[2:]
            # Below a component, the types of what it is below come first.
            type_ = types.rpartition("$")[2]
            urn = f"urn:pulumi:{_STACK}::{_PROJECT}::{type_}::{name}"
            inputs = dict(self._providers[provider])
            claims.append(_claim(urn, type_, "look") | {"inputs": inputs, "outputs": inputs})
            references[provider] = f"{urn}::look"
        for number, probe in enumerate(probes):
            urn = f"urn:pulumi:{_STACK}::{_PROJECT}::{probe.type}::{number}"
            claims.append(_claim(urn, probe.type, probe.id) | {"provider": references[probe.provider]})
        return {"manifest": {"time": "2020-01-01T00:00:00Z", "magic": "", "version": ""}, "resources": claims}


def own_plugins(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The plugins that a project has in folders of its own, for use in another folder.

    Args:
        folder: Where its Pulumi.yaml is.
    """
    settings = yaml.safe_load((folder / "Pulumi.yaml").read_text(encoding="utf-8"))
    return {
        kind: [{**each, "path": str((folder / each["path"]).resolve())} for each in plugins]
        for kind, plugins in (settings.get("plugins") or {}).items()
    }


def _claim(urn: str, type_: str, id: str) -> dict[str, Any]:
    return {"urn": urn, "custom": True, "id": id, "type": type_, "inputs": {}, "outputs": {}}


def _no_program() -> None:
    """A refresh and a destroy work on the state alone."""


def _refresh(stack: automation.Stack) -> dict[int, str]:
    """Read everything; what was said of each resource that could not be read, by its number."""
    failures: dict[int, str] = {}
    said: list[str] = []

    def on_event(event: EngineEvent) -> None:
        diagnostic = event.diagnostic_event
        if diagnostic is None or diagnostic.severity != "error":
            return
        message = " ".join(diagnostic.message.split())
        number = (diagnostic.urn or "").rpartition("::")[2]
        if number.isdigit():
            failures[int(number)] = message
        else:
            said.append(message)

    try:
        stack.refresh(on_event=on_event, run_program=False)
    except automation.CommandError as error:
        if not failures:
            raise RecoveryError("; ".join(said) or str(error)) from None
    return failures


def _seen(stack: automation.Stack, asked: Sequence[Probe]) -> dict[Probe, Sighting]:
    found = {}
    for resource in resources(stack):
        number = resource["urn"].rpartition("::")[2]
        if number.isdigit():
            found[asked[int(number)]] = Sighting(resource["id"], plain(resource.get("outputs", {})))
    return found


def _real(refused: Mapping[Probe, str]) -> dict[Probe, str]:
    return {probe: message for probe, message in refused.items() if not _DISABLED.search(message)}
