"""A project to prepare, answered for on loopback, and the ways to prepare it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from google.oauth2.credentials import Credentials

from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.run import Outcome, prepare
from llmstack.bootstrap.target import Target, parse_target
from rehearsal.cloud.bootstrap_face import WRITES, serving
from rehearsal.cloud.bootstrap_policies import replace_policy
from rehearsal.cloud.bootstrap_state import Json, ProjectState

PROJECT, NUMBER, REPOSITORY, REGION = "acme-ml-dev", "123456789012", "acme/llm", "us-central1"
TARGET = parse_target(PROJECT, REPOSITORY, REGION)
SERVICES = ("cloudresourcemanager", "serviceusage", "cloudkms", "iam", "storage")
BUCKET, KEY, POOL = f"storage/{TARGET.state_bucket}", f"cloudkms/{TARGET.key}", f"iam/{TARGET.pool(NUMBER)}"
PROVIDER = f"iam/{TARGET.provider(NUMBER)}"
DEPLOYER = f"iam/projects/{PROJECT}/serviceAccounts/{TARGET.deployer}"
PREVIEWER = f"iam/projects/{PROJECT}/serviceAccounts/{TARGET.previewer}"
PROJECT_POLICY = f"cloudresourcemanager/projects/{PROJECT}"
OWNER: Json = {"role": "roles/owner", "members": ["user:owner@example.com"]}


class Crash(BaseException):
    """The process dies."""


class Crashing(Google):
    """Dies at its n-th write, counted from one: before Google has the request, or after."""

    def __init__(self, at: int, *, after: bool, **rest: Any) -> None:
        super().__init__(**rest)
        self._left = at
        self._after = after

    def write(self, purpose: Purpose, request: Callable[[], Any]) -> Json:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Crash
        answer = super().write(purpose, request)
        if self._left == 0:
            raise Crash
        return answer


class Prepared:
    """A project and its loopback address."""

    def __init__(self, state: ProjectState, address: str) -> None:
        self.state = state
        self._clients: dict[bool, Google] = {}
        self.environment = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"{address}/" for name in SERVICES
        }

    def options(self, *, read_only: bool = False) -> dict[str, Any]:
        """How to reach the project; time passes only where somebody waits."""
        return {
            "read_only": read_only,
            "environment": self.environment,
            "credentials": Credentials(token="owner"),
            "sleep": self._sleep,
        }

    def run(
        self, target: Target = TARGET, *, read_only: bool = False, google: Google | None = None
    ) -> Outcome:
        """Prepare the project; the calls of this run alone are in the state afterwards."""
        self.state.calls.clear()
        client = google or self._client(read_only)
        return prepare(client, target, now=lambda: datetime(2026, 11, 21, tzinfo=UTC))

    @property
    def writes(self) -> list[str]:
        """Methods called in the last run that change something."""
        return [call for call in self.state.calls if call in WRITES]

    def bindings(self, resource: str) -> list[Json]:
        """The bindings of a resource's policy."""
        found: list[Json] = self.state.policies[resource]["bindings"]
        return found

    def roles(self, resource: str, member: str) -> set[str]:
        """The roles that a member has on a resource."""
        return {b["role"] for b in self.bindings(resource) if member in b["members"]}

    def _client(self, read_only: bool) -> Google:
        if read_only not in self._clients:
            self._clients[read_only] = Google(**self.options(read_only=read_only))
        return self._clients[read_only]

    def _sleep(self, seconds: float) -> None:
        self.state.now += seconds


@contextmanager
def project_of(state: ProjectState) -> Iterator[Prepared]:
    """A project that is as `state` says."""
    with serving(state) as address:
        yield Prepared(state, address)


@contextmanager
def fresh_project(**changes: Any) -> Iterator[Prepared]:
    """A new project as Google gives it: an owner, billing, and the APIs that every project begins with."""
    enabled = {f"{name}.googleapis.com" for name in ("cloudresourcemanager", "serviceusage", "storage")}
    state = ProjectState(PROJECT, NUMBER, **{"enabled": enabled, **changes})
    replace_policy(state, PROJECT_POLICY, [OWNER])
    with project_of(state) as prepared:
        yield prepared


@cache
def _prepared_once() -> ProjectState:
    with fresh_project() as prepared:
        prepared.run()
        return prepared.state


@contextmanager
def prepared_project() -> Iterator[Prepared]:
    """A project that an undisturbed run has prepared."""
    with project_of(copy.deepcopy(_prepared_once())) as prepared:
        yield prepared


def without_etags(state: ProjectState) -> dict[str, Any]:
    """What a project holds, whatever the way to it."""
    policies = {
        name: sorted((b["role"], sorted(b["members"]), str(b.get("condition"))) for b in policy["bindings"])
        for name, policy in state.policies.items()
        if policy["bindings"]
    }
    facts = {
        name: {k: v for k, v in body.items() if k != "knownAt"} for name, body in state.resources.items()
    }
    return {"policies": policies, "resources": facts, "enabled": state.enabled}
