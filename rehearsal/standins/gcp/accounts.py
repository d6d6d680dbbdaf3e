"""Service accounts (`gcp:serviceaccount/account:Account`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.model import Cloud, RecordModel, present_only
from rehearsal.standins.names import account_name
from rehearsal.world import Record


class Account(RecordModel):
    """A service account. Deleting one leaves its bindings behind, as Google does."""

    type_name = "gcp:serviceaccount/account:Account"
    kind = "iam.serviceAccount"
    service = "iam.googleapis.com"
    api = "iam.googleapis.com"
    auto_name = "accountId"
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE", "createIgnoreAlreadyExists": None}

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """Named by its e-mail address."""
        return account_name(f"{inputs['accountId']}@{inputs['project']}.iam.gserviceaccount.com")

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As `serviceAccounts.get` shows it."""
        path = self.address(cloud, inputs).removeprefix(f"{self.service}/")
        seed = f"{path} {cloud.world.now()}".encode()
        unique = "1" + str(int(hashlib.sha256(seed).hexdigest(), 16))[:20]
        return present_only(
            {
                "name": path,
                "projectId": inputs["project"],
                "email": path.rpartition("/")[2],
                "uniqueId": present.get("uniqueId", unique),
                "displayName": inputs.get("displayName"),
                "description": inputs.get("description"),
                "disabled": bool(inputs.get("disabled")),
            }
        )

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        body = record.body
        return {
            "accountId": body["email"].partition("@")[0],
            "project": body["projectId"],
            "displayName": body.get("displayName", ""),
            "description": body.get("description", ""),
            "disabled": body.get("disabled", False),
        }

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Its names."""
        body = record.body
        return {
            "email": body["email"],
            "member": f"serviceAccount:{body['email']}",
            "name": body["name"],
            "uniqueId": body["uniqueId"],
        }
