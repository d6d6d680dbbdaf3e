"""The shape of a stack's configuration: frozen models, camelCase keys, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stacks.config_errors import refuse
from stacks.config_gke import ClusterConfig, GkeTpuDeployment
from stacks.config_shared import Digest, Image, Limits, Member, Memory, Model, Weights
from stacks.config_vertex import VertexDeployment
from stacks.plan.hardware import TOPOLOGIES
from stacks.plan.spec import Commit, ComputingDtype, Count, Strict

Accelerator = Literal["nvidia-l4", "nvidia-rtx-pro-6000"]
Ingress = Literal["all", "internal", "internal-and-load-balancer"]


class Scaling(Strict):
    """How many instances, and how many requests each takes at once."""

    min: Annotated[int, Field(ge=0)] | None = None
    """Instances kept while nobody asks; left out, the environment says how many."""
    max: Count = 3
    """Most instances at once."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests that one instance takes at once; what it cannot answer yet waits in its queue."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.min > self.max:
            refuse(
                f"is above max ({self.max})",
                f"set min to at most {self.max}, or max to at least {self.min}",
                key="min",
            )
        return self


class Resources(Strict):
    """A machine chosen by hand; what is left out is computed."""

    cpu: Count | None = None
    """CPUs of an instance."""
    memory: Memory | None = None
    """Memory of an instance, in Mi or Gi: 512Mi, 4Gi."""
    gpu: Accelerator | None = None
    """GPU of an instance; none where it is left out."""


class Access(Strict):
    """Who may reach a service; nobody unless named."""

    ingress: Ingress = "all"
    """Where requests may come from."""
    invokers: Annotated[tuple[Member, ...], Field(strict=False)] = ()
    """Who may call the service: user:, group:, serviceAccount: or domain:, or allUsers for a public one."""


class CloudRunDeployment(Strict):
    """One deployment on the `cloud-run` topology."""

    topology: Literal["cloud-run"]
    """What it runs on."""
    model: Model
    """A name of the catalog (`llmstack models`), or a whole description with the fields of an entry."""
    revision: Commit | None = None
    """Commit of the model's repository, where it is not the catalog's."""
    engine: str | None = None
    """Software that runs the model; the plan chooses one where it is left out."""
    dtype: ComputingDtype | None = None
    """Element type of computing; the plan chooses one where it is left out. int8 needs engine ctranslate2."""
    scaling: Scaling = Scaling()
    """How many instances there are, and how many requests each takes at once."""
    resources: Resources = Resources()
    """The machine of an instance, chosen by hand; what is left out is computed."""
    access: Access = Access()
    """Who may reach the service; nobody unless named."""
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    """Longest that a request may take, in seconds."""
    limits: Limits = Limits()
    """What a request may ask for, and how many may wait; what is left out is computed."""
    weights: Weights = Weights()
    """How the model's weights come into the bucket; what is left out is decided."""


Deployment = CloudRunDeployment | VertexDeployment | GkeTpuDeployment
"""Every kind of deployment; the key `topology` says which."""

DEPLOYMENTS: Mapping[str, type[Deployment]] = {
    "cloud-run": CloudRunDeployment,
    "vertex": VertexDeployment,
    "gke-tpu": GkeTpuDeployment,
}
"""Model of a deployment by topology."""

PLANNED_TOPOLOGIES = tuple(topology for topology in TOPOLOGIES if topology not in DEPLOYMENTS)
"""Topologies that have a name and no builder in this version."""


class ModelReference(BaseModel):
    """What any deployment says of its model, whatever else it holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: Model
    revision: Commit | None = None


class ImageSource(Strict):
    """An image given by digest, or the base image to build it on."""

    digest: Digest | None = None
    """Digest of an image that is in the stack's repository already: sha256: and 64 hex digits."""
    base: Image | None = None
    """Image to build on, with a tag or a digest."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.digest is None) == (self.base is None):
            refuse(
                "needs one of digest and base",
                "give digest to deploy an image that exists, or base to build on another base image",
            )
        return self


_USUAL_CLUSTER = ClusterConfig()


@dataclass(frozen=True, slots=True)
class StackConfig:
    """A stack's configuration, checked. Holds no secret value.

    `hub_token` is true where `llm:hubToken` holds a token; its value is read by the component alone.
    """

    stack: str
    stack_file: str
    project: str
    region: str
    zone: str | None
    environment: str
    deployments: Mapping[str, Deployment]
    hub_token: bool
    hub_token_secret: str | None
    images: Mapping[str, ImageSource]
    labels: Mapping[str, str]
    cluster: ClusterConfig = _USUAL_CLUSTER
    """The cluster that the deployments on topology `gke-tpu` share."""
    unsized: frozenset[str] = frozenset()
    """Deployments whose machine cannot be judged, since what decides it is wrong itself."""
