"""What a deployment's objects are made from: everything that has been decided by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.plan.gke.manifests import labels, selector
from stacks.plan.types import ImagePlan
from stacks.plan.types_converter import ConverterPlan
from stacks.plan.types_gke import DiskPlan, IdentityPlan, TpuPoolPlan, TpuServerPlan
from stacks.plan.types_weights import StagedModelPlan

if TYPE_CHECKING:
    from stacks.config_gke import GkeTpuDeployment


@dataclass(frozen=True, slots=True)
class Workload:
    """A deployment's decisions, before they are objects."""

    deployment: str
    config: GkeTpuDeployment
    engine: str
    project: str
    namespace: str
    service_name: str
    google_labels: Mapping[str, str]
    pool: TpuPoolPlan
    server: TpuServerPlan
    staged: StagedModelPlan
    weights_bytes: int
    server_identity: IdentityPlan
    weights_identity: IdentityPlan | None
    disk: DiskPlan | None
    converter: ConverterPlan | None
    weights_image: ImagePlan
    cpu_nodes: Mapping[str, str]
    """Labels of the nodes without TPUs."""
    ready_seconds: int

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every object."""
        return labels(self.google_labels)

    @property
    def selector(self) -> dict[str, str]:
        """Labels by which everything finds the server's pods."""
        return selector(self.deployment)
