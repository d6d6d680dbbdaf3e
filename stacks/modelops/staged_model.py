"""`StagedModel`: a model's files in a bucket, staged by a job where they are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pulumi


@pulumi.input_type
class _Inputs:
    """Names on the wire; the SDK reads them from here."""

    job: pulumi.Input[str]
    target: pulumi.Input[str]
    repository: pulumi.Input[str]
    revision: pulumi.Input[str]
    format: pulumi.Input[str]
    dtype: pulumi.Input[str]
    target_label: pulumi.Input[str] = pulumi.property("targetLabel")
    retain: pulumi.Input[bool] | None = None
    definition: pulumi.Input[Mapping[str, Any]] | None = None


class StagedModel(pulumi.CustomResource):
    """A model's files and manifest in a bucket.

    Creating it finds the files or runs the job that stages them, waits, and verifies the manifest; `refresh`
    verifies it again. A change of what is staged stages that in place and leaves what was staged before.
    Anything that reads the files depends on this resource; no output of an execution has to enter it.

    Args:
        resource_name: the resource's logical name.
        job: full name of the job that stages the model: of a Cloud Run job, `projects/P/locations/L/jobs/J`,
            `projects/P/locations/L/customJobs/NAME` for custom jobs of Vertex AI that show that name, or
            `CLUSTER/k8s/namespaces/NAMESPACE/jobs/JOB` for a Job in a Kubernetes cluster.
            Another job of the same platform replaces the resource; another platform changes it in place.
        target: where the files lie, `gs://BUCKET/PREFIX` without a trailing slash.
        repository: the model's Hub repository.
        revision: the repository's commit, 40 hex digits.
        format: how the weights are written, for instance `safetensors`.
        dtype: element type of the weights, for instance `bfloat16`.
        target_label: value of the label `llm-target` that the job's executions for this target carry.
        definition: what the job runs, where its platform keeps no definition: image, args, env,
            serviceAccount, timeoutSeconds, labels; for Vertex AI also machineType, bootDiskGb, bootDiskType;
            for Kubernetes also cluster, nodeSelector, cpu, memory, maxRetries. No secret.
        retain: whether the files stay in the bucket when the resource is deleted; they do by default.
        opts: resource options; custom timeouts for create and update bound the wait, two hours by default.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        job: pulumi.Input[str],
        target: pulumi.Input[str],
        repository: pulumi.Input[str],
        revision: pulumi.Input[str],
        format: pulumi.Input[str],
        dtype: pulumi.Input[str],
        target_label: pulumi.Input[str],
        definition: pulumi.Input[Mapping[str, Any]] | None = None,
        retain: pulumi.Input[bool] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = _Inputs.__new__(_Inputs)
        inputs.__dict__.update(
            job=job,
            target=target,
            repository=repository,
            revision=revision,
            format=format,
            dtype=dtype,
            target_label=target_label,
            retain=retain,
            definition=definition,
            # Outputs: named so that the SDK makes a promise of each.
            files=None,
            total_bytes=None,
            manifest_sha256=None,
            tool_version=None,
        )
        super().__init__("modelops:index:StagedModel", resource_name, cast("pulumi.Inputs", inputs), opts)

    @property
    @pulumi.getter
    def job(self) -> pulumi.Output[str]:
        """Full name of the job that stages the model."""
        return cast("pulumi.Output[str]", pulumi.get(self, "job"))

    @property
    @pulumi.getter
    def target(self) -> pulumi.Output[str]:
        """Where the files lie, `gs://BUCKET/PREFIX`."""
        return cast("pulumi.Output[str]", pulumi.get(self, "target"))

    @property
    @pulumi.getter
    def repository(self) -> pulumi.Output[str]:
        """The model's Hub repository."""
        return cast("pulumi.Output[str]", pulumi.get(self, "repository"))

    @property
    @pulumi.getter
    def revision(self) -> pulumi.Output[str]:
        """The repository's commit."""
        return cast("pulumi.Output[str]", pulumi.get(self, "revision"))

    @property
    @pulumi.getter
    def format(self) -> pulumi.Output[str]:
        """How the weights are written."""
        return cast("pulumi.Output[str]", pulumi.get(self, "format"))

    @property
    @pulumi.getter
    def dtype(self) -> pulumi.Output[str]:
        """Element type of the weights."""
        return cast("pulumi.Output[str]", pulumi.get(self, "dtype"))

    @property
    @pulumi.getter(name="targetLabel")
    def target_label(self) -> pulumi.Output[str]:
        """Value of the label `llm-target` of the job's executions for this target."""
        return cast("pulumi.Output[str]", pulumi.get(self, "target_label"))

    @property
    @pulumi.getter
    def retain(self) -> pulumi.Output[bool]:
        """Whether the files stay when the resource is deleted."""
        return cast("pulumi.Output[bool]", pulumi.get(self, "retain"))

    @property
    @pulumi.getter
    def files(self) -> pulumi.Output[int]:
        """Number of files that the manifest lists; 0 when they were found missing or damaged."""
        return cast("pulumi.Output[int]", pulumi.get(self, "files"))

    @property
    @pulumi.getter(name="totalBytes")
    def total_bytes(self) -> pulumi.Output[int]:
        """Their size, in bytes."""
        return cast("pulumi.Output[int]", pulumi.get(self, "total_bytes"))

    @property
    @pulumi.getter(name="manifestSha256")
    def manifest_sha256(self) -> pulumi.Output[str]:
        """SHA-256 of the manifest, in hex; empty when it was found missing or damaged."""
        return cast("pulumi.Output[str]", pulumi.get(self, "manifest_sha256"))

    @property
    @pulumi.getter(name="toolVersion")
    def tool_version(self) -> pulumi.Output[str]:
        """Name and version of what staged the files."""
        return cast("pulumi.Output[str]", pulumi.get(self, "tool_version"))
