"""The whole preparation: every step in its order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from llmstack.bootstrap.accounts import service_account
from llmstack.bootstrap.errors import ApiDisabledError
from llmstack.bootstrap.federation import identity_pool, identity_provider
from llmstack.bootstrap.google import Google
from llmstack.bootstrap.grants import account_access, bucket_access, key_access, project_access
from llmstack.bootstrap.keys import key, key_ring
from llmstack.bootstrap.project import Apis, project_number
from llmstack.bootstrap.steps import Found, Step, converge
from llmstack.bootstrap.storage import state_bucket
from llmstack.bootstrap.target import DEPLOYER, PREVIEWER, Target

Show = Callable[[str, Found], None]


@dataclass
class Outcome:
    """What was found and, unless it was a dry run, put right."""

    number: str
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _now() -> datetime:
    return datetime.now(UTC)


def prepare(
    google: Google,
    target: Target,
    show: Show | None = None,
    now: Callable[[], datetime] = _now,
) -> Outcome:
    """Prepares a project, or with a read-only `google` finds out what that would take.

    Args:
        google: reaches Google.
        target: what to prepare.
        show: told of each step, by its name and what it found, as soon as it is done.
        now: the time.

    Raises:
        BootstrapError: it cannot go on; what is done stays, and another run goes on from there.
    """
    apis = Apis(google, target)
    with contextlib.suppress(ApiDisabledError):
        # Only to refuse a wrong project at once; the API that tells may be one that is still to be enabled.
        project_number(google, target)
    outcome = Outcome("")
    _record(outcome, apis, converge(google, apis), show)

    def read_number() -> None:
        outcome.number = project_number(google, target)

    google.patiently(read_number)
    for step in _steps(google, target, outcome.number, now):
        _record(outcome, step, converge(google, step), show)
    return outcome


def _steps(google: Google, target: Target, number: str, now: Callable[[], datetime]) -> Iterator[Step]:
    for account in (DEPLOYER, PREVIEWER):
        yield service_account(google, target, account)
    yield state_bucket(google, target, number)
    yield key_ring(google, target)
    yield key(google, target, now)
    # Roles before trust: no workflow run gets an account whose access is half made.
    yield project_access(google, target)
    yield bucket_access(google, target)
    yield key_access(google, target)
    yield identity_pool(google, target, number)
    yield identity_provider(google, target, number)
    for email in (target.deployer, target.previewer):
        yield account_access(google, target, number, email)


def _record(outcome: Outcome, step: Step, found: Found, show: Show | None) -> None:
    outcome.changes += [change.text for change in found.changes]
    outcome.notes += found.notes
    if show is not None:
        show(step.name, found)
