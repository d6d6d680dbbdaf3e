"""The inputs of a CustomJob, and their form in Google's API.

Limits: the discovery document aiplatform.v1, CustomJobSpec, WorkerPoolSpec, Scheduling and DiskSpec.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from providers.base.values import Properties
from providers.modelops.vertexai.deployment_inputs import AcceleratorType
from providers.modelops.vertexai.inputs import (
    Account,
    EnvName,
    Folder,
    Positive,
    RunInputs,
    Spec,
    Text,
    refuse,
)
from providers.modelops.vertexai.names import digest


class Machine(Spec):
    """One machine of a pool."""

    machine_type: Text
    accelerator_type: AcceleratorType | None = None
    accelerator_count: Positive | None = None
    tpu_topology: Text | None = None

    @model_validator(mode="after")
    def _accelerators(self) -> Machine:
        if (self.accelerator_type is None) != (self.accelerator_count is None):
            raise refuse("acceleratorCount", "goes with acceleratorType; give both or neither")
        return self


class Disk(Spec):
    """The boot disk."""

    boot_disk_type: Literal["pd-ssd", "pd-standard", "hyperdisk-balanced"] | None = None
    boot_disk_size_gb: Positive | None = None


class JobContainer(Spec):
    """What each machine of a pool runs."""

    image_uri: Text
    command: list[str] | None = None
    args: list[str] | None = None
    env: Annotated[dict[EnvName, str], Field(max_length=100)] | None = None


class WorkerPool(Spec):
    """Machines that are alike."""

    machine_spec: Machine
    replica_count: Positive = 1
    disk_spec: Disk | None = None
    container_spec: JobContainer

    def request(self) -> dict[str, Any]:
        """The WorkerPoolSpec of a request."""
        body = {**self.properties(), "replicaCount": str(self.replica_count)}
        env = body["containerSpec"].pop("env", None)
        if env is not None:
            body["containerSpec"]["env"] = [{"name": name, "value": value} for name, value in env.items()]
        return body


class Scheduling(Spec):
    """How long the job may take, and which machines it may wait for."""

    timeout_seconds: Positive | None = None
    max_wait_seconds: Annotated[int, Field(ge=0)] | None = None
    strategy: Literal["STANDARD", "SPOT", "FLEX_START"] | None = None
    restart_job_on_worker_restart: bool | None = None
    disable_retries: bool | None = None

    def request(self) -> dict[str, Any]:
        """The Scheduling of a request."""
        body = self.properties()
        for given, field in (("timeoutSeconds", "timeout"), ("maxWaitSeconds", "maxWaitDuration")):
            if given in body:
                body[field] = f"{body.pop(given)}s"
        return body


class JobSpec(Spec):
    """What a custom job runs."""

    worker_pool_specs: Annotated[list[WorkerPool], Field(min_length=1)]
    service_account: Account | None = None
    scheduling: Scheduling | None = None
    base_output_directory: Folder | None = None
    network: Text | None = None
    tensorboard: Text | None = None
    enable_web_access: bool | None = None
    persistent_resource_id: Text | None = None

    @model_validator(mode="after")
    def _one_chief(self) -> JobSpec:
        if self.worker_pool_specs[0].replica_count != 1:
            # Pool 0 is the chief: https://cloud.google.com/vertex-ai/docs/training/distributed-training
            raise refuse("workerPoolSpecs", "the first pool has one machine; put the others into the second")
        return self

    def request(self) -> dict[str, Any]:
        """The CustomJobSpec of a request."""
        body = self.properties()
        body["workerPoolSpecs"] = [pool.request() for pool in self.worker_pool_specs]
        if self.scheduling:
            body["scheduling"] = self.scheduling.request()
        if self.base_output_directory:
            body["baseOutputDirectory"] = {"outputUriPrefix": self.base_output_directory}
        return body

    @staticmethod
    def shown(body: dict[str, Any]) -> Properties:
        """The inputs that a CustomJobSpec was made of, as an import needs them."""
        known = {field.alias or name for name, field in JobSpec.model_fields.items()}
        found: Properties = {name: value for name, value in body.items() if name in known}
        found["workerPoolSpecs"] = [_pool(pool) for pool in body.get("workerPoolSpecs", [])]
        if "baseOutputDirectory" in found:
            found["baseOutputDirectory"] = found["baseOutputDirectory"].get("outputUriPrefix", "")
        if "scheduling" in found:
            found["scheduling"] = _scheduling(found["scheduling"])
        return found


class CustomJobInputs(RunInputs):
    """Validated, known inputs of a CustomJob."""

    job_spec: JobSpec
    wait: bool = True

    @property
    def content(self) -> str:
        """Digest of what is run, and for whom: another one is another job."""
        return digest([self.display_name, self.job_spec.properties(), self.labels])


def _pool(body: dict[str, Any]) -> Properties:
    container = dict(body.get("containerSpec", {}))
    if "env" in container:
        container["env"] = {each["name"]: each.get("value", "") for each in container["env"]}
    count = {"replicaCount": int(body.get("replicaCount", 1))}
    kept: Properties = {name: body[name] for name in ("machineSpec", "diskSpec") if name in body}
    return {**kept, **count, "containerSpec": container}


def _scheduling(body: dict[str, Any]) -> Properties:
    durations = {"timeout": "timeoutSeconds", "maxWaitDuration": "maxWaitSeconds"}
    return {
        durations.get(name, name): int(float(value.removesuffix("s"))) if name in durations else value
        for name, value in body.items()
    }
