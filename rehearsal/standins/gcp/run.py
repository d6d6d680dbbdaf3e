"""Cloud Run services and jobs (`gcp:cloudrunv2/service:Service`, `…/job:Job`).

The record is what the REST face serves and the cloud process runs; this module writes it from the
program's inputs, asks the cloud process to make a service run, and reads it back.
"""

from __future__ import annotations

import hashlib
import uuid
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from providers.base.values import Properties
from rehearsal.standins.gcp.run_defaults import fill_job, fill_service
from rehearsal.standins.gcp.run_translate import from_rest, to_rest
from rehearsal.standins.model import Cloud, NotReady, RecordModel, label_outputs
from rehearsal.standins.names import run_name
from rehearsal.world import DEPLOYER, Record, WorldError

if TYPE_CHECKING:
    from rehearsal.cloud.client import CloudClient

T = TypeVar("T")

_SERVICE = "run.googleapis.com"
_PLACE = ("name", "project", "location")
_OUTPUT_ONLY = (
    "uid",
    "createTime",
    "creator",
    "conditions",
    "terminalCondition",
    "observedGeneration",
    "reconciling",
    "uri",
    "urls",
    "latestReadyRevision",
    "latestCreatedRevision",
    "trafficStatuses",
    "executionCount",
    "latestCreatedExecution",
)
"""Fields that a new specification does not touch."""

_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
_SUCCEEDED = "CONDITION_SUCCEEDED"


class RunModel(RecordModel):
    """What services and jobs share."""

    service = _SERVICE
    api = _SERVICE
    auto_name = "name"
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE", "deletionProtection": True, "tags": None}
    unmanaged_maps = ("labels", "annotations")
    collection: ClassVar[str]
    single_port: ClassVar[bool]

    @abstractmethod
    def fill(self, body: dict[str, Any], account: str) -> dict[str, Any]:
        """The body with Google's defaults; `account` is the project's default service account."""

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The service or job in its location."""
        return run_name(inputs["project"], inputs["location"], self.collection, inputs["name"])

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As the API's `get` shows it."""
        now = cloud.world.now()
        provider_only = {*self.kept, *_PLACE}
        spec = to_rest({name: value for name, value in inputs.items() if name not in provider_only})
        generation = str(int(present.get("generation", 0)) + 1)
        known = {name: present[name] for name in _OUTPUT_ONLY if name in present}
        account = f"{cloud.project_number(inputs['project'])}-compute@developer.gserviceaccount.com"
        body = {
            "name": self.address(cloud, inputs).removeprefix(f"{_SERVICE}/"),
            "uid": str(uuid.uuid4()),
            "createTime": now,
            "creator": DEPLOYER.partition(":")[2],
            "launchStage": "GA",
            **spec,
            **known,
            "lastModifier": DEPLOYER.partition(":")[2],
            "updateTime": now,
            "generation": generation,
        }
        etag = hashlib.sha256(f"{body['uid']} {generation}".encode()).hexdigest()[:16]
        return self.fill({**body, "etag": etag}, account)

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        _, project, _, location, _, name = record.body["name"].split("/")
        spec = {key: value for key, value in record.body.items() if key not in self._computed_fields()}
        return {**from_rest(spec, self.single_port), "name": name, "project": project, "location": location}

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """What Google reports, under the provider's names."""
        body = record.body
        same = {
            key: body[key] for key in self._computed_fields() if key in body and key not in _RENAMED_OUTPUTS
        }
        return {
            **same,
            "observedGeneration": body.get("observedGeneration", body["generation"]),
            "reconciling": body.get("reconciling", False),
            "conditions": body.get("conditions", []),
            "terminalConditions": [body["terminalCondition"]] if "terminalCondition" in body else [],
            "effectiveAnnotations": dict(body.get("annotations", {})),
            "deleteTime": "",
            "expireTime": "",
            **label_outputs(body.get("labels")),
        }

    def _computed_fields(self) -> tuple[str, ...]:
        return (*_OUTPUT_ONLY, "etag", "generation", "updateTime", "lastModifier")


_RENAMED_OUTPUTS = frozenset({"terminalCondition", "latestCreatedExecution", "conditions"})


class Job(RunModel):
    """A job. Writing it runs nothing: executions are started through the API."""

    type_name = "gcp:cloudrunv2/job:Job"
    kind = "run.job"
    collection = "jobs"
    single_port = False

    def fill(self, body: dict[str, Any], account: str) -> dict[str, Any]:
        """Google's defaults; a job is ready as soon as it is written."""
        condition = {"type": "Ready", "state": _SUCCEEDED, "lastTransitionTime": body["updateTime"]}
        return {
            **body,
            "template": fill_job(body["template"], account),
            "observedGeneration": body["generation"],
            "terminalCondition": condition,
        }

    def computed(self, cloud: Cloud, record: Record) -> Properties:
        """As of every Cloud Run resource, and the executions."""
        execution = record.body.get("latestCreatedExecution")
        return {
            "executionCount": 0,
            **super().computed(cloud, record),
            "latestCreatedExecutions": [execution] if execution else [],
        }

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """Running executions end with their job."""
        name = self.name_of(cloud, id)
        if cloud.run_workloads and cloud.world.list("run.execution", f"{name}/executions/"):
            _asked(cloud.world.folder, lambda client: client.cancel_executions(name))
        super().delete(cloud, id, kept)


class Service(RunModel):
    """A service. It is ready when its container passes its startup probe."""

    type_name = "gcp:cloudrunv2/service:Service"
    kind = "run.service"
    collection = "services"
    single_port = True

    def fill(self, body: dict[str, Any], account: str) -> dict[str, Any]:
        """Google's defaults."""
        latest = {"type": _LATEST, "percent": 100}
        return {
            "ingress": "INGRESS_TRAFFIC_ALL",
            "traffic": [latest],
            **body,
            "template": fill_service(body["template"], account),
        }

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As the API's `get` shows it; another template makes another revision."""
        body = super().to_body(cloud, inputs, present)
        if body["template"] != present.get("template"):
            generated = f"{inputs['name']}-{int(body['generation']):05d}-{body['etag'][:3]}"
            body["latestCreatedRevision"] = body["template"].get("revision", generated)
        return body

    def settle(self, cloud: Cloud, id: str) -> NotReady | None:
        """Start or roll the container and wait for its startup probe; the cloud process writes the status."""
        name = self.name_of(cloud, id)
        if not cloud.run_workloads:
            uri = self._public_uri(cloud, name)
            cloud.world.edit(name, lambda body: _as_if_running(body, uri, cloud.world.now()))
            return None
        try:
            outcome = _asked(cloud.world.folder, lambda client: client.reconcile_service(name, cloud.timeout))
        except WorldError as error:  # the service exists, and the engine must not forget it
            return NotReady((error.message,))
        if outcome.ready:
            return None
        revision = self.require(cloud, id).body["latestCreatedRevision"]
        reason = f"Revision '{revision}' is not ready and cannot serve traffic. {outcome.message}"
        return NotReady((reason.strip(),))

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """The record first: nobody starts the container again; then the container."""
        super().delete(cloud, id, kept)
        if cloud.run_workloads:
            name = self.name_of(cloud, id)
            _asked(cloud.world.folder, lambda client: client.remove_service(name))

    def _public_uri(self, cloud: Cloud, name: str) -> str:
        """The address that Google would give: https://cloud.google.com/run/docs/triggering/https-request."""
        _, _, project, _, location, _, short = name.split("/")
        return f"https://{short}-{cloud.project_number(project)}.{location}.run.app"


def _as_if_running(body: dict[str, Any], uri: str, now: str) -> dict[str, Any]:
    """The body with what Google reports of a service whose containers are not the subject."""
    revision = body["latestCreatedRevision"]
    return {
        **body,
        "uri": uri,
        "urls": [uri],
        "reconciling": False,
        "terminalCondition": {"type": "Ready", "state": _SUCCEEDED, "lastTransitionTime": now},
        "latestReadyRevision": revision,
        "trafficStatuses": [{"type": _LATEST, "revision": revision, "percent": 100, "uri": uri}],
    }


def _asked(folder: Path, question: Callable[[CloudClient], T]) -> T:
    """What the cloud process answers; it is started if need be.

    Raises:
        WorldError: It cannot be reached, or refuses.
    """
    from rehearsal.cloud import client  # late: most operations need no containers

    try:
        return question(client.CloudClient(client.ensure_running(folder)))
    except client.CloudError as error:
        raise WorldError(str(error), code=503, status="UNAVAILABLE") from error
