"""A live object as the engine keeps it: as the inputs that amount to it, and as outputs."""

from __future__ import annotations

from providers.base.values import Properties, mark_secret
from rehearsal.standins.compare import like
from rehearsal.standins.kubernetes.kinds import Kind
from rehearsal.standins.kubernetes.objects import Body

_CLUSTERS_OWN = ("uid", "creationTimestamp", "resourceVersion", "generation", "managedFields", "selfLink")
"""Metadata that no program gives."""


def imported(kind: Kind, live: Body) -> Properties:
    """The inputs that an object amounts to which the state does not know."""
    types = kind.types()
    names = types.inputs if types else [name for name in live if name != "status"]
    inputs = {name: live[name] for name in names if name in live}
    meta = {key: value for key, value in live["metadata"].items() if key not in _CLUSTERS_OWN}
    return {**inputs, "metadata": meta}


def outputs_of(kind: Kind, inputs: Properties, live: Body) -> Properties:
    """The object as outputs: secret where the inputs are, and wherever a Secret holds something."""
    metadata = {key: value for key, value in live["metadata"].items() if key != "managedFields"}
    outputs = like(inputs, {**live, "metadata": metadata})
    return mark_secret(outputs, ["data", "stringData"]) if kind.key == "Secret" else outputs
