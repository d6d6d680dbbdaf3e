"""Checks of single values: each gives a reason and a remedy where the value is wrong, else None."""

from __future__ import annotations

import re
from collections.abc import Callable

from stacks.config_errors import show, suggest
from stacks.plan import naming
from stacks.plan.hardware import is_zone_of, region_of
from stacks.plan.limits import cloud_run_limits
from stacks.plan.profiles import PROFILES

Wrong = tuple[str, str]
"""Why a value is wrong, and what would be right."""

SECRET_NAME = re.compile(r"(?:projects/[a-z0-9-]+/secrets/)?[A-Za-z0-9_-]{1,255}")
RESERVED_LABELS = ("deployment", "environment", "llm-target", "managed-by", "stack")


def check_project(value: str) -> Wrong | None:
    """A Google Cloud project ID (cloud.google.com/resource-manager/docs/creating-managing-projects)."""
    if naming.PROJECT_ID.fullmatch(value):
        return None
    if value.isdigit():
        return (
            "is a project number",
            "write the project's ID, for instance acme-ml-dev (gcloud projects list)",
        )
    return (
        "is not a project ID",
        "use 6 to 30 lower-case letters, digits and hyphens, a letter first and no hyphen last",
    )


def check_region(value: str) -> Wrong | None:
    """A Google Cloud region."""
    known = cloud_run_limits().regions.value
    if re.fullmatch(rf"{naming.REGION.pattern}-[a-z]", value):
        return "is a zone", f"write its region: {value[:-2]}"
    if naming.REGION.fullmatch(value):
        return None
    return "is not a region", suggest(value, known)


def zone_check(region: str | None) -> Callable[[str], Wrong | None]:
    """Makes the check of a zone.

    Args:
        region: region of the stack; None where it is wrong itself.
    """

    def check(value: str) -> Wrong | None:
        try:
            own = region_of(value)
        except ValueError:
            if naming.REGION.fullmatch(value):
                return "is a region", f"write a zone of it, for instance {value}-a, or leave it out"
            return "is not a zone", f"write REGION and a letter, for instance {region or 'us-central1'}-a"
        if region is not None and not is_zone_of(value, region):
            return (
                f"is not in gcp:region ({region})",
                f"write a zone of {region}, for instance {region}-a, or set gcp:region to {own}",
            )
        return None

    return check


def check_environment(value: str) -> Wrong | None:
    """One of the environments of `stacks.plan.profiles`."""
    return None if value in PROFILES else ("is not an environment", suggest(value, PROFILES))


def check_secret_id(value: str) -> Wrong | None:
    """The name of a Secret Manager secret, short or full."""
    if SECRET_NAME.fullmatch(value):
        return None
    return "is not a secret's name", "write SECRET or projects/PROJECT/secrets/SECRET, without a version"


def check_label(key: str, value: object) -> Wrong | None:
    """A label, by the rules of cloud.google.com/resource-manager/docs/labels-overview."""
    if key in RESERVED_LABELS:
        return "is a label that this project sets itself", "choose another name"
    if not naming.LABEL_KEY.fullmatch(key):
        return "is not a label's name", f"write {naming.label_key(key)}"
    if not isinstance(value, str):
        return "is not text", f'write it in quotes: "{show(value)}"'
    if not naming.LABEL_VALUE.fullmatch(value):
        return "is not a label's value", f"write {naming.label(value)}"
    return None
