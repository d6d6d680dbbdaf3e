"""What the installed Pulumi SDKs say about a resource type: its inputs, outputs and secret outputs.

The SDKs are imported lazily, one resource module at a time, and only read.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, get_args, get_origin

import pulumi
from pulumi import _types

PACKAGES = {"gcp": "pulumi-gcp", "docker-build": "pulumi-docker-build", "kubernetes": "pulumi-kubernetes"}
"""The SDK of each provider plugin that has a stand-in."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource type of an SDK.

    Attributes:
        token: For instance `gcp:storage/bucket:Bucket`.
        inputs: Type hint of every input, by the name on the wire.
        outputs: Type hint of every output, inputs that come back included.
        secret_outputs: Outputs that the SDK always treats as secret.
    """

    token: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    secret_outputs: tuple[str, ...]

    @property
    def computed(self) -> tuple[str, ...]:
        """Outputs that are no inputs: only the cloud knows them."""
        return tuple(name for name in self.outputs if name not in self.inputs and name not in ("id", "urn"))

    @property
    def filled(self) -> frozenset[str]:
        """Optional inputs that always come back as outputs: the provider or the cloud fills them in."""
        return frozenset(
            name
            for name, hint in self.inputs.items()
            if is_optional(hint) and name in self.outputs and not is_optional(self.outputs[name])
        )


def sdk_version(plugin: str) -> str:
    """The version of the installed SDK that a plugin belongs to."""
    return metadata.version(PACKAGES[plugin])


@cache
def resource_type(token: str) -> ResourceType:
    """What the SDK says about a type.

    Raises:
        KeyError: The SDK has no such type.
    """
    package, module, _ = token.split(":")
    importlib.import_module(PACKAGES[package].replace("-", "_"))
    found: Any = pulumi.runtime.rpc.get_resource_module(package, module, "")
    if found is None:
        raise KeyError(token)
    resource = getattr(importlib.import_module(found.mod_info["fqn"]), found.mod_info["classes"][token])
    return ResourceType(
        token, hints(_args_class(resource)), _types._raw_return_hints(resource), _secret_outputs(resource)
    )


def hints(cls: type) -> Mapping[str, Any]:
    """Type hints of an SDK class's properties, by their names on the wire."""
    return _types._raw_return_hints(cls)


def is_input_class(hint: Any) -> bool:
    """Whether a hint is one of the SDK's classes of nested inputs."""
    return inspect.isclass(hint) and _types.is_input_type(hint)


def members(hint: Any) -> list[Any]:
    """The types that a hint allows, without the wrappers that only programs use."""
    if get_origin(hint) is pulumi.Output:
        return members(get_args(hint)[0])
    if not _types._is_union_type(hint):  # type: ignore[no-untyped-call]
        return [hint]
    flat: list[Any] = []
    for member in get_args(hint):
        if not _types._is_plumbing_arg(member):
            flat += members(member)
    return flat


def is_optional(hint: Any) -> bool:
    """Whether a hint allows that there is nothing."""
    return type(None) in members(hint) or hint is Any


def _args_class(resource: Any) -> type:
    """The class that holds a resource's arguments: the one input class that its constructor names."""
    namespace = sys.modules[resource.__module__].__dict__
    for name in resource._internal_init.__code__.co_names:
        if is_input_class(namespace.get(name)):
            return namespace[name]  # type: ignore[no-any-return]
    raise KeyError(f"{resource.__name__} has no arguments class")


def _secret_outputs(resource: Any) -> tuple[str, ...]:
    """What the constructor passes as `additional_secret_outputs`; it is nowhere but in its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(resource._internal_init)))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "additional_secret_outputs":
            return tuple(ast.literal_eval(node.value))
    return ()
