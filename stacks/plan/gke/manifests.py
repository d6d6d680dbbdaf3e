"""What every Kubernetes object of a deployment has: metadata, labels, references to images of the stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from stacks.plan.types import ImagePlan
from stacks.plan.types_gke import KubernetesObject

Manifest: TypeAlias = dict[str, Any]

INSTANCE: Final = "app.kubernetes.io/instance"
NAME: Final = "app.kubernetes.io/name"
SERVER_NAME: Final = "server"


def labels(google: Mapping[str, str]) -> dict[str, str]:
    """Gives Google's labels as Kubernetes takes them: there, neither end of a name or value is `-` or `_`."""
    trimmed = {key.strip("-_"): value.strip("-_") for key, value in google.items()}
    return {key: value for key, value in sorted(trimmed.items()) if re.fullmatch(r"[a-z0-9_-]{1,63}", key)}


def selector(deployment: str) -> dict[str, str]:
    """Gives the labels by which everything finds a deployment's server pods."""
    return {INSTANCE: deployment, NAME: SERVER_NAME}


def metadata(
    name: str,
    namespace: str | None,
    labelled: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Writes an object's metadata; `namespace` is None for an object of the whole cluster."""
    return {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        "labels": dict(labelled),
        **({"annotations": dict(annotations)} if annotations else {}),
    }


def image_address(image: ImagePlan) -> str:
    """Gives how a manifest of the plan writes an image of the stack: by digest where it is known already."""
    return f"{image.url}@{image.digest}" if image.digest else f"{image.url}:{image.tag}"


def with_references(each: KubernetesObject, references: Mapping[str, str]) -> Manifest:
    """Gives an object's manifest with the references of built images in the places of their addresses.

    Args:
        each: the object.
        references: address with digest by the image's name.
    """
    replaced = {address: references[name] for name, address in each.images.items()}
    return {key: _replaced(value, replaced) for key, value in each.manifest.items()}


def _replaced(value: Any, replaced: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: replaced.get(item, item)
            if key == "image" and isinstance(item, str)
            else _replaced(item, replaced)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_replaced(item, replaced) for item in value]
    return value
