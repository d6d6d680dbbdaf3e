"""Artifact Registry (`gcp:artifactregistry/repository:Repository`)."""

from __future__ import annotations

from typing import Any

from providers.base.values import Properties
from rehearsal.standins.docker_images import forget_snapshot
from rehearsal.standins.model import Cloud, RecordModel, label_outputs, present_only
from rehearsal.standins.names import project_of, repository_name
from rehearsal.world import Record

_SAME = ("description", "labels", "mode", "cleanupPolicyDryRun", "dockerConfig", "kmsKeyName")


class Repository(RecordModel):
    """A repository. Deleting one deletes the images in it."""

    type_name = "gcp:artifactregistry/repository:Repository"
    kind = "artifactregistry.repository"
    service = "artifactregistry.googleapis.com"
    api = "artifactregistry.googleapis.com"
    unmanaged_maps = ("labels",)
    modelled = frozenset(
        (
            *_SAME,
            "format",
            "repositoryId",
            "location",
            "project",
            "cleanupPolicies",
            "vulnerabilityScanningConfig",
        )
    )

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """A repository is a standard one unless the program says otherwise."""
        return {"mode": "STANDARD_REPOSITORY", **super().defaults(cloud, inputs)}

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The repository in its location."""
        return repository_name(inputs["project"], inputs["location"], inputs["repositoryId"])

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As `repositories.get` shows it."""
        now = cloud.world.now()
        location, project = inputs["location"], inputs["project"]
        kind = inputs["format"].lower()
        return present_only(
            {
                "name": f"projects/{project}/locations/{location}/repositories/{inputs['repositoryId']}",
                "format": inputs["format"],
                "createTime": present.get("createTime", now),
                "updateTime": now,
                "registryUri": f"{location}-{kind}.pkg.dev/{project}/{inputs['repositoryId']}",
                "cleanupPolicies": {policy["id"]: policy for policy in inputs.get("cleanupPolicies") or []},
                "vulnerabilityScanningConfig": {
                    "enablementConfig": (inputs.get("vulnerabilityScanningConfig") or {}).get(
                        "enablementConfig", "INHERITED"
                    )
                },
                **{name: inputs.get(name) for name in _SAME},
            }
        )

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        body = record.body
        parts = record.name.split("/")
        return present_only(
            {
                "repositoryId": parts[-1],
                "location": parts[-3],
                "project": project_of(record.name),
                "format": body["format"],
                "cleanupPolicies": list(body.get("cleanupPolicies", {}).values()),
                "vulnerabilityScanningConfig": body.get("vulnerabilityScanningConfig"),
                **{name: body.get(name) for name in _SAME},
            }
        )

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Its short name, address and times."""
        body = record.body
        return {
            "name": record.name.rpartition("/")[2],
            "registryUri": body["registryUri"],
            "createTime": body["createTime"],
            "updateTime": body["updateTime"],
            **label_outputs(body.get("labels")),
        }

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """The images go with their repository, and their snapshots with the last image that has them."""
        images = cloud.world.list("artifactregistry.image", f"{self.name_of(cloud, id)}/dockerImages/")
        super().delete(cloud, id, kept)
        for image in images:
            forget_snapshot(cloud.world, image.body["digest"])
