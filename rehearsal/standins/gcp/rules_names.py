"""Predicates about names whose rules no single regular expression says."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from providers.base.values import Properties
from rehearsal.standins.gcp.rules_common import find, known
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate


@predicate
def address_like_bucket(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A bucket's name that is an IP address."""
    name = known(inputs, "name")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return
    yield "name", {"value": name}


@predicate
def long_bucket_part(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A bucket's name that is too long: 63 characters, or 222 with dots and 63 between them."""
    name = known(inputs, "name") or ""
    if len(name) > 222 or any(len(part) > 63 for part in name.split(".")):
        yield "name", {"value": name, "length": len(name)}


@predicate
def public_member_on_prevented(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """Everybody as a member of a bucket that prevents public access."""
    if known(inputs, "member") not in ("allUsers", "allAuthenticatedUsers"):
        return
    bucket = inputs["bucket"].removeprefix("b/")
    record = cloud.world.get(f"storage.googleapis.com/buckets/{bucket}")
    if record and record.body.get("iamConfiguration", {}).get("publicAccessPrevention") == "enforced":
        yield "member", {"bucket": bucket, "member": inputs["member"]}


@predicate
def bad_policy(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A clean-up policy that keeps by condition and by number at once, or by neither."""
    for path, policy in find(inputs, ["cleanupPolicies[*]"]):
        given = [name for name in ("condition", "mostRecentVersions") if policy.get(name) is not None]
        if len(given) != 1:
            yield path, {"given": " and ".join(given) or "neither"}


@predicate
def deleting_by_count(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A clean-up policy that deletes by a number of versions to keep."""
    for path, policy in find(inputs, ["cleanupPolicies[*]"]):
        if known(policy, "action") == "DELETE" and policy.get("mostRecentVersions") is not None:
            yield path, {}


@predicate
def soft_delete_seconds(cloud: Cloud, inputs: Properties, least: int, most: int) -> Iterator[Finding]:  # noqa: ARG001
    """A soft-delete retention that is neither off nor in range."""
    value = known(known(inputs, "softDeletePolicy"), "retentionDurationSeconds")
    if isinstance(value, int) and value != 0 and not least <= value <= most:
        yield "softDeletePolicy.retentionDurationSeconds", {"value": value, "least": least, "most": most}
