"""One Kubernetes object of the plan as a resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pulumi


class KubernetesResource(pulumi.CustomResource):
    """An object that is sent to the cluster just as the plan has it.

    The generated classes of `pulumi_kubernetes` register the same types with the same properties; but a
    manifest would have to be taken apart into each class's arguments, and custom resources have no class.

    Args:
        name: logical name.
        manifest: the object, with names of fields as Kubernetes has them.
        opts: resource options; `provider` says which cluster.
    """

    def __init__(self, name: str, manifest: Mapping[str, Any], opts: pulumi.ResourceOptions) -> None:
        version = str(manifest["apiVersion"])
        group = version if "/" in version else f"core/{version}"
        token = f"kubernetes:{group}:{manifest['kind']}"
        # `status` is the cluster's to write; named here, so that the SDK makes a promise of it.
        super().__init__(token, name, {**manifest, "status": None}, opts)

    @property
    def status(self) -> pulumi.Output[Any]:
        """What the cluster says of the object's state."""
        return cast("pulumi.Output[Any]", self.__dict__["status"])
