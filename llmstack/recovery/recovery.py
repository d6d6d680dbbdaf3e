"""Recovery of one stack: look for what exists outside its state, import it, remove what nobody knows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pulumi import automation

from llmstack.engine import EngineEnvironment
from llmstack.recovery.errors import RecoveryError
from llmstack.recovery.foresight import Foresight, foresee
from llmstack.recovery.ids import SECRET_VERSION, form_of, import_id, is_idempotent, is_ours
from llmstack.recovery.importing import import_all
from llmstack.recovery.look import Look, Probe, Sighting
from llmstack.recovery.state import deployment, resources
from llmstack.recovery.versions import SecretSeen, Verdict, judge, secrets_to_look_at

_DONE: Final = {"missing": "imported", "duplicate": "removed"}
"""What becomes of a finding when it is dealt with."""
_ROUNDS: Final = 5
"""What lies in something that was imported is found in the next round; a chain is three links at most."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was found.

    Attributes:
        name: Logical name in the program.
        type: Type token.
        id: Google's id.
        state: `missing` (from the state), `imported`, `duplicate`, `removed`, `kept`, `foreign`, `unreadable`
            or `unsupported`.
        note: What a person should know about it.
    """

    name: str
    type: str
    id: str
    state: str
    note: str = ""


@dataclass
class Report:
    """What a recovery found and did."""

    rows: list[Row] = field(default_factory=list)

    @property
    def blocked(self) -> bool:
        """Whether something stands in the way that a recovery does not touch."""
        return any(row.state in ("foreign", "unreadable", "unsupported") for row in self.rows)

    @property
    def open(self) -> bool:
        """Whether there is something to import or to remove."""
        return any(row.state in _DONE for row in self.rows)


@dataclass(frozen=True)
class _Findings:
    foresight: Foresight
    known: set[str]
    look: Look
    missing: dict[str, str]
    """Id of each resource to import, by URN."""
    duplicates: list[tuple[SecretSeen, Probe]]
    rows: list[Row]
    hidden: bool
    """Whether an id could not be told yet, because it is made of what the state does not have."""


class Recovery:
    """A stack to recover.

    Args:
        stack: Its name.
        environment: How its engine runs: for real, or in the rehearsed cloud.

    Raises:
        RecoveryError: There is no engine, or no such stack.
    """

    def __init__(self, stack: str, environment: EngineEnvironment) -> None:
        self._variables = environment.variables
        engine = shutil.which("pulumi", path=environment.variables.get("PATH"))
        if engine is None:
            raise RecoveryError("there is no Pulumi engine: run `make setup` to install it into .engine/")
        self._command = automation.PulumiCommand(root=str(Path(engine).parents[1]))
        options = automation.LocalWorkspaceOptions(env_vars=self._variables, pulumi_command=self._command)
        try:
            self._stack = automation.select_stack(
                stack_name=stack, work_dir=str(environment.folder), opts=options
            )
        except automation.StackNotFoundError:
            backend = self._variables.get("PULUMI_BACKEND_URL", "the backend you are logged in to")
            raise RecoveryError(
                f"there is no stack {stack!r} in {backend}: run `pulumi up` to make it, or "
                "`pulumi login` to the backend that has it"
            ) from None
        except automation.CommandError as error:
            raise _unopened(stack, error) from None

    def look(self) -> Report:
        """Find what could be recovered, and change nothing.

        Raises:
            RecoveryError: The program or the engine fails.
        """
        return Report(self._findings().rows)

    def run(self) -> Report:
        """Import what exists, remove what is there twice.

        Raises:
            RecoveryError: The program, the engine or Google refuses; what was imported stays so.
        """
        done: list[Row] = []
        for _ in range(_ROUNDS):
            found = self._findings()
            if found.missing or found.duplicates:
                self._recover(found)
                done += [_finished(row) for row in found.rows if row.state in _DONE]
            if not (found.missing and found.hidden):
                break
        if done:
            self._forget_interrupted()
        return Report([*done, *(row for row in found.rows if row.state not in ("missing", "duplicate"))])

    def _recover(self, found: _Findings) -> None:
        try:
            if found.missing:
                import_all(self._stack, self._command, found.foresight, found.missing, found.known)
        except automation.ConcurrentUpdateError:
            raise self._occupied() from None
        if found.duplicates:
            # Another engine may be making just this version: nothing is destroyed beside one.
            self._take_lock()
            found.look.remove([probe for _, probe in found.duplicates])

    def _forget_interrupted(self) -> None:
        """Drop what the engine remembers of creates that a kill cut off: they have been looked for."""
        if deployment(self._stack).get("pending_operations"):
            self._take_lock()

    def _take_lock(self) -> None:
        """An operation on the stack's own entry alone, which also clears interrupted creates.

        Raises:
            RecoveryError: Another engine works on the stack.
        """
        (root,) = [each["urn"] for each in resources(self._stack) if each["type"] == "pulumi:pulumi:Stack"]
        try:
            self._stack.refresh(clear_pending_creates=True, target=[root], run_program=False)
        except automation.ConcurrentUpdateError:
            raise self._occupied() from None
        except automation.CommandError as error:
            raise RecoveryError(str(error)) from None

    def _occupied(self) -> RecoveryError:
        name = self._stack.name
        return RecoveryError(
            f"another engine works on stack {name}: wait until it has ended; if it was killed, "
            f"`pulumi cancel --stack {name}` takes its lock away"
        )

    def _findings(self) -> _Findings:
        foresight = foresee(self._stack)
        state = resources(self._stack)
        folder = Path(self._stack.workspace.work_dir)
        look = Look(self._command, self._variables, foresight.providers, folder)
        probes = dict(_single_probes(foresight))
        secrets = secrets_to_look_at(foresight, state)
        every = [*probes.values(), *(probe for secret in secrets for probe in _of(secret))]
        found, refused = look.find(list(dict.fromkeys(every)))
        verdicts = [(secret, judge(secret, found)) for secret in secrets]
        missing = dict(_missing(foresight, probes, found))
        missing |= {secret.urn: v.adopt.id for secret, v in verdicts if v.adopt is not None}
        duplicates = [(secret, probe) for secret, v in verdicts for probe in v.duplicates]
        create = foresight.create
        rows = [
            *(Row(create[urn].name, create[urn].type, id, "missing") for urn, id in missing.items()),
            *(Row(s.name, p.type, p.id, "duplicate", "the same payload again") for s, p in duplicates),
            *_untouched(verdicts),
            *_foreign(foresight, probes, found),
            *_unreadable(foresight, probes, refused),
            *_unsupported(foresight),
        ]
        return _Findings(
            foresight, {each["urn"] for each in state}, look, missing, duplicates, rows, _hidden(foresight)
        )


def _unopened(stack: str, error: automation.CommandError) -> RecoveryError:
    """Why the engine could not open the stack; without a login its own words lead to Pulumi Cloud."""
    if "PULUMI_ACCESS_TOKEN" in str(error):
        bucket = "gs://pulumi-state-PROJECT"
        return RecoveryError(
            f"not logged in to the backend of stack {stack}: run `pulumi login {bucket}`, the bucket that "
            f'`scripts/bootstrap` makes, or, for its rehearsal, `eval "$(llmstack env {stack})"`'
        )
    return RecoveryError(str(error))


def _hidden(foresight: Foresight) -> bool:
    wanted = (each for each in foresight.create.values() if form_of(each.type, each.inputs))
    return any(
        import_id(each.type, {**each.inputs, "number": "1"}, each.urn) is None or not foresight.can_ask(each)
        for each in wanted
    )


def _of(secret: SecretSeen) -> tuple[Probe, ...]:
    return (*secret.probes, secret.known) if secret.known else secret.probes


def _single_probes(foresight: Foresight) -> Iterator[tuple[str, Probe]]:
    """What would be created and has one id, by URN."""
    for urn, wanted in foresight.create.items():
        if wanted.type != SECRET_VERSION:
            id = import_id(wanted.type, wanted.inputs, urn)
            if id is not None and foresight.can_ask(wanted):
                yield urn, Probe(wanted.type, id, wanted.provider)


def _missing(
    foresight: Foresight, probes: Mapping[str, Probe], found: Mapping[Probe, Sighting]
) -> Iterator[tuple[str, str]]:
    for urn, probe in probes.items():
        if probe in found and is_ours(probe.type, foresight.create[urn].inputs, found[probe].outputs):
            yield urn, probe.id


def _foreign(
    foresight: Foresight, probes: Mapping[str, Probe], found: Mapping[Probe, Sighting]
) -> Iterator[Row]:
    for urn, probe in probes.items():
        wanted = foresight.create[urn]
        if probe in found and not is_ours(probe.type, wanted.inputs, found[probe].outputs):
            form = form_of(probe.type, wanted.inputs)
            mark = form.marks if form else ""
            note = f"not this stack's, by its {mark}: choose another name, delete it, or import it yourself"
            yield Row(wanted.name, probe.type, probe.id, "foreign", note)


def _unreadable(
    foresight: Foresight, probes: Mapping[str, Probe], refused: Mapping[Probe, str]
) -> Iterator[Row]:
    names = {probe: foresight.create[urn].name for urn, probe in probes.items()}
    for probe, message in refused.items():
        yield Row(names.get(probe, probe.id), probe.type, probe.id, "unreadable", message)


def _unsupported(foresight: Foresight) -> Iterator[Row]:
    for wanted in foresight.create.values():
        ruled = form_of(wanted.type, wanted.inputs) is not None or is_idempotent(wanted.type)
        if not wanted.component and not ruled:
            note = "no rule says under which id to look for this type; if `up` says 409, import it yourself"
            yield Row(wanted.name, wanted.type, "", "unsupported", note)


def _untouched(verdicts: list[tuple[SecretSeen, Verdict]]) -> Iterator[Row]:
    for secret, verdict in verdicts:
        for probe in verdict.others:
            note = "enabled, with another payload than the stack's: destroy it if nobody uses it"
            yield Row(secret.name, probe.type, probe.id, "kept", note)


def _finished(row: Row) -> Row:
    return Row(row.name, row.type, row.id, _DONE[row.state], row.note)
