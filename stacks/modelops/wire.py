"""What our typed resources share: arguments as dataclasses, sent in camelCase, and outputs by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

import pulumi


def wire(value: Any) -> Any:
    """Arguments as the provider reads them: names in camelCase, without what is not set.

    Only names of dataclasses' fields change: keys of mappings, as of labels, are the user's own.
    """
    if is_dataclass(value) and not isinstance(value, type):
        given = {field.name: getattr(value, field.name) for field in fields(value)}
        return {_camel(name): wire(each) for name, each in given.items() if each is not None}
    if isinstance(value, list | tuple):
        return [wire(each) for each in value]
    if isinstance(value, Mapping):
        return {key: wire(each) for key, each in value.items()}
    return value


class VertexResource(pulumi.CustomResource):
    """A resource of `modelops:vertex`.

    Args:
        kind: the last part of the type token.
        resource_name: the resource's logical name.
        args: a dataclass with the inputs.
        outputs: names of the outputs beside the inputs.
        opts: resource options.
    """

    def __init__(
        self,
        kind: str,
        resource_name: str,
        args: Any,
        outputs: tuple[str, ...],
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        # Outputs are among the properties so that the SDK makes a promise of each.
        properties = {**dict.fromkeys(outputs), **wire(args)}
        super().__init__(f"modelops:vertex:{kind}", resource_name, properties, opts)

    def _output(self, name: str) -> pulumi.Output[Any]:
        return cast("pulumi.Output[Any]", pulumi.get(self, name))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
