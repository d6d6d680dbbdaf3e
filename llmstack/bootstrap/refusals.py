"""What Google's refusals mean for a person who prepares a project.

The shapes are those of google/rpc/status.proto with google/rpc/error_details.proto, and for Cloud Storage
https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmstack.bootstrap.errors import (
    ApiDisabledError,
    BadRequestError,
    BootstrapError,
    BusyError,
    ConflictError,
    RefusedError,
)

if TYPE_CHECKING:
    from llmstack.bootstrap.google import Purpose

NOT_FOUND = BootstrapError("not found")
"""Stands for a 404, which is an answer here and not an error."""

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_DISABLED = frozenset({"SERVICE_DISABLED", "accessNotConfigured"})


def problem(
    purpose: Purpose, status: int, reason: str, details: Sequence[Mapping[str, Any]]
) -> BootstrapError:
    """The error for an answer of Google's.

    Args:
        purpose: what was asked, and the permission it needs.
        status: HTTP status.
        reason: Google's own words.
        details: the answer's `details`, or `errors` in Cloud Storage's format.
    """
    said = " ".join(reason.split())
    reasons = {str(detail.get("reason", "")) for detail in details}
    if status == 404:
        return NOT_FOUND
    if status in _BUSY:
        return BusyError(f"{purpose.doing}: Google answered {status} ({said}); run this again later")
    if status in (409, 412):
        return ConflictError(f"{purpose.doing}: somebody else works on {purpose.on} ({said}); run this again")
    if status == 401:
        return no_credentials(said)
    if "billing" in said.lower() or any("BILLING" in word for word in reasons):
        return BootstrapError(
            f"{purpose.doing}: the project has no billing account; link one "
            f"(gcloud billing projects link PROJECT --billing-account ACCOUNT) and run this again ({said})"
        )
    if reasons & _DISABLED or "has not been used in project" in said:
        return _disabled(purpose, said, details)
    if status == 403:
        return RefusedError(
            f"{purpose.doing}: you lack {purpose.permission} on {purpose.on}; ask an owner of the project "
            f"for a role that has it (Google says: {said})"
        )
    return BadRequestError(f"{purpose.doing}: Google answered {status}: {said}")


def no_credentials(error: object) -> BootstrapError:
    """The error for credentials that are missing, expired or refused."""
    return BootstrapError(
        "Google's credentials are missing or refused; run `gcloud auth application-default login` "
        f"({' '.join(str(error).split())})"
    )


def _disabled(purpose: Purpose, said: str, details: Sequence[Mapping[str, Any]]) -> ApiDisabledError:
    facts: Mapping[str, Any] = next(
        (d["metadata"] for d in details if d.get("reason") in _DISABLED and "metadata" in d), {}
    )
    api = facts.get("service", "the API")
    # With a user's credentials the quota project pays for the call, and it need not be the one prepared.
    where = str(facts.get("consumer", "projects/PROJECT")).removeprefix("projects/")
    return ApiDisabledError(
        f"{purpose.doing}: {api} is not enabled; run `gcloud services enable {api} --project {where}`, wait "
        f"a minute and run this again ({said})"
    )
