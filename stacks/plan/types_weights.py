"""What a plan decides about weights: where they are staged, and the job that stages them.

Sizes are bytes and times are seconds, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.plan.types import AccountPlan, Sizing


@dataclass(frozen=True, slots=True)
class StagedModelPlan:
    """Where one model, at one revision, in one format, lies in the bucket."""

    repository: str
    revision: str
    format: str
    dtype: str
    bucket: str
    prefix: str
    """Object prefix without leading slash, with trailing slash."""
    uri: str
    """`gs://BUCKET/PREFIX` without trailing slash."""
    retain: bool
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class VertexMachinePlan:
    """The machine of a Vertex AI custom job."""

    machine_type: str
    boot_disk_gb: int
    boot_disk_type: str


@dataclass(frozen=True, slots=True)
class KubernetesJobPlan:
    """Where in a cluster a weights job runs, and as whom."""

    namespace: str
    service_account: str
    """Kubernetes service account of its pods."""
    node_selector: Mapping[str, str]
    """Labels of the nodes that it may run on: none with TPUs."""


@dataclass(frozen=True, slots=True)
class WeightsJobPlan:
    """The job that stages a model."""

    runner: str
    """Where it runs: `cloud-run`, `vertex` or `kubernetes`."""
    job_name: str
    vertex: VertexMachinePlan | None
    """Only for `vertex`; its CPUs and memory are in `cpu` and `memory` too."""
    kubernetes: KubernetesJobPlan | None
    """Only for `kubernetes`."""
    account: AccountPlan | None
    """Google service account that it runs as; None where pods are granted roles themselves."""
    image: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    hub_token: bool
    source: str | None
    """`gs://BUCKET/PREFIX` of the checkpoint that it reads; None for the Hub's."""
    source_bucket: str | None
    """That bucket, where it is not the stack's own: the job has to be allowed to read it."""
    cpu: str
    memory: str
    task_timeout_seconds: int
    max_retries: int
    labels: Mapping[str, str]
    execution_labels: Mapping[str, str]
    """Labels of each execution; `llm-target` identifies what it stages."""
    sizing: Sizing
