"""The shape of a deployment on topology `vertex`: a model of Vertex AI behind an endpoint."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from stacks.config_errors import refuse
from stacks.config_shared import Limits, Model, NamedMember, Weights
from stacks.plan.naming import PROJECT_ID
from stacks.plan.spec import Commit, ComputingDtype, Count, Strict, shaped

VertexAccelerator = Literal[
    "nvidia-l4",
    "nvidia-tesla-t4",
    "nvidia-tesla-v100",
    "nvidia-tesla-a100",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h100-mega-80gb",
    "nvidia-h200-141gb",
    "nvidia-rtx-pro-6000",
]
"""GPUs by their names in Compute Engine, as on every topology."""

EndpointKind = Literal["public", "dedicated", "private-service-connect"]
ScalingMetric = Literal["cpu-utilization", "accelerator-duty-cycle"]
Percent = Annotated[int, Field(ge=1, le=100)]

_OWN_ROLE = r"(?:projects|organizations)/[a-z0-9-]+/roles/[A-Za-z0-9_.]{3,64}"
_MACHINE = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+"
_MOST_STEPS = 10


def _project(value: str) -> str:
    if not re.fullmatch(PROJECT_ID, value):
        refuse("is not a project ID", "write the ID of the project that connects, for instance acme-apps")
    return value


def _own_role(value: str) -> str:
    if not re.fullmatch(_OWN_ROLE, value):
        refuse(
            "is no role of a project or an organization",
            "write projects/PROJECT/roles/NAME of a role with aiplatform.endpoints.predict, or leave it out",
        )
    return value


def _machine(value: str) -> str:
    if not re.fullmatch(_MACHINE, value):
        refuse("is not a machine type", "write one, for instance n1-standard-8 or g2-standard-12")
    return value


Project = Annotated[str, AfterValidator(_project), shaped(PROJECT_ID.pattern)]
OwnRole = Annotated[str, AfterValidator(_own_role), shaped(_OWN_ROLE)]
MachineType = Annotated[str, AfterValidator(_machine), shaped(_MACHINE)]


class VertexMachine(Strict):
    """The machine of one replica; what is left out is chosen as the smallest that holds the model."""

    type: MachineType | None = None
    """Machine type: n1-standard-8, g2-standard-12."""
    accelerator: VertexAccelerator | None = None
    """GPU; none where it is left out, unless the machine type always has one."""
    count: Count | None = None
    """GPUs of a replica; all that the machine type always has, else one."""
    spot: bool = False
    """Cheaper machines that Google takes back when it needs them."""

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.count is not None and self.accelerator is None and self.type is None:
            refuse(
                "counts GPUs, and there are none",
                "write accelerator or a machine type with GPUs beside it, or leave it out",
                key="count",
            )
        return self


class VertexScaling(Strict):
    """How many replicas there are; Vertex AI keeps at least one, also while nobody asks."""

    min: Count | None = None
    """Replicas kept while nobody asks; one, or what the environment says, where it is left out."""
    max: Count | None = None
    """Most replicas; min where it is left out."""
    metric: ScalingMetric | None = None
    """What decides between min and max; without it the busier of CPU and GPU."""
    target: Percent | None = None
    """Percent of the metric above which a replica is added; Vertex AI's 60 where it is left out."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            refuse(
                f"is above max ({self.max})",
                f"set min to at most {self.max}, or max to at least {self.min}",
                key="min",
            )
        if self.target is not None and self.metric is None:
            refuse(
                "is a target of no metric",
                "write metric: cpu-utilization beside it, or leave it out",
                key="target",
            )
        return self


class VertexEndpoint(Strict):
    """How the deployment is reached."""

    kind: EndpointKind = "dedicated"
    """A name of its own (dedicated), the region's shared one (public), or a service attachment of the
    network (private-service-connect). Another kind makes another endpoint with another address."""
    projects: Annotated[tuple[Project, ...], Field(strict=False)] = ()
    """Projects that may connect; for kind private-service-connect, the stack's own where it is left out."""

    @model_validator(mode="after")
    def _for_private(self) -> Self:
        if self.projects and self.kind != "private-service-connect":
            refuse(
                "is for kind: private-service-connect",
                "write kind: private-service-connect, or leave it out",
                key="projects",
            )
        return self


class VertexTraffic(Strict):
    """How requests move from what served before to what serves now."""

    steps: Annotated[tuple[Percent, ...], Field(strict=False, min_length=1, max_length=_MOST_STEPS)] = (100,)
    """Percents that the new model gets, one after the other: [10, 50, 100]. The last is 100."""
    step_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """Seconds between two steps."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(after <= before for before, after in pairwise(self.steps)) or self.steps[-1] != 100:
            refuse(
                "does not rise to 100", "write rising percents that end in 100: [10, 50, 100]", key="steps"
            )
        return self


class VertexAccess(Strict):
    """Who may ask; nobody unless named."""

    invokers: Annotated[tuple[NamedMember, ...], Field(strict=False)] = ()
    """Who may ask the endpoint: user:, group:, serviceAccount: or domain:."""
    role: OwnRole | None = None
    """Their role on the endpoint, one of your own that holds aiplatform.endpoints.predict. Where it is left
    out, roles/aiplatform.user, whose holders may deploy to the endpoint and undeploy from it, too."""


class VertexDeployment(Strict):
    """One deployment on the `vertex` topology."""

    topology: Literal["vertex"]
    """What it runs on."""
    model: Model
    """A name of the catalog (`llmstack models`), or a whole description with the fields of an entry."""
    revision: Commit | None = None
    """Commit of the model's repository, where it is not the catalog's."""
    engine: str | None = None
    """Software that runs the model, and with it the container: transformers, ctranslate2 and vllm in the
    serving image, or torchserve. The plan chooses one where it is left out."""
    dtype: ComputingDtype | None = None
    """Element type of computing; the plan chooses one where it is left out. int8 needs engine ctranslate2."""
    machine: VertexMachine = VertexMachine()
    """The machine of one replica."""
    scaling: VertexScaling = VertexScaling()
    """How many replicas there are."""
    endpoint: VertexEndpoint = VertexEndpoint()
    """How the deployment is reached."""
    traffic: VertexTraffic = VertexTraffic()
    """How requests move to another model."""
    access: VertexAccess = VertexAccess()
    """Who may ask; nobody unless named."""
    limits: Limits = Limits()
    """What a request may ask for, and how many may wait; what is left out is computed."""
    weights: Weights = Weights()
    """How the model's weights come into the bucket; what is left out is decided."""
    metadata_store: bool = False
    """Whether the stack has the region's metadata store, where pipelines and experiments write."""
