"""Secret Manager (`gcp:secretmanager/secret:Secret`, `…/secretVersion:SecretVersion`)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.model import Cloud, Found, RecordModel, label_outputs, present_only
from rehearsal.standins.names import project_of, secret_name
from rehearsal.world import AlreadyExists, Record

SERVICE = "secretmanager.googleapis.com"


class ManagedSecret(RecordModel):
    """A secret, without any payload."""

    type_name = "gcp:secretmanager/secret:Secret"
    kind = "secretmanager.secret"
    service = SERVICE
    api = SERVICE
    auto_name = "secretId"
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE", "deletionProtection": False}
    unmanaged_maps = ("labels", "annotations")
    modelled = frozenset(["secretId", "project", "replication", "labels", "annotations", "ttl", "expireTime"])

    def address(self, cloud: Cloud, inputs: Properties) -> str:
        """The secret in its project."""
        return secret_name(cloud, inputs["project"], inputs["secretId"])

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As `secrets.get` shows it."""
        number = cloud.project_number(inputs["project"])
        replication = inputs["replication"]
        user_managed = replication.get("userManaged")
        return present_only(
            {
                "name": f"projects/{number}/secrets/{inputs['secretId']}",
                "createTime": present.get("createTime", cloud.world.now()),
                "replication": {"userManaged": user_managed}
                if user_managed
                else {"automatic": replication.get("auto") or {}},
                "labels": inputs.get("labels"),
                "annotations": inputs.get("annotations"),
                "ttl": inputs.get("ttl"),
                "expireTime": inputs.get("expireTime"),
            }
        )

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        body = record.body
        replication = body["replication"]
        automatic = {"auto": replication["automatic"]} if "automatic" in replication else replication
        names = ("labels", "annotations", "ttl", "expireTime")
        return present_only(
            {
                "secretId": record.name.rpartition("/")[2],
                "project": project_of(record.name),
                "replication": automatic,
                **{name: body.get(name) for name in names},
            }
        )

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Its name by the project's number, and its labels."""
        body = record.body
        return {
            "name": body["name"],
            "createTime": body["createTime"],
            "effectiveAnnotations": body.get("annotations") or {},
            **label_outputs(body.get("labels")),
        }


class SecretVersion(RecordModel):
    """A payload. It lies in a file of its own and never in a record."""

    type_name = "gcp:secretmanager/secretVersion:SecretVersion"
    kind = "secretmanager.version"
    service = SERVICE
    api = SERVICE
    kept: ClassVar[Mapping[str, Any]] = {
        "deletionPolicy": "DELETE",
        "isSecretDataBase64": False,
        "secretDataWoVersion": None,
    }

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """Versions are enabled unless the program says otherwise."""
        return {"enabled": True, **super().defaults(cloud, inputs)}

    def address(self, cloud: Cloud, inputs: Properties) -> str:
        """The secret that it is a version of: the version's own number is Google's to give."""
        return secret_name(cloud, inputs.get("project", cloud.project), inputs["secret"])

    def name_of(self, cloud: Cloud, id: str) -> str:
        """From `projects/NUMBER/secrets/S/versions/N`."""
        return secret_name(cloud, cloud.project, id)

    def id_of(self, cloud: Cloud, name: str) -> str:
        """With the project's number, as Google names versions."""
        project = project_of(name)
        path = name.removeprefix(f"{SERVICE}/projects/{project}/")
        return f"projects/{cloud.project_number(project)}/{path}"

    def create(self, cloud: Cloud, inputs: Properties) -> str:
        """The record claims the number; then the payload is written."""
        secret = self.address(cloud, inputs)
        number = 1 + max((int(r.name.rpartition("/")[2]) for r in _versions(cloud, secret)), default=0)
        name = f"{secret}/versions/{number}"
        try:
            cloud.world.insert(self.kind, name, self.to_body(cloud, {**inputs, "number": number}, {}))
        except AlreadyExists:  # another process took the number
            return self.create(cloud, inputs)
        cloud.world.set_setting(_form_key(name), _form(inputs))
        cloud.world.secrets.put(name, _payload(inputs))
        return self.id_of(cloud, name)

    def read(self, cloud: Cloud, id: str) -> Found | None:
        """The version, unless it is destroyed."""
        record = cloud.world.get(self.name_of(cloud, id))
        return None if record is None or record.body["state"] == "DESTROYED" else super().read(cloud, id)

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As `versions.get` shows it."""
        if not present:
            name = f"{self.address(cloud, inputs)}/versions/{inputs['number']}"
            present = {"name": self.id_of(cloud, name), "createTime": cloud.world.now()}
        return {**present, "state": "ENABLED" if inputs.get("enabled", True) else "DISABLED"}

    def from_body(self, cloud: Cloud, record: Record) -> Properties:
        """The inputs; the payload is read back, as the real provider does."""
        secret = record.name.rpartition("/versions/")[0]
        return present_only(
            {
                "secret": secret.removeprefix(f"{SERVICE}/"),
                "project": project_of(record.name),
                "enabled": record.body["state"] == "ENABLED",
                "secretData": _shown(cloud, record.name),
            }
        )

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Its name and number."""
        body = record.body
        return {
            "name": body["name"],
            "version": record.name.rpartition("/")[2],
            "createTime": body["createTime"],
            "destroyTime": body.get("destroyTime", ""),
        }

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """Destroy the payload; the version's record stays as long as its secret does."""
        name = self.name_of(cloud, id)
        if kept.get("deletionPolicy") == "DISABLE":
            cloud.world.edit(name, lambda body: {**body, "state": "DISABLED"})
            return
        destroyed = {"state": "DESTROYED", "destroyTime": cloud.world.now()}
        cloud.world.edit(name, lambda body: {**body, **destroyed})
        cloud.world.secrets.delete(name)


def _versions(cloud: Cloud, secret: str) -> list[Record]:
    return cloud.world.list(SecretVersion.kind, f"{secret}/versions/")


def _payload(inputs: Properties) -> bytes:
    text: str = inputs.get("secretData") or inputs["secretDataWo"]
    return base64.b64decode(text) if inputs.get("isSecretDataBase64") else text.encode()


def _form_key(name: str) -> str:
    return f"secret.form.{name}"


def _form(inputs: Properties) -> str:
    """How the program wrote the payload, which a read must repeat."""
    if not inputs.get("secretData"):
        return "write-only"
    return "base64" if inputs.get("isSecretDataBase64") else "plain"


def _shown(cloud: Cloud, name: str) -> str | None:
    """The payload as the program wrote it; None where it is write-only or gone."""
    payload, form = cloud.world.secrets.get(name), cloud.world.setting(_form_key(name))
    if payload is None or form == "write-only":
        return None
    return base64.b64encode(payload).decode() if form == "base64" else payload.decode()
