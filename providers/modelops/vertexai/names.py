"""Names and marks by which an interrupted deployment finds again what it has begun."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

URN_LABEL: Final = "llm-urn"
"""Label with `mark(urn)`: which resource of which stack made a thing."""
SPEC_LABEL: Final = "llm-spec"
"""Label with `digest(spec)` of a model's version or of a run: what it was made of."""
OWN_LABELS: Final = frozenset({URN_LABEL, SPEC_LABEL})

_PLACE = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)(?:/|$)")
_SHOWN_MARK = re.compile(r"-[0-9a-f]{8}$")
_DEPLOYED_ID = re.compile(r"[1-9][0-9]{9}")


def mark(urn: str) -> str:
    """A URN as short as a label's value or a part of a display name may be: 8 hex digits."""
    return hashlib.sha256(urn.encode()).hexdigest()[:8]


def digest(spec: Any) -> str:
    """The same 16 hex digits for equal plain data."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def deployed_id(urn: str, spec: Any) -> str:
    """The id of the deployed model that a resource makes of a spec: 10 digits, the first not 0.

    Vertex AI takes 1 to 10 digits (discovery document aiplatform.v1, DeployedModel.id). A second request
    with the same id is refused, so a lost answer cannot deploy, and bill, the same model twice.
    """
    number = int(hashlib.sha256(f"{urn} {digest(spec)}".encode()).hexdigest(), 16)
    return str(10**9 + number % (9 * 10**9))


def shown_name(name: str, urn: str) -> str:
    """The display name of what a resource deploys: deployed models have no labels."""
    return f"{name}-{mark(urn)}"


def given_name(shown: str) -> str:
    """The name that `shown_name` was made of."""
    return _SHOWN_MARK.sub("", shown)


def of_a_resource(deployed: Mapping[str, Any]) -> bool:
    """Whether some ModelDeployment deployed it: the forms of `deployed_id` and `shown_name` say so."""
    shown = str(deployed.get("displayName", ""))
    return bool(_DEPLOYED_ID.fullmatch(str(deployed["id"])) and _SHOWN_MARK.search(shown))


def place_of(name: str) -> tuple[str, str]:
    """Project and location of a full name; empty where it has none."""
    matched = _PLACE.match(name)
    return (matched["project"], matched["location"]) if matched else ("", "")


def same_resource(one: str, other: str) -> bool:
    """Whether two full names mean the same: Google answers with the project's number for its id."""
    return one.split("/")[2:] == other.split("/")[2:]


def log_address(project: str, *terms: str) -> str:
    """Where a person reads the log entries that satisfy all terms of a filter."""
    query = quote("\n".join(terms), safe="")
    return f"https://console.cloud.google.com/logs/query;query={query}?project={project}"
