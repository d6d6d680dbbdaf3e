"""`VertexCustomJob` and `VertexPipelineRun`: what Vertex AI runs once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from stacks.modelops.wire import VertexResource

_OUTPUTS = ("name", "state", "logsUri")


@dataclass(frozen=True, kw_only=True)
class MachineSpecArgs:
    """One machine of a pool."""

    machine_type: pulumi.Input[str]
    accelerator_type: pulumi.Input[str] | None = None
    accelerator_count: pulumi.Input[int] | None = None
    tpu_topology: pulumi.Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class DiskSpecArgs:
    """A boot disk: `pd-ssd`, `pd-standard` or `hyperdisk-balanced`, and its size in GB."""

    boot_disk_type: pulumi.Input[str] | None = None
    boot_disk_size_gb: pulumi.Input[int] | None = None


@dataclass(frozen=True, kw_only=True)
class JobContainerSpecArgs:
    """What each machine of a pool runs; at most 100 variables."""

    image_uri: pulumi.Input[str]
    command: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None
    args: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None
    env: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerPoolSpecArgs:
    """Machines that are alike. The first pool is the chief: one machine."""

    machine_spec: MachineSpecArgs
    container_spec: JobContainerSpecArgs
    replica_count: pulumi.Input[int] | None = None
    disk_spec: DiskSpecArgs | None = None


@dataclass(frozen=True, kw_only=True)
class SchedulingArgs:
    """How long a job may take and wait for machines, in seconds; strategy STANDARD, SPOT or FLEX_START."""

    timeout_seconds: pulumi.Input[int] | None = None
    max_wait_seconds: pulumi.Input[int] | None = None
    strategy: pulumi.Input[str] | None = None
    restart_job_on_worker_restart: pulumi.Input[bool] | None = None
    disable_retries: pulumi.Input[bool] | None = None


@dataclass(frozen=True, kw_only=True)
class JobSpecArgs:
    """What a custom job runs.

    Args:
        worker_pool_specs: its machines.
        service_account: who its containers are.
        scheduling: limits of its time.
        base_output_directory: `gs://BUCKET/PREFIX`, below which AIP_MODEL_DIR and its like lie.
        network: full name of a network that it is peered with.
        tensorboard: full name of a TensorBoard.
        enable_web_access: whether a person may open a shell in it.
        persistent_resource_id: machines that are kept, on which it runs.
    """

    worker_pool_specs: Sequence[WorkerPoolSpecArgs]
    service_account: pulumi.Input[str] | None = None
    scheduling: SchedulingArgs | None = None
    base_output_directory: pulumi.Input[str] | None = None
    network: pulumi.Input[str] | None = None
    tensorboard: pulumi.Input[str] | None = None
    enable_web_access: pulumi.Input[bool] | None = None
    persistent_resource_id: pulumi.Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class VertexCustomJobArgs:
    """Inputs of a `VertexCustomJob`.

    Args:
        project: the project's id.
        location: the region.
        display_name: what the console shows.
        job_spec: what it runs, or a mapping with the names on the wire (`workerPoolSpecs`).
        labels: labels of the job.
        wait: whether the deployment waits until it has ended; it does by default.
    """

    project: pulumi.Input[str]
    location: pulumi.Input[str]
    display_name: pulumi.Input[str]
    job_spec: JobSpecArgs | Mapping[str, Any]
    labels: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    wait: pulumi.Input[bool] | None = None


@dataclass(frozen=True, kw_only=True)
class VertexPipelineRunArgs:
    """Inputs of a `VertexPipelineRun`.

    Args:
        project: the project's id.
        location: the region.
        run_id: id of the run, by which an interrupted deployment finds it again.
        display_name: what the console shows.
        template: the compiled pipeline as a mapping, or its address: `https://...` in a registry, `gs://...`.
        pipeline_root: `gs://BUCKET/PREFIX`, below which outputs lie.
        parameters: values of the pipeline's parameters.
        service_account: who its steps are.
        labels: labels of the run.
        wait: whether the deployment waits until it has ended; it does not by default.
    """

    project: pulumi.Input[str]
    location: pulumi.Input[str]
    run_id: pulumi.Input[str]
    display_name: pulumi.Input[str]
    template: pulumi.Input[Mapping[str, Any] | str]
    pipeline_root: pulumi.Input[str]
    parameters: pulumi.Input[Mapping[str, Any]] | None = None
    service_account: pulumi.Input[str] | None = None
    labels: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    wait: pulumi.Input[bool] | None = None


class _Run(VertexResource):
    @property
    def name(self) -> pulumi.Output[str]:
        """Full name of the run."""
        return self._output("name")

    @property
    def state(self) -> pulumi.Output[str]:
        """How it stood last: `SUCCEEDED`, `RUNNING` and so on; a refresh looks again."""
        return self._output("state")

    @property
    def logs_uri(self) -> pulumi.Output[str]:
        """Where a person reads its log."""
        return self._output("logsUri")


class VertexCustomJob(_Run):
    """Containers that run to completion. Another input is another job; the one before is deleted first.

    Args:
        resource_name: the resource's logical name.
        args: the inputs.
        opts: resource options; custom timeouts bound the wait, a week by default. An interrupted deployment
            cancels the job.
    """

    def __init__(
        self, resource_name: str, args: VertexCustomJobArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("CustomJob", resource_name, args, _OUTPUTS, _deleted_first(opts))


class VertexPipelineRun(_Run):
    """One run of a compiled pipeline. Another input is another run; the one before is deleted first.

    Args:
        resource_name: the resource's logical name.
        args: the inputs.
        opts: resource options; custom timeouts bound the wait, where there is one.
    """

    def __init__(
        self, resource_name: str, args: VertexPipelineRunArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("PipelineRun", resource_name, args, _OUTPUTS, _deleted_first(opts))


def _deleted_first(opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    """The options, with which also `pulumi up --replace` does not take the old run for the new one."""
    return pulumi.ResourceOptions.merge(pulumi.ResourceOptions(delete_before_replace=True), opts)
