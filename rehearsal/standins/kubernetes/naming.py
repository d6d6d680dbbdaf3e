"""Names that the plugin gives to objects, and ids that it gives to resources.

Source: https://github.com/pulumi/pulumi-kubernetes, provider/pkg/metadata/naming.go
"""

from __future__ import annotations

import hashlib

from providers.base.provider import CheckRequest
from providers.base.values import UNKNOWN, Properties, Secret
from rehearsal.standins.kubernetes.kinds import Kind, annotation, metadata_of
from rehearsal.standins.kubernetes.objects import Name

AUTONAMED = "autonamed"
"""The annotation `pulumi.com/autonamed` marks a name that nobody gave."""


def named(kind: Kind, request: CheckRequest, namespace: str) -> Properties:
    """The inputs with apiVersion and kind, a name and a namespace.

    Args:
        kind: the object's.
        request: the inputs now and before.
        namespace: where an object is whose program does not say; empty for Kubernetes's own default.
    """
    inputs = {"apiVersion": kind.api_version, "kind": kind.name, **request.news}
    metadata = request.news.get("metadata")
    if metadata is UNKNOWN or isinstance(metadata, Secret):
        return inputs
    found = dict(metadata or {})
    if found.get("name") is None:
        found["name"] = _name(request)
        found["annotations"] = {**(found.get("annotations") or {}), f"pulumi.com/{AUTONAMED}": "true"}
    if namespace and kind.namespaced and found.get("namespace") is None:
        found["namespace"] = namespace
    return {**inputs, "metadata": found}


def split_id(kind: Kind, id: str) -> Name:
    """The object of an id: `NAMESPACE/NAME`, or `NAME` in no or the default namespace."""
    namespace, _, name = id.rpartition("/")
    return Name(kind, namespace or ("default" if kind.namespaced else ""), name)


def _name(request: CheckRequest) -> str:
    before = metadata_of(request.olds).get("name")
    if isinstance(before, str) and annotation(request.olds, AUTONAMED) == "true":
        return before
    suffix = hashlib.sha256(request.random_seed + request.urn.encode()).hexdigest()[:8]
    return f"{request.name}-{suffix}"
