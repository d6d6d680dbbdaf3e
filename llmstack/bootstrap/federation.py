"""Workload identity federation: which workflow runs Google takes for whom.

A run's token is accepted only if it is of the one repository (the provider's condition), and becomes an
account only if it has the access that the account asks for (the mapped attribute `access`). The attribute
is computed from single claims and not from `sub`, whose form is no longer the same for all repositories:
https://github.blog/changelog/2026-04-23-immutable-subject-claims-for-github-actions-oidc-tokens/
"""

from __future__ import annotations

import re
from typing import Any

from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.steps import Json, Managed
from llmstack.bootstrap.target import DEPLOY_BRANCH, ISSUER, POOL, PROVIDER, Target

DEPLOY, PREVIEW, NONE = "deploy", "preview", "none"

# `pull_request_target` and `workflow_run` run on the main branch too, with a fork's code within reach.
_DEPLOY_EVENTS = ("push", "workflow_dispatch")
_NUMBERS = r" && assertion\.repository_owner_id == '\d+' && assertion\.repository_id == '\d+'"


def condition(target: Target) -> str:
    """The expression that a token must meet to be accepted at all: it names one repository, always."""
    parts = [f"assertion.repository == '{target.repository}'"]
    if target.repository_id is not None:
        parts.append(f"assertion.repository_owner_id == '{target.owner_id}'")
        parts.append(f"assertion.repository_id == '{target.repository_id}'")
    return " && ".join(parts)


def mapping() -> dict[str, str]:
    """Google's attributes, from the claims of a token of GitHub's."""
    events = ", ".join(f"'{event}'" for event in _DEPLOY_EVENTS)
    deploys = f"assertion.ref == 'refs/heads/{DEPLOY_BRANCH}' && assertion.event_name in [{events}]"
    previews = "assertion.event_name == 'pull_request'"
    access = f"({previews} ? '{PREVIEW}' : ({deploys} ? '{DEPLOY}' : '{NONE}'))"
    return {
        "google.subject": "assertion.sub",
        "attribute.repository": "assertion.repository",
        "attribute.access": f"assertion.repository + ':' + {access}",
    }


def identity_pool(google: Google, target: Target, number: str) -> Managed:
    """The step of the workload identity pool."""
    iam = google.service("iam").projects().locations().workloadIdentityPools()
    name = target.pool(number)
    parent = name.partition("/workloadIdentityPools/")[0]
    settings = {
        "displayName": "GitHub workflows",
        "description": f"Workflow runs of {target.repository}",
        "disabled": False,
    }
    about = f"workload identity pool {POOL}"

    def wait(purpose: Purpose, started: Json) -> None:
        google.wait(purpose, started, lambda operation: iam.operations().get(name=operation))

    def read() -> Json | None:
        purpose = Purpose(f"reading {about}", "iam.workloadIdentityPools.get", parent)
        return google.read(purpose, lambda: iam.get(name=name))

    def create() -> None:
        purpose = Purpose(f"creating {about}", "iam.workloadIdentityPools.create", parent)
        wait(
            purpose,
            google.write(
                purpose, lambda: iam.create(parent=parent, workloadIdentityPoolId=POOL, body=settings)
            ),
        )

    def patch(fields: Any) -> None:
        purpose = Purpose(f"changing {about}", "iam.workloadIdentityPools.update", name)
        body = {field: settings[field] for field in fields}
        wait(
            purpose,
            google.write(purpose, lambda: iam.patch(name=name, updateMask=",".join(fields), body=body)),
        )

    def undelete() -> None:
        purpose = Purpose(f"undeleting {about}", "iam.workloadIdentityPools.undelete", name)
        wait(purpose, google.write(purpose, lambda: iam.undelete(name=name, body={})))

    return Managed(about, settings, read, create, patch, undelete=undelete)


def identity_provider(google: Google, target: Target, number: str) -> Managed:
    """The step of the pool's provider: GitHub's issuer, restricted to one repository."""
    iam = google.service("iam").projects().locations().workloadIdentityPools().providers()
    name, parent = target.provider(number), target.pool(number)
    settings: dict[str, Any] = {
        "displayName": "GitHub Actions",
        "disabled": False,
        # Nothing beside the issuer: keys of somebody else's here would let them sign any token.
        "oidc": {"issuerUri": ISSUER},
        "attributeMapping": mapping(),
        "attributeCondition": condition(target),
    }
    about = f"provider {PROVIDER} of pool {POOL}"

    def wait(purpose: Purpose, started: Json) -> None:
        google.wait(purpose, started, lambda operation: iam.operations().get(name=operation))

    def read() -> Json | None:
        purpose = Purpose(f"reading {about}", "iam.workloadIdentityPoolProviders.get", parent)
        return google.read(purpose, lambda: iam.get(name=name))

    def create() -> None:
        purpose = Purpose(f"creating {about}", "iam.workloadIdentityPoolProviders.create", parent)
        started = google.write(
            purpose, lambda: iam.create(parent=parent, workloadIdentityPoolProviderId=PROVIDER, body=settings)
        )
        wait(purpose, started)

    def patch(fields: Any) -> None:
        purpose = Purpose(f"changing {about}", "iam.workloadIdentityPoolProviders.update", name)
        body = {field: settings[field] for field in fields}
        wait(
            purpose,
            google.write(purpose, lambda: iam.patch(name=name, updateMask=",".join(fields), body=body)),
        )

    def undelete() -> None:
        purpose = Purpose(f"undeleting {about}", "iam.workloadIdentityPoolProviders.undelete", name)
        wait(purpose, google.write(purpose, lambda: iam.undelete(name=name, body={})))

    def stricter(current: Any) -> bool:
        # Numbers that an earlier run was given stay: leaving them out later must not weaken the condition.
        return target.repository_id is None and bool(
            re.fullmatch(re.escape(condition(target)) + _NUMBERS, current or "")
        )

    def check(current: Json | None) -> list[str]:
        if target.repository_id is not None or stricter((current or {}).get("attributeCondition")):
            return []
        return [
            f"{target.repository} is trusted by its name only, which another could take after a deletion; "
            "trust its numbers too, with --repository-id and --owner-id: "
            f"gh api repos/{target.repository} --jq '.id, .owner.id'"
        ]

    return Managed(
        about,
        settings,
        read,
        create,
        patch,
        frozenset({"oidc", "attributeMapping"}),
        undelete,
        {"attributeCondition": stricter},
        check,
    )
