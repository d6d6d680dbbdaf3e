"""IAM members: one role for one member on one resource (`…IamMember`, `…IAMMember`)."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.model import Cloud, Found, Model
from rehearsal.standins.names import (
    account_name,
    bucket_name,
    project_name,
    repository_name,
    run_name,
    secret_name,
)

_ID = re.compile(
    r"(?P<target>\S+?)[ /](?P<role>(?:(?:projects|organizations)/[^/ ]+/)?roles/[^/ ]+)[ /](?P<member>\S+)"
)
"""The provider's own ids have slashes, the ones that `pulumi import` takes have blanks."""


class IamMember(Model):
    """A binding in the world. Adding one that is there already changes nothing, as with Google."""

    kept: ClassVar[Mapping[str, Any]] = {"condition": None}

    @abstractmethod
    def target(self, cloud: Cloud, inputs: Properties) -> str:
        """The full name of the resource that the role is given on."""

    @abstractmethod
    def short(self, target: str) -> str:
        """The resource's part of the id."""

    @abstractmethod
    def long(self, cloud: Cloud, short: str) -> str:
        """The resource's full name from its part of an id."""

    @abstractmethod
    def target_inputs(self, target: str) -> Properties:
        """The inputs that say which resource it is."""

    def address(self, cloud: Cloud, inputs: Properties) -> str:
        """The binding, below its resource."""
        return f"{self.target(cloud, inputs)}/{inputs['role']}/{inputs['member']}"

    def create(self, cloud: Cloud, inputs: Properties) -> str:
        """Bind."""
        target = self.target(cloud, inputs)
        cloud.world.bind(target, inputs["role"], inputs["member"])
        return f"{self.short(target)}/{inputs['role']}/{inputs['member']}"

    def read(self, cloud: Cloud, id: str) -> Found | None:
        """The binding, if it is there."""
        found = _ID.fullmatch(id)
        if found is None:
            return None
        target, role, member = self.long(cloud, found["target"]), found["role"], found["member"]
        if (role, member) not in cloud.world.bindings(target):
            return None
        inputs = {**self.target_inputs(target), "role": role, "member": member}
        etag = hashlib.sha256(f"{target} {role} {member}".encode()).hexdigest()[:12]
        return Found(f"{self.short(target)}/{role}/{member}", inputs, {"etag": etag})

    def update(self, cloud: Cloud, id: str, inputs: Properties) -> None:
        """Nothing of a binding can change in place."""

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:  # noqa: ARG002
        """Unbind."""
        found = _ID.fullmatch(id)
        if found is not None:
            cloud.world.unbind(self.long(cloud, found["target"]), found["role"], found["member"])


class BucketIamMember(IamMember):
    """A role on a bucket."""

    type_name = "gcp:storage/bucketIAMMember:BucketIAMMember"
    api = "storage.googleapis.com"

    def target(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The bucket."""
        return bucket_name(inputs["bucket"])

    def short(self, target: str) -> str:
        """`b/BUCKET`."""
        return f"b/{target.rpartition('/')[2]}"

    def long(self, cloud: Cloud, short: str) -> str:  # noqa: ARG002
        """From `b/BUCKET`."""
        return bucket_name(short)

    def target_inputs(self, target: str) -> Properties:
        """The bucket."""
        return {"bucket": self.short(target)}

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """The provider writes a bucket as `b/BUCKET`."""
        bucket = inputs["bucket"]
        named = f"b/{bucket.removeprefix('b/')}" if isinstance(bucket, str) else bucket
        return {**super().defaults(cloud, inputs), "bucket": named}


class PathIamMember(IamMember):
    """A role on a resource whose id is its full name without the service."""

    service: str

    def short(self, target: str) -> str:
        """The path below the API."""
        return target.partition("/")[2]

    def long(self, cloud: Cloud, short: str) -> str:  # noqa: ARG002
        """From the path below the API."""
        return f"{self.service}/{short}"


class RunServiceIamMember(PathIamMember):
    """A role on a Cloud Run service."""

    type_name = "gcp:cloudrunv2/serviceIamMember:ServiceIamMember"
    api = "run.googleapis.com"
    service = "run.googleapis.com"
    collection = "services"

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """A full name says its own project and location; the provider shortens it."""
        filled, name = super().defaults(cloud, inputs), inputs.get("name")
        if isinstance(name, str) and name.count("/") == 5:
            _, project, _, location, _, short = name.split("/")
            return {**filled, "project": project, "location": location, "name": short}
        return filled

    def target(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The service or job."""
        return run_name(inputs["project"], inputs["location"], self.collection, inputs["name"])

    def target_inputs(self, target: str) -> Properties:
        """Project, location, name."""
        _, _, project, _, location, _, name = target.split("/")
        return {"project": project, "location": location, "name": name}


class RunJobIamMember(RunServiceIamMember):
    """A role on a Cloud Run job."""

    type_name = "gcp:cloudrunv2/jobIamMember:JobIamMember"
    collection = "jobs"


class SecretIamMember(PathIamMember):
    """A role on a secret."""

    type_name = "gcp:secretmanager/secretIamMember:SecretIamMember"
    api = "secretmanager.googleapis.com"
    service = "secretmanager.googleapis.com"

    def target(self, cloud: Cloud, inputs: Properties) -> str:
        """The secret."""
        return secret_name(cloud, inputs["project"], inputs["secretId"])

    def target_inputs(self, target: str) -> Properties:
        """Project and secret."""
        return {"project": target.split("/")[2], "secretId": self.short(target)}

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """The provider writes a secret as its path."""
        filled, secret = super().defaults(cloud, inputs), inputs["secretId"]
        if isinstance(secret, str) and isinstance(filled.get("project"), str):
            filled["secretId"] = secret_name(cloud, filled["project"], secret).partition("/")[2]
        return filled


class RepositoryIamMember(PathIamMember):
    """A role on an Artifact Registry repository."""

    type_name = "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember"
    api = "artifactregistry.googleapis.com"
    service = "artifactregistry.googleapis.com"

    def target(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The repository."""
        return repository_name(inputs["project"], inputs["location"], inputs["repository"])

    def target_inputs(self, target: str) -> Properties:
        """Project, location, repository."""
        _, _, project, _, location, _, _ = target.split("/")
        return {"project": project, "location": location, "repository": self.short(target)}

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """The provider writes a repository as its path."""
        filled, repository = super().defaults(cloud, inputs), inputs["repository"]
        parts = (filled.get("project"), filled.get("location"), repository)
        if all(isinstance(part, str) for part in parts):
            filled["repository"] = repository_name(*parts).partition("/")[2]  # type: ignore[arg-type]
        return filled


class AccountIamMember(PathIamMember):
    """A role on a service account."""

    type_name = "gcp:serviceaccount/iAMMember:IAMMember"
    api = "iam.googleapis.com"
    service = "iam.googleapis.com"

    def target(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The service account."""
        return account_name(inputs["serviceAccountId"])

    def target_inputs(self, target: str) -> Properties:
        """The service account."""
        return {"serviceAccountId": self.short(target)}


class ProjectIamMember(IamMember):
    """A role on a whole project."""

    type_name = "gcp:projects/iAMMember:IAMMember"
    api = "cloudresourcemanager.googleapis.com"

    def target(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The project."""
        return project_name(inputs["project"].removeprefix("projects/"))

    def short(self, target: str) -> str:
        """The project's id."""
        return target.rpartition("/")[2]

    def long(self, cloud: Cloud, short: str) -> str:  # noqa: ARG002
        """From the project's id."""
        return project_name(short)

    def target_inputs(self, target: str) -> Properties:
        """The project."""
        return {"project": self.short(target)}


class WebIamMember(PathIamMember):
    """A role on everything that Identity-Aware Proxy of a project guards.

    One with a condition is another binding than one without, or with another condition: its title is a part
    of the id.
    """

    type_name = "gcp:iap/webIamMember:WebIamMember"
    api = "iap.googleapis.com"
    service = "iap.googleapis.com"

    def target(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The project's guarded addresses, or the part of them that the condition is about."""
        everything = f"{self.service}/projects/{inputs['project']}/iap_web"
        condition = inputs.get("condition")
        return f"{everything}/conditions/{condition['title']}" if condition else everything

    def target_inputs(self, target: str) -> Properties:
        """The project."""
        return {"project": target.split("/")[2]}
