"""The project itself, and the APIs that must be enabled in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from llmstack.bootstrap.errors import ApiDisabledError, BootstrapError, RefusedError
from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.steps import Change, Found
from llmstack.bootstrap.target import Target
from stacks.plan.apis import required_apis
from stacks.plan.hardware import BUILT_TOPOLOGIES
from stacks.plan.runners import CLOUD_RUN, KUBERNETES, VERTEX

UNKNOWN_NUMBER = "PROJECT_NUMBER"
"""Stands for the number in a dry run that cannot read it yet, because the API is not enabled."""

# Beside what stacks need: the key, and the exchange of a workflow's token for one of Google's
# (https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines).
_OWN_APIS = frozenset({"cloudkms.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"})
_ENABLE_AT_ONCE = 20
"""Discovery document serviceusage.v1, BatchEnableServicesRequest.serviceIds."""


def needed_apis() -> tuple[str, ...]:
    """The APIs of all that this version builds, wherever weights jobs run, and of the preparation itself."""
    runners = (CLOUD_RUN, VERTEX, KUBERNETES)
    stacks = required_apis(BUILT_TOPOLOGIES, runners, hub_token=True, gateway=True)
    return tuple(sorted(_OWN_APIS | set(stacks)))


def project_number(google: Google, target: Target) -> str:
    """The project's number.

    Raises:
        BootstrapError: the project does not exist, is being deleted, or may not be seen.
    """
    permission = "resourcemanager.projects.get"
    purpose = Purpose(f"reading project {target.project}", permission, f"project {target.project}")
    projects = google.service("cloudresourcemanager").projects()
    try:
        found = google.read(purpose, lambda: projects.get(name=f"projects/{target.project}"), enabled=True)
    except ApiDisabledError:
        if google.read_only:
            return UNKNOWN_NUMBER
        raise
    except RefusedError as error:
        # Google does not tell strangers whether a project exists.
        raise BootstrapError(f"there is no project {target.project}, or it is not yours: {error}") from error
    if found is None:
        raise BootstrapError(f"there is no project {target.project}; gcloud projects list shows yours")
    if found.get("state") != "ACTIVE":
        raise BootstrapError(
            f"project {target.project} is being deleted: gcloud projects undelete {target.project}"
        )
    return str(found["name"]).removeprefix("projects/")


@dataclass(frozen=True)
class Apis:
    """The APIs that stacks and the preparation call. Never disables one: other work may need it."""

    google: Google
    target: Target

    @property
    def name(self) -> str:
        """See `Step.name`."""
        return f"APIs of project {self.target.project}"

    def look(self) -> Found:
        """See `Step.look`."""
        parent = f"projects/{self.target.project}"
        names = [f"{parent}/services/{api}" for api in needed_apis()]
        purpose = Purpose(f"reading the {self.name}", "serviceusage.services.get", self.target.project)
        services = self.google.service("serviceusage").services()
        try:
            answer = self.google.read(
                purpose, lambda: services.batchGet(parent=parent, names=names), enabled=True
            )
        except ApiDisabledError as error:
            # The API that enables APIs cannot enable itself, so waiting for it helps nobody.
            raise BootstrapError(str(error)) from error
        enabled = {
            str(service["name"]).rpartition("/")[2]
            for service in (answer or {}).get("services", [])
            if service.get("state") == "ENABLED"
        }
        missing = [api for api in needed_apis() if api not in enabled]
        if not missing:
            return Found()
        return Found([Change(f"enable {', '.join(missing)}", lambda: self._enable(missing))])

    def _enable(self, apis: list[str]) -> None:
        purpose = Purpose(f"enabling the {self.name}", "serviceusage.services.enable", self.target.project)
        usage, parent = self.google.service("serviceusage"), f"projects/{self.target.project}"
        for start in range(0, len(apis), _ENABLE_AT_ONCE):
            body = {"serviceIds": apis[start : start + _ENABLE_AT_ONCE]}
            started = self.google.write(
                purpose, partial(usage.services().batchEnable, parent=parent, body=body)
            )
            self.google.wait(purpose, started, lambda name: usage.operations().get(name=name))
