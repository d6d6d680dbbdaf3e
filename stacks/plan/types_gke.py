"""What a plan decides for topology `gke-tpu`: one cluster for a stack, TPU pool and objects per deployment.

Sizes are bytes and times are seconds, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stacks.plan.types import AccountPlan, Sizing
from stacks.plan.types_converter import ConverterPlan
from stacks.plan.types_weights import StagedModelPlan, WeightsJobPlan

Stage = Literal["base", "fill", "serve"]
"""When an object is made: `base` first, `fill` once weights are staged, `serve` when filling has ended."""


@dataclass(frozen=True, slots=True)
class CpuPoolPlan:
    """The nodes without TPUs, for weights jobs and what the cluster itself runs."""

    name: str
    machine_type: str
    min_nodes: int
    """Of all zones together, as `max_nodes`."""
    max_nodes: int
    disk_type: str
    disk_gb: int
    zones: tuple[str, ...]
    """Those of the TPU pools: a disk that a job fills here is read there."""
    node_labels: Mapping[str, str]
    """Kubernetes labels of its nodes, by which jobs ask for them."""
    resource_labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NatPlan:
    """Cloud NAT: the way out for nodes without addresses of their own, to the Hub and to other registries."""

    name: str
    """Of the router, and of the NAT on it."""
    region: str


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """The GKE Standard cluster that all `gke-tpu` deployments of a stack share."""

    name: str
    location: str
    """A region, or a zone where the control plane is in one zone alone."""
    zones: tuple[str, ...]
    """Zones of the nodes."""
    release_channel: str
    """As the API writes it: `REGULAR`."""
    min_version: str | None
    """Oldest version of the control plane that has the deployments' TPUs; None where any has."""
    network: str
    subnetwork: str | None
    nat: NatPlan | None
    """None where the network has one."""
    dns_endpoint: bool
    """Whether the control plane is reached by its DNS name alone; else by its address."""
    authorized_networks: tuple[str, ...]
    """Addresses that reach the control plane's address, without `dns_endpoint`."""
    workload_pool: str
    """`PROJECT.svc.id.goog`."""
    gateway: bool
    """Whether some deployment has a Gateway."""
    deletion_protection: bool
    account: AccountPlan
    """Whom the nodes run as."""
    project_roles: tuple[str, ...]
    """What that account is granted on the project."""
    repository_roles: tuple[str, ...]
    """What it is granted on the stack's image repository."""
    labels: Mapping[str, str]
    cpu_pool: CpuPoolPlan


@dataclass(frozen=True, slots=True)
class TpuPoolPlan:
    """The node pool of one deployment: its slices."""

    name: str
    machine_type: str
    accelerator: str
    """`v5e` or `v6e`."""
    topology: str
    chips: int
    """Of one slice."""
    chips_per_node: int
    """What a node offers as `google.com/tpu`."""
    hosts: int
    """Nodes of one slice."""
    zone: str
    min_nodes: int
    max_nodes: int
    disk_type: str
    disk_gb: int
    spot: bool
    flex_start: bool
    max_run_seconds: int | None
    """Longest life of a node; only with `flex_start`."""
    reservation: str | None
    placement_topology: str | None
    """Topology of the placement policy (COMPACT); None for a slice on one host, where GKE refuses it."""
    node_labels: Mapping[str, str]
    """Labels that GKE gives the nodes, by which pods ask for them."""
    taint_key: str
    """GKE's own taint of TPU nodes, with value `present` and effect `NoSchedule`."""
    resource_labels: Mapping[str, str]

    @property
    def multi_host(self) -> bool:
        """Whether a slice spans nodes; such a pool is one slice, whole or not at all."""
        return self.hosts > 1


@dataclass(frozen=True, slots=True)
class IdentityPlan:
    """Whom pods of one Kubernetes service account are to Google, and what they may do."""

    namespace: str
    kubernetes_account: str
    workload_pool: str
    account: AccountPlan | None
    """Google service account that they borrow; None where roles are granted to the pods directly."""
    bucket_role: str
    """Role on the stack's bucket."""
    reads_token: bool
    """Whether they read the Hub token's secret."""

    @property
    def subject(self) -> str:
        """The pods' name in the workload pool."""
        return f"ns/{self.namespace}/sa/{self.kubernetes_account}"

    @property
    def workload_member(self) -> str:
        """Who may borrow the Google service account: member for `roles/iam.workloadIdentityUser` on it."""
        return f"serviceAccount:{self.workload_pool}[{self.namespace}/{self.kubernetes_account}]"

    def member(self, project_number: str) -> str:
        """Gives the member that roles are granted to.

        Args:
            project_number: the project's number. Only Google knows it, so it is read while the stack is
                deployed and is no part of the plan; a borrowed service account needs none.
        """
        if self.account is not None:
            return f"serviceAccount:{self.account.email}"
        pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{self.workload_pool}"
        return f"principal://iam.googleapis.com/{pool}/subject/{self.subject}"


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """Disks that hold a deployment's weights.

    A job fills the first one. Where several nodes read, or nodes take no such disk, a snapshot of it becomes
    a second one, Hyperdisk ML, which any number of nodes reads. All names follow from what is staged, so
    another model gets other disks.
    """

    content: str
    """Digest of what lies on them."""
    name: str
    """The disk that the job fills, and that the server reads where there is no `copy_name`."""
    type: str
    size_gb: int
    zone: str
    snapshot_name: str | None
    copy_name: str | None
    """Hyperdisk ML, `READ_ONLY_MANY`."""
    copy_type: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KubernetesObject:
    """One object as the plan knows it."""

    name: str
    """Logical name below the deployment's, for instance `deployment`; it never holds the model's."""
    stage: Stage
    manifest: Mapping[str, Any]
    images: Mapping[str, str]
    """Images of this stack in the manifest: their address there, with a tag, by name. Whoever makes the
    object puts the reference by digest in its place: `stacks.plan.gke.manifests.with_references`."""

    @property
    def kind(self) -> str:
        """For instance `Deployment`."""
        return str(self.manifest["kind"])


@dataclass(frozen=True, slots=True)
class TpuServerPlan:
    """What runs on a slice, and how it is reached."""

    image: str
    command: tuple[str, ...]
    """What runs in place of the image's own entry point; empty for that."""
    http_image: str | None
    """Image of a second container that speaks HTTP for the first; None where that does so itself."""
    args: tuple[str, ...]
    mount_path: str
    checkpoint_path: str
    """What the server is told to load: a file for jetstream, a folder for vllm-tpu."""
    tokenizer_path: str | None
    http_port: int
    grpc_port: int | None
    metrics_port: int | None
    health_path: str
    api: Literal["jetstream", "openai"]
    """What HTTP requests look like: `POST /generate`, or `POST /v1/completions`."""
    batch_size: int
    max_input_tokens: int
    max_new_tokens: int
    load_seconds: int
    """How long a start takes, by estimate."""
    startup_seconds: int
    """How long a start may take before the container is stopped."""


@dataclass(frozen=True, slots=True)
class GkeTpuPlan:
    """One deployment on the `gke-tpu` topology."""

    deployment: str
    model: str
    topology: str
    engine: str
    dtype: str
    """Element type of the weights in the TPU's memory."""
    location: str
    """The cluster's."""
    namespace: str
    service_name: str
    """Of the Kubernetes Service."""
    server_identity: IdentityPlan
    weights_identity: IdentityPlan | None
    """Whom the weights job is in the cluster; None where it runs elsewhere."""
    pool: TpuPoolPlan
    server: TpuServerPlan
    replicas: int
    max_replicas: int
    ready_seconds: int
    """How long a deployment waits for replicas: a node, the image, the weights."""
    objects: tuple[KubernetesObject, ...]
    """In an order in which they can be made."""
    disk: DiskPlan | None
    converter: ConverterPlan | None
    """Google's converter; None where servers read what is staged."""
    expose: Literal["cluster", "internal", "gateway"]
    host: str | None
    invokers: tuple[str, ...]
    """Who passes the Gateway's Identity-Aware Proxy."""
    labels: Mapping[str, str]
    deletion_protection: bool
    weights: WeightsJobPlan
    staged: StagedModelPlan
    sizing: Sizing

    @property
    def image_names(self) -> tuple[str, ...]:
        """Images of this stack that it runs."""
        own = {name for each in self.objects for name in each.images}
        return (self.weights.image, *sorted(own - {self.weights.image}))

    @property
    def accounts(self) -> tuple[AccountPlan, ...]:
        """Google service accounts that it owns."""
        converter = self.converter.identity.account if self.converter else None
        found = (self.server_identity.account, self.weights.account, converter)
        return tuple(filter(None, found))

    @property
    def loaded(self) -> StagedModelPlan | ConverterPlan:
        """Whose format and prefix servers load: what is staged, or what Google's converter makes of it."""
        return self.converter or self.staged

    def names(self) -> Iterator[tuple[str, str]]:
        """Physical names that no other deployment may have, each with its kind."""
        yield "namespace", self.namespace
        yield "node pool", self.pool.name
        yield "job", self.weights.job_name
        for account in self.accounts:
            yield "service account", account.account_id

    def object(self, name: str) -> KubernetesObject:
        """Gives the object of a logical name.

        Raises:
            KeyError: there is none.
        """
        found = {each.name: each for each in self.objects}
        return found[name]
