"""What counts as a difference between a program's object and the one in the cluster.

The cluster fills in much that the program leaves out. As the real plugin does, the live object is first cut
down to what the earlier inputs gave: https://github.com/pulumi/pulumi-kubernetes, provider/pkg/provider.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from providers.base.diff import Change, diff_properties
from providers.base.values import UNKNOWN, Properties, Secret, strip_secrets
from rehearsal.standins.kubernetes.kinds import Kind, metadata_of

_QUANTITIES = frozenset({"limits", "requests", "capacity", "hard", "sizeLimit", "min", "max"})
"""Members that hold quantities, which the cluster writes in its own way: `1000m` becomes `1`."""


def normalised(inputs: Mapping[str, Any]) -> Properties:
    """The inputs as the cluster keeps them, without marks of secrets: `stringData` becomes `data`."""
    plain: Properties = strip_secrets(dict(inputs))
    texts = plain.pop("stringData", None)
    if isinstance(texts, dict):
        plain["data"] = {**(plain.get("data") or {}), **{key: _encoded(text) for key, text in texts.items()}}
    return plain


def pruned(live: Any, shape: Any) -> Any:
    """The part of a live value that a shape mentions."""
    if isinstance(live, dict) and isinstance(shape, dict):
        return {key: pruned(live[key], shape[key]) for key in shape if key in live}
    if isinstance(live, list) and isinstance(shape, list):
        longer = [*shape, *[None] * (len(live) - len(shape))]
        return [
            item if part is None else pruned(item, part) for item, part in zip(live, longer, strict=False)
        ]
    return live


def changes_of(live: Properties, old_inputs: Properties, news: Properties, kind: Kind) -> list[Change]:
    """What an update would change.

    Args:
        live: the object as it is.
        old_inputs: what the program gave before.
        news: what it gives now; values may be UNKNOWN.
        kind: its kind.
    """
    before, after = pruned(strip_secrets(live), normalised(old_inputs)), normalised(news)
    if kind.namespaced and "metadata" in after and after["metadata"] is not UNKNOWN:
        for properties in (before, after):
            properties["metadata"] = {"namespace": "default", **metadata_of(properties)}
    return [change for change in diff_properties(before, after) if not _same_quantity(change)]


def _encoded(text: Any) -> Any:
    if isinstance(text, Secret):
        text = text.value
    return base64.b64encode(text.encode()).decode() if isinstance(text, str) else text


def _same_quantity(change: Change) -> bool:
    if not _QUANTITIES & {str(step) for step in change.path}:
        return False
    try:
        old, new = (parse_quantity(value) for value in (change.old, change.new))  # type: ignore[no-untyped-call]
        return bool(old == new)
    except (ValueError, TypeError):
        return False
