"""What a plan decides, as plain frozen data.

A plan is everything that can be decided before the engine runs. Components read it and add nothing;
the command line prints it; tests compare it. Sizes are bytes and times are seconds, unless a name says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from stacks.plan.types_weights import StagedModelPlan, WeightsJobPlan

if TYPE_CHECKING:
    from stacks.plan.types_gke import ClusterPlan, GkeTpuPlan
    from stacks.plan.types_vertex import MetadataStorePlan, VertexPlan


@dataclass(frozen=True, slots=True)
class Profile:
    """What an environment (`llm:environment`) stands for."""

    name: str
    deletion_protection: bool
    keep_weights: bool
    """Whether removing a deployment leaves its staged objects in the bucket."""
    force_destroy_bucket: bool
    """Whether `destroy` may delete a bucket that still holds objects."""
    min_instances: int
    """Least number of instances a serving deployment keeps when the configuration does not say."""
    soft_delete_seconds: int
    """How long the bucket keeps deleted objects; zero switches that off."""


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """A service account: one per deployment and role."""

    account_id: str
    email: str
    display_name: str


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """An Artifact Registry repository for the images of one stack."""

    repository_id: str
    location: str
    url: str
    keep_recent: int
    """Newest versions of each image that clean-up keeps."""
    delete_untagged_after_seconds: int


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """The bucket that holds every staged model of a stack."""

    name: str
    location: str
    force_destroy: bool
    abort_uploads_after_days: int
    soft_delete_seconds: int


@dataclass(frozen=True, slots=True)
class HubTokenPlan:
    """Where jobs read the Hub token: a secret of this stack, or one that exists already."""

    secret_id: str
    """Short name in this project, or the full `projects/P/secrets/S` of one that exists."""
    create: bool
    """True: the value comes from `llm:hubToken` and the stack owns the secret."""


@dataclass(frozen=True, slots=True)
class FoundationPlan:
    """What all deployments of a stack share."""

    project: str
    region: str
    apis: tuple[str, ...]
    """Full service names, for instance `run.googleapis.com`, sorted."""
    repository: RepositoryPlan
    bucket: BucketPlan
    hub_token: HubTokenPlan | None
    labels: Mapping[str, str]
    deletion_protection: bool


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One container image: built from its folder, or given by digest."""

    name: str
    context: str
    """Folder below the project's root, for instance `images/serve`."""
    url: str
    """Address without tag or digest."""
    tag: str
    platform: str
    build_args: Mapping[str, str]
    digest: str | None
    """`sha256:…` when the configuration gives the image and nothing is built."""


@dataclass(frozen=True, slots=True)
class SizingLine:
    """One term of a sizing sum, with the arithmetic that gave it."""

    what: str
    bytes: int
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Sizing:
    """Why a machine was chosen: the terms, their sum, what the machine has."""

    lines: tuple[SizingLine, ...]
    need_bytes: int
    have_bytes: int
    machine: str


@dataclass(frozen=True, slots=True)
class FitRow:
    """Whether one model fits one kind of machine of one topology, and the sum that says so."""

    topology: str
    purpose: str
    """`serving`, `staging`, `streaming` or `training`."""
    engine: str
    dtype: str
    fits: bool
    machine: str
    """The smallest that fits, else the one that comes nearest."""
    per: str
    """What need and have are for: an instance, a worker, one GPU, one chip."""
    need_bytes: int
    have_bytes: int
    margin_bytes: int
    """What is left over; negative where it is too little."""
    lines: tuple[SizingLine, ...]
    reason: str
    """Why it does not fit; empty when it does."""
    remedy: str
    """What would work, the smallest change first; empty when it fits."""
    notes: tuple[str, ...]
    deployable: bool
    """Whether this version builds the topology."""
    advice: tuple[str, ...] = ()
    """What everybody should know who chooses by this row."""


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """An HTTP probe, or one by a command."""

    path: str
    port: int
    initial_delay_seconds: int
    period_seconds: int
    timeout_seconds: int
    failure_threshold: int
    command: tuple[str, ...] = ()
    """Run in the container in place of the request."""


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """A Cloud Run GPU."""

    accelerator: str
    count: int
    zonal_redundancy: bool


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A read-only bucket mount."""

    name: str
    bucket: str
    mount_path: str
    mount_options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CloudRunPlan:
    """One deployment on the `cloud-run` topology."""

    deployment: str
    model: str
    topology: str
    engine: str
    """Software that runs the model, for instance `transformers`."""
    dtype: str
    """Element type of computing; the staged weights may have another."""
    location: str
    service_name: str
    account: AccountPlan
    image: str
    port: int
    env: Mapping[str, str]
    volume: VolumePlan
    cpu: str
    memory: str
    gpu: GpuPlan | None
    concurrency: int
    timeout_seconds: int
    min_instances: int
    max_instances: int
    startup_cpu_boost: bool
    cpu_idle: bool
    """True bills requests only; False keeps the CPU allocated (a GPU needs it)."""
    ingress: str
    """The provider's constant, for instance `INGRESS_TRAFFIC_ALL`."""
    invokers: tuple[str, ...]
    startup_probe: ProbePlan
    liveness_probe: ProbePlan
    labels: Mapping[str, str]
    deletion_protection: bool
    weights: WeightsJobPlan
    staged: StagedModelPlan
    sizing: Sizing

    @property
    def image_names(self) -> tuple[str, ...]:
        """Images of this stack that it runs."""
        return self.image, self.weights.image

    @property
    def accounts(self) -> tuple[AccountPlan, ...]:
        """Google service accounts that it owns."""
        job = self.weights.account
        return (self.account,) if job is None else (self.account, job)

    def names(self) -> Iterator[tuple[str, str]]:
        """Physical names that no other deployment may have, each with its kind."""
        yield "service", self.service_name
        yield "job", self.weights.job_name
        for account in self.accounts:
            yield "service account", account.account_id


DeploymentPlan: TypeAlias = "CloudRunPlan | VertexPlan | GkeTpuPlan"
"""A deployment on any topology: all have model, engine, location, weights, staged and sizing."""


@dataclass(frozen=True, slots=True)
class StackPlan:
    """A whole stack."""

    stack: str
    profile: Profile
    foundation: FoundationPlan
    images: Mapping[str, ImagePlan]
    """By name; only those that some deployment needs."""
    deployments: Mapping[str, DeploymentPlan]
    """By logical name, sorted."""
    cluster: ClusterPlan | None = None
    """What the deployments on topology `gke-tpu` share; None where there is none of them."""
    metadata_store: MetadataStorePlan | None = None
    """Where pipelines and experiments write; None where no deployment wants one."""
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    """What a person may want to know and need not act on."""

    @property
    def on_cloud_run(self) -> Mapping[str, CloudRunPlan]:
        """The deployments on topology `cloud-run`."""
        return {name: each for name, each in self.deployments.items() if isinstance(each, CloudRunPlan)}

    @property
    def on_vertex(self) -> Mapping[str, VertexPlan]:
        """The deployments on topology `vertex`."""
        # Not above: that module imports this one.
        from stacks.plan.types_vertex import VertexPlan

        return {name: each for name, each in self.deployments.items() if isinstance(each, VertexPlan)}

    @property
    def beside_cloud_run(self) -> tuple[VertexPlan | GkeTpuPlan, ...]:
        """The deployments on the other topologies."""
        return *self.on_vertex.values(), *self.on_tpu.values()

    @property
    def on_tpu(self) -> Mapping[str, GkeTpuPlan]:
        """The deployments on topology `gke-tpu`."""
        # Not above: that module imports this one.
        from stacks.plan.types_gke import GkeTpuPlan

        return {name: each for name, each in self.deployments.items() if isinstance(each, GkeTpuPlan)}
