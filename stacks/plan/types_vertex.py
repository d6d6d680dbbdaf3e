"""What a plan decides about a deployment on topology `vertex`, as plain frozen data.

Sizes are bytes and times are seconds, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from stacks.plan.types import AccountPlan, ProbePlan, Sizing
from stacks.plan.types_weights import StagedModelPlan, WeightsJobPlan


@dataclass(frozen=True, slots=True)
class VertexContainerPlan:
    """The container that serves, as Vertex AI's model registry keeps it."""

    image: str
    """Name of an image of this stack."""
    port: int
    env: Mapping[str, str]
    health_route: str
    predict_route: str
    startup_probe: ProbePlan
    deployment_seconds: int
    """How long a deployment may take before Vertex AI gives it up."""


@dataclass(frozen=True, slots=True)
class VertexModelPlan:
    """A model in the registry; another content is another version of it."""

    model_id: str
    display_name: str
    description: str
    version_aliases: tuple[str, ...]
    container: VertexContainerPlan
    artifact_uri: str
    """The staged model, which Vertex AI hands to the container as `AIP_STORAGE_URI`."""
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VertexEndpointPlan:
    """Where requests go."""

    endpoint_id: str
    """Up to ten digits."""
    display_name: str
    kind: Literal["public", "dedicated", "private-service-connect"]
    projects: tuple[str, ...]
    """Projects that may connect; for `private-service-connect` alone."""
    request_seconds: int
    """After this time Vertex AI cuts a request off."""
    body_bytes: int
    """Largest body of a request."""
    deletion_policy: str
    """The provider's constant: `DELETE`, or `PREVENT` where the address is to last."""


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """What one replica runs on."""

    machine_type: str
    accelerator: str | None
    """The GPU's name in Compute Engine."""
    accelerator_type: str | None
    """Its name in Vertex AI."""
    accelerator_count: int
    spot: bool


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """What a deployment takes of one quota of the project in its region."""

    what: str
    """For a person: `CPUs`, `nvidia-l4`, `spot CPUs`."""
    quota: str | None
    """The quota's id at aiplatform.googleapis.com; None where it is not known."""
    steady: int
    """As long as one model serves."""
    peak: int
    """While the old model and the new one are both there."""


@dataclass(frozen=True, slots=True)
class IdleCostPlan:
    """What the least number of replicas costs while nobody asks, by list prices in us-central1."""

    hourly_usd: float
    arithmetic: str
    confirmed: bool


@dataclass(frozen=True, slots=True)
class MetadataStorePlan:
    """The metadata store of a project's region, which pipelines and experiments write to."""

    name: str
    region: str
    description: str
    keep: bool
    """Whether it stays when the stack goes."""


@dataclass(frozen=True, slots=True)
class VertexPlan:
    """One deployment on the `vertex` topology."""

    deployment: str
    model: str
    topology: str
    engine: str
    """Software that runs the model, for instance `transformers` or `torchserve`."""
    dtype: str
    """Element type of computing; the staged weights may have another."""
    location: str
    account: AccountPlan
    registered: VertexModelPlan
    endpoint: VertexEndpointPlan
    replica: ReplicaPlan
    min_replicas: int
    max_replicas: int
    metrics: Mapping[str, int]
    """Target in percent by full name of the metric; empty for Vertex AI's own choice."""
    traffic_steps: tuple[int, ...]
    """Percents that a new model gets, one after the other."""
    step_seconds: int
    create_seconds: int
    """How long the engine waits for a first deployment."""
    update_seconds: int
    """The same for one that takes over from another, step by step."""
    delete_seconds: int
    """How long it waits until a deployment is gone."""
    invokers: tuple[str, ...]
    invoker_role: str
    """What they have, on the endpoint alone."""
    quotas: tuple[QuotaPlan, ...]
    idle_cost: IdleCostPlan | None
    """None where no price is known."""
    labels: Mapping[str, str]
    deletion_protection: bool
    weights: WeightsJobPlan
    staged: StagedModelPlan
    sizing: Sizing
    metadata_store: bool
    """Whether it wants the stack to have a metadata store."""

    @property
    def image_names(self) -> tuple[str, ...]:
        """Images of this stack that it runs."""
        return self.registered.container.image, self.weights.image

    @property
    def accounts(self) -> tuple[AccountPlan, ...]:
        """Google service accounts that it owns."""
        job = self.weights.account
        return (self.account,) if job is None else (self.account, job)

    def names(self) -> Iterator[tuple[str, str]]:
        """Physical names that no other deployment may have, each with its kind."""
        yield "endpoint", self.endpoint.endpoint_id
        yield "model", self.registered.model_id
        yield "job", self.weights.job_name
        for account in self.accounts:
            yield "service account", account.account_id
