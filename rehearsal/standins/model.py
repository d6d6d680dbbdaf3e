"""How a stand-in models one resource type: its name, its record, what it computes.

A model translates between Pulumi's properties and a record in Google's REST shape. Nothing here is
specific to one service; see the modules of `rehearsal.standins.gcp`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.sdk import ResourceType
from rehearsal.world import NotFound, Record, World


@dataclass(frozen=True, slots=True)
class Cloud:
    """The cloud as one operation sees it.

    Attributes:
        world: Where everything is kept.
        project: The provider's project; empty when none is configured.
        region: The provider's region; empty when none is configured.
        run_workloads: False where containers are not the subject: nothing is started.
        warn: Shows a person a warning beside the resource.
        timeout: How long an operation may wait, in seconds.
    """

    world: World
    project: str = ""
    region: str = ""
    run_workloads: bool = True
    warn: Callable[[str], None] = field(default=lambda _: None)
    timeout: float = 1200.0

    def project_number(self, project: str) -> str:
        """The number of a project."""
        return str(self.world.ensure_project(project).body["number"])


@dataclass(frozen=True, slots=True)
class Found:
    """A resource as it is in the world: its id, its inputs as Google has them, and what Google computed."""

    id: str
    inputs: Properties
    computed: Properties


@dataclass(frozen=True, slots=True)
class NotReady:
    """A resource that exists, but does not work; `reasons` say why, one line each."""

    reasons: tuple[str, ...]


class Model(ABC):
    """One resource type."""

    type_name: ClassVar[str]
    """The type token, for instance `gcp:storage/bucket:Bucket`."""
    api: ClassVar[str]
    """The API that must be enabled in the resource's project."""
    auto_name: ClassVar[str | None] = None
    """The input that gets a generated name when it is absent."""
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE"}
    """Inputs that only the provider knows, never Google, with their defaults."""
    unmanaged_maps: ClassVar[tuple[str, ...]] = ()
    """Maps in which the provider looks only at the keys that the program gave."""
    modelled: ClassVar[frozenset[str] | None] = None
    """Inputs that reach the record; None means all of them."""

    def unmodelled(self, types: ResourceType) -> frozenset[str]:
        """Inputs that are accepted, kept in the state, and otherwise ignored."""
        if self.modelled is None:
            return frozenset()
        return frozenset(types.inputs) - self.modelled - self.kept.keys()

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """The inputs with what the provider itself fills in."""
        return {**self.provider_defaults(cloud), **inputs}

    def provider_defaults(self, cloud: Cloud) -> Properties:
        """Defaults that do not depend on the other inputs; those that a type has no input for are dropped."""
        places = {"project": cloud.project, "location": cloud.region}
        return present_only({**self.kept, **{name: place or None for name, place in places.items()}})

    @abstractmethod
    def address(self, cloud: Cloud, inputs: Properties) -> str:
        """The full resource name that these inputs ask for."""

    @abstractmethod
    def create(self, cloud: Cloud, inputs: Properties) -> str:
        """Make the resource; returns its id."""

    @abstractmethod
    def read(self, cloud: Cloud, id: str) -> Found | None:
        """The resource of that id, or None if the world does not have it."""

    @abstractmethod
    def update(self, cloud: Cloud, id: str, inputs: Properties) -> None:
        """Change the resource in place."""

    @abstractmethod
    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """Remove the resource; `kept` are the provider's own inputs from the state."""

    def settle(self, cloud: Cloud, id: str) -> NotReady | None:  # noqa: ARG002
        """Wait until the resource works after it was made or changed."""
        return None

    def blocker(self, cloud: Cloud, id: str, state: Properties) -> str | None:  # noqa: ARG002
        """Why the resource may not be deleted now, or None."""
        if state.get("deletionPolicy") == "PREVENT":
            return (
                f"cannot destroy {id}: its deletionPolicy is PREVENT. "
                "Set it to DELETE, run up, and then destroy."
            )
        if state.get("deletionProtection"):
            return (
                f"cannot destroy {id}: its deletionProtection is true. "
                "Set it to false, run up, and then destroy."
            )
        return None


class RecordModel(Model):
    """A resource type that is one record of the world, whose id is the record's name without the service."""

    kind: ClassVar[str]
    service: ClassVar[str]
    """The first part of the record's full name."""

    @abstractmethod
    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """The record's body; `present` is the one in place, empty when the resource is made."""

    @abstractmethod
    def from_body(self, cloud: Cloud, record: Record) -> Properties:
        """The inputs that the record amounts to."""

    @abstractmethod
    def computed(self, cloud: Cloud, record: Record) -> Properties:
        """What Google computed."""

    def id_of(self, cloud: Cloud, name: str) -> str:  # noqa: ARG002
        """The id under which the engine knows a record."""
        return name.removeprefix(f"{self.service}/")

    def name_of(self, cloud: Cloud, id: str) -> str:  # noqa: ARG002
        """The record's full name for an id."""
        return f"{self.service}/{id}"

    def create(self, cloud: Cloud, inputs: Properties) -> str:
        """Insert the record."""
        name = self.address(cloud, inputs)
        cloud.world.insert(self.kind, name, self.to_body(cloud, inputs, {}))
        return self.id_of(cloud, name)

    def read(self, cloud: Cloud, id: str) -> Found | None:
        """Look the record up."""
        record = cloud.world.get(self.name_of(cloud, id))
        if record is None or record.kind != self.kind:
            return None
        return Found(
            self.id_of(cloud, record.name), self.from_body(cloud, record), self.computed(cloud, record)
        )

    def update(self, cloud: Cloud, id: str, inputs: Properties) -> None:
        """Replace the record's body."""
        cloud.world.edit(self.name_of(cloud, id), lambda present: self.to_body(cloud, inputs, present))

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:  # noqa: ARG002
        """Remove the record."""
        cloud.world.delete(self.name_of(cloud, id))

    def require(self, cloud: Cloud, id: str) -> Record:
        """The record of an id.

        Raises:
            NotFound: The world does not have it.
        """
        record = cloud.world.get(self.name_of(cloud, id))
        if record is None:
            raise NotFound(f"Resource '{id}' was not found.")
        return record


def present_only(properties: Mapping[str, Any]) -> Properties:
    """The properties without those that are None."""
    return {name: value for name, value in properties.items() if value is not None}


def label_outputs(labels: Mapping[str, str] | None) -> Properties:
    """The two outputs that the provider derives from labels."""
    return {"effectiveLabels": dict(labels or {}), "pulumiLabels": dict(labels or {})}
