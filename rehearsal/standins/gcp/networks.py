"""The way out of a network: `gcp:compute/router:Router`, `gcp:compute/routerNat:RouterNat`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.model import Cloud, RecordModel, present_only
from rehearsal.world import Record

_SERVICE = "compute.googleapis.com"


class RegionalModel(RecordModel):
    """What is in a region; the record holds the inputs under `spec`."""

    service = _SERVICE
    api = _SERVICE
    auto_name = "name"

    def provider_defaults(self, cloud: Cloud) -> Properties:
        """A region, where other services have a location."""
        return present_only({**super().provider_defaults(cloud), "region": cloud.region or None})

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """The inputs, and what Google adds when the resource is made."""
        kept = {name: value for name, value in inputs.items() if name not in self.kept}
        path = self.address(cloud, inputs).partition("/")[2]
        return {
            "selfLink": f"https://www.googleapis.com/compute/v1/{path}",
            "creationTimestamp": present.get("creationTimestamp", cloud.world.now()),
            "spec": present_only(kept),
        }

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        return dict(record.body["spec"])


class Router(RegionalModel):
    """A router of a network in a region; what is configured in it goes with it."""

    type_name = "gcp:compute/router:Router"
    kind = "compute.router"
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE", "params": None}

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The router in its region."""
        return router_name(inputs)

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Name and time."""
        return {name: record.body[name] for name in ("selfLink", "creationTimestamp")}

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """Remove it with its NATs, which are a part of it."""
        for nat in cloud.world.list(RouterNat.kind, f"{self.name_of(cloud, id)}/"):
            cloud.world.delete(nat.name)
        super().delete(cloud, id, kept)


class RouterNat(RegionalModel):
    """Cloud NAT in a router."""

    type_name = "gcp:compute/routerNat:RouterNat"
    kind = "compute.routerNat"

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The NAT in its router."""
        return f"{router_name({**inputs, 'name': inputs['router']})}/{inputs['name']}"

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Nothing; Google tells only what was asked for."""
        return {}


def router_name(inputs: Properties) -> str:
    """A router's full name, of inputs with project, region and name."""
    return f"{_SERVICE}/projects/{inputs['project']}/regions/{inputs['region']}/routers/{inputs['name']}"
