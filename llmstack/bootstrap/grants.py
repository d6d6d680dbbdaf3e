"""Roles on a resource: added to its IAM policy where they are missing, and nothing else in it touched."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from googleapiclient.http import HttpRequest

from llmstack.bootstrap.access import ACCESS, KEY, PROJECT, STATE_BUCKET
from llmstack.bootstrap.errors import BadRequestError, NotYetError
from llmstack.bootstrap.federation import DEPLOY, PREVIEW
from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.steps import Change, Found, Json
from llmstack.bootstrap.target import Target

_VERSION = 3
"""The policy format that can hold conditions; reading an older one would drop them on the way back."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One role for one principal, perhaps under a condition."""

    role: str
    member: str
    condition: dict[str, str] | None = None

    def is_in(self, binding: Json) -> bool:
        """Whether a binding of a policy is for this role under this condition."""
        return binding["role"] == self.role and _expression(binding.get("condition")) == _expression(
            self.condition
        )


@dataclass(frozen=True)
class Grants:
    """The step of the roles on one resource."""

    google: Google
    resource: str
    """The resource, for a person."""
    permission: str
    """What its policy's permissions begin with: `storage.buckets` of `storage.buckets.getIamPolicy`."""
    get: Callable[[], HttpRequest]
    set: Callable[[Json], HttpRequest]
    wanted: Sequence[Grant]
    watched: Callable[[str], bool]
    """Whether a member's role that is not from here is worth a note."""

    @property
    def name(self) -> str:
        """See `Step.name`."""
        return f"access to {self.resource}"

    def look(self) -> Found:
        """See `Step.look`."""
        policy = self._read() or {}
        roles: dict[str, list[str]] = {}
        for grant in self._missing(policy):
            roles.setdefault(grant.member, []).append(grant.role)
        changes = [
            Change(f"grant on {self.resource} to {member}: {', '.join(names)}", partial(self._add, member))
            for member, names in roles.items()
        ]
        return Found(changes, list(self._notes(policy)))

    def _missing(self, policy: Json) -> list[Grant]:
        return [
            g
            for g in self.wanted
            if not any(g.is_in(b) and g.member in b["members"] for b in _bindings(policy))
        ]

    def _read(self) -> Json | None:
        purpose = Purpose(f"reading {self.name}", f"{self.permission}.getIamPolicy", self.resource)
        return self.google.read(purpose, self.get)

    def _add(self, member: str) -> None:
        policy = self._read()
        if policy is None:
            # Without the policy's etag a write would replace what somebody else wrote.
            raise NotYetError(f"{self.resource} is not visible yet; run this again in some minutes")
        changed = added(policy, [grant for grant in self._missing(policy) if grant.member == member])
        purpose = Purpose(f"changing {self.name}", f"{self.permission}.setIamPolicy", self.resource)
        try:
            self.google.write(purpose, lambda: self.set(changed))
        except BadRequestError as error:
            if "does not exist" not in str(error):
                raise
            raise NotYetError(
                f"{error}; an account that was just made is not known everywhere yet"
            ) from error

    def _notes(self, policy: Json) -> Iterator[str]:
        wanted = {(g.role, g.member, _expression(g.condition)) for g in self.wanted}
        for binding in _bindings(policy):
            for member in binding["members"]:
                key = (binding["role"], member, _expression(binding.get("condition")))
                if key not in wanted and self.watched(member):
                    what = f"{member} also has {binding['role']} on {self.resource}"
                    yield f"{what}: not from here, so it stays; is it meant?"


def added(policy: Json, missing: Sequence[Grant]) -> Json:
    """A policy with some grants more: same etag, and every other binding as it is."""
    changed = copy.deepcopy(policy)
    bindings: list[Json] = changed.setdefault("bindings", [])
    for grant in missing:
        binding = next((b for b in bindings if grant.is_in(b)), None)
        if binding is None:
            condition = {} if grant.condition is None else {"condition": grant.condition}
            binding = {"role": grant.role, "members": [], **condition}
            bindings.append(binding)
        binding["members"].append(grant.member)
    changed["version"] = _VERSION
    return changed


def project_access(google: Google, target: Target) -> Grants:
    """The step of the roles on the project."""
    projects, name = google.service("cloudresourcemanager").projects(), f"projects/{target.project}"
    options = {"options": {"requestedPolicyVersion": _VERSION}}
    return Grants(
        google,
        f"project {target.project}",
        "resourcemanager.projects",
        lambda: projects.getIamPolicy(resource=name, body=options),
        lambda policy: projects.setIamPolicy(resource=name, body={"policy": policy}),
        _of(target, PROJECT),
        _ours(target),
    )


def bucket_access(google: Google, target: Target) -> Grants:
    """The step of the roles on the state bucket."""
    buckets, name = google.service("storage").buckets(), target.state_bucket
    return Grants(
        google,
        f"bucket {name}",
        "storage.buckets",
        lambda: buckets.getIamPolicy(bucket=name, optionsRequestedPolicyVersion=_VERSION),
        lambda policy: buckets.setIamPolicy(bucket=name, body=policy),
        _of(target, STATE_BUCKET),
        lambda member: _ours(target)(member) or member in ("allUsers", "allAuthenticatedUsers"),
    )


def key_access(google: Google, target: Target) -> Grants:
    """The step of the roles on the key."""
    keys = google.service("cloudkms").projects().locations().keyRings().cryptoKeys()
    return Grants(
        google,
        f"key {target.key}",
        "cloudkms.cryptoKeys",
        lambda: keys.getIamPolicy(resource=target.key, options_requestedPolicyVersion=_VERSION),
        lambda policy: keys.setIamPolicy(resource=target.key, body={"policy": policy}),
        _of(target, KEY),
        _ours(target),
    )


def account_access(google: Google, target: Target, number: str, email: str) -> Grants:
    """The step of who may act as one of the two accounts: workflow runs with its kind of access."""
    accounts = google.service("iam").projects().serviceAccounts()
    name = f"projects/{target.project}/serviceAccounts/{email}"
    access = DEPLOY if email == target.deployer else PREVIEW
    return Grants(
        google,
        f"service account {email}",
        "iam.serviceAccounts",
        lambda: accounts.getIamPolicy(resource=name, options_requestedPolicyVersion=_VERSION),
        lambda policy: accounts.setIamPolicy(resource=name, body={"policy": policy}),
        [Grant("roles/iam.workloadIdentityUser", target.workflows(number, access))],
        bool,  # Whoever can become the account matters.
    )


def _of(target: Target, scope: str) -> list[Grant]:
    return [
        Grant(
            access.role,
            f"serviceAccount:{access.account}@{target.project}.iam.gserviceaccount.com",
            access.condition(target) if access.condition else None,
        )
        for access in ACCESS
        if access.scope == scope
    ]


def _ours(target: Target) -> Callable[[str], bool]:
    accounts = {f"serviceAccount:{email}" for email in (target.deployer, target.previewer)}
    return lambda member: member in accounts


def _bindings(policy: Json) -> list[Json]:
    bindings: list[Any] = policy.get("bindings", [])
    return bindings


def _expression(condition: Any) -> str:
    return str(condition["expression"]) if condition else ""
