"""What a type token says of a Kubernetes object: group, version, kind, and whether a namespace holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from providers.base.errors import ProviderError
from providers.base.values import UNKNOWN, Secret
from rehearsal.standins.sdk import ResourceType, resource_type

_FILE = Path(__file__).parents[2] / "data" / "kubernetes.yaml"
_NO_KINDS = ("helm.sh/", "kustomize", "yaml")
"""Packages of the SDK whose resources are no objects, but make some."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        token: for instance `kubernetes:apps/v1:Deployment`.
        api_version: for instance `apps/v1`, or `v1` for the core group.
        name: for instance `Deployment`.
    """

    token: str
    api_version: str
    name: str

    @property
    def namespaced(self) -> bool:
        """Whether a namespace holds it; taken for granted of kinds that a cluster does not have by itself."""
        return self.name not in _data()["cluster_scoped"]

    @property
    def key(self) -> str:
        """Name of the kind in the tables: `Deployment.apps`, `Service`."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.name}.{group}" if group else self.name

    def types(self) -> ResourceType | None:
        """What the SDK says of it; None for a kind that only a cluster knows."""
        try:
            return resource_type(self.token)
        except KeyError:
            return None

    def replace_paths(self, *, mutable: bool) -> tuple[str, ...]:
        """Property paths whose change needs another object.

        Args:
            mutable: whether ConfigMaps and Secrets may be changed in place.
        """
        table = _data()["replace"]
        found = table.get(self.key, {})
        if mutable and found.get("unless_mutable"):
            return tuple(table["*"]["paths"])
        return (*table["*"]["paths"], *found.get("paths", ()))


def kind_of(token: str) -> Kind:
    """The kind that a type token names.

    Raises:
        ProviderError: it is not an object's, or one that is patched by several owners.
    """
    _, api_version, name = token.split(":")
    if api_version.startswith(_NO_KINDS) or name.endswith("Patch"):
        raise ProviderError(f"not modelled by the rehearsed cloud: {token} (whole objects are)")
    return Kind(token, api_version.removeprefix("core/"), name)


def metadata_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object's metadata; empty where it has none or nobody knows it yet."""
    found = properties.get("metadata")
    while isinstance(found, Secret):
        found = found.value
    return found if isinstance(found, dict) else {}


def annotation(properties: Mapping[str, Any], name: str) -> str:
    """An annotation `pulumi.com/NAME`; empty where there is none.

    https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/ (annotations)
    """
    annotations = metadata_of(properties).get("annotations")
    value = annotations.get(f"pulumi.com/{name}") if isinstance(annotations, dict) else None
    return "" if value is None or value is UNKNOWN else str(value)


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return data
