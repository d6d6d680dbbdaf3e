"""What each environment (`llm:environment`) stands for.

Staged weights are kept everywhere: going back to a model must stage nothing. Only where a stack is meant to
come and go may `destroy` empty its bucket.
"""

from __future__ import annotations

from stacks.plan.types import Profile

_WEEK_SECONDS = 7 * 24 * 3600


def _throwaway(name: str) -> Profile:
    return Profile(
        name=name,
        deletion_protection=False,
        keep_weights=True,
        force_destroy_bucket=True,
        min_instances=0,
        soft_delete_seconds=0,
    )


def _lasting(name: str, min_instances: int) -> Profile:
    return Profile(
        name=name,
        deletion_protection=True,
        keep_weights=True,
        force_destroy_bucket=False,
        min_instances=min_instances,
        soft_delete_seconds=_WEEK_SECONDS,
    )


PROFILES: dict[str, Profile] = {
    "local": _throwaway("local"),
    "dev": _throwaway("dev"),
    "staging": _lasting("staging", min_instances=0),
    "prod": _lasting("prod", min_instances=1),
}
