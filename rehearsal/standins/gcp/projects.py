"""APIs enabled in a project (`gcp:projects/service:Service`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.model import Cloud, Found, RecordModel
from rehearsal.standins.names import service_name
from rehearsal.world import Record


class ProjectService(RecordModel):
    """An API of a project. Enabling one that is enabled already is no conflict."""

    type_name = "gcp:projects/service:Service"
    kind = "serviceusage.service"
    service = "serviceusage.googleapis.com"
    api = ""
    kept: ClassVar[Mapping[str, Any]] = {
        "deletionPolicy": "DELETE",
        "disableOnDestroy": None,
        "disableDependentServices": None,
        "checkIfServiceHasUsageOnDestroy": None,
    }

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The API in its project."""
        return service_name(inputs["project"], inputs["service"])

    def id_of(self, cloud: Cloud, name: str) -> str:  # noqa: ARG002
        """`PROJECT/API`, as the provider writes it."""
        _, _, project, _, api = name.split("/")
        return f"{project}/{api}"

    def name_of(self, cloud: Cloud, id: str) -> str:  # noqa: ARG002
        """From `PROJECT/API`."""
        project, _, api = id.removeprefix("projects/").replace("/services/", "/").partition("/")
        return service_name(project, api)

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As `services.get` shows it."""
        parent = f"projects/{cloud.project_number(inputs['project'])}"
        name = {"name": f"{parent}/services/{inputs['service']}", "parent": parent}
        return {**present, **name, "config": {"name": inputs["service"]}, "state": "ENABLED"}

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        _, _, project, _, api = record.name.split("/")
        return {"project": project, "service": api}

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Nothing."""
        return {}

    def create(self, cloud: Cloud, inputs: Properties) -> str:
        """Enable the API."""
        name = self.address(cloud, inputs)
        if cloud.world.get(name) is None:
            return super().create(cloud, inputs)
        self.update(cloud, self.id_of(cloud, name), inputs)
        return self.id_of(cloud, name)

    def read(self, cloud: Cloud, id: str) -> Found | None:
        """The API, unless it is disabled."""
        record = cloud.world.get(self.name_of(cloud, id))
        return super().read(cloud, id) if record is not None and record.body["state"] == "ENABLED" else None

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """Disable it only where the program asked for that."""
        if kept.get("disableOnDestroy"):
            super().delete(cloud, id, kept)
