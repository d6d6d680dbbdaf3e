"""The shape of a deployment on topology `gke-tpu`, and of the cluster that a stack's deployments share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stacks.config_errors import refuse
from stacks.config_gke_texts import (
    HostName,
    MachineType,
    NetworkName,
    Ranges,
    ResourceName,
    Source,
    SubnetworkName,
    Topology,
    Zone,
)
from stacks.config_shared import Image, Member, Model, TokenSettings, Weights
from stacks.plan.spec import Commit, Count, Strict

TpuGeneration = Literal["v5e", "v6e"]
TpuDtype = Literal["bfloat16", "int8"]
Capacity = Literal["on-demand", "spot", "reservation", "flex-start"]

LONGEST_RUN_HOURS = 7 * 24
"""A Flex-start node lives for a week at most (cloud.google.com/kubernetes-engine/docs/concepts/dws)."""


class Tpu(Strict):
    """The TPU slice of one replica; what is left out is chosen as the smallest that holds the model."""

    accelerator: TpuGeneration = "v5e"
    """Generation of TPU."""
    machine: MachineType | None = None
    """Machine type of a host: ct5lp-hightpu-8t has eight v5e chips."""
    topology: Topology | None = None
    """How the slice's chips are wired: 2x4 is eight of them."""
    capacity: Capacity = "on-demand"
    """How the nodes are had: flex-start waits for capacity and gives it back after maxRunHours."""
    reservation: ResourceName | None = None
    """Reservation that the nodes come from; for capacity reservation alone."""
    max_run_hours: Annotated[int, Field(ge=1, le=LONGEST_RUN_HOURS)] | None = None
    """Hours after which a node goes; for capacity flex-start alone, a week where it is left out."""
    zone: Zone | None = None
    """Zone of the slices; gcp:zone, or one that has the generation, where it is left out."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.capacity == "reservation") != (self.reservation is not None):
            refuse(
                "goes with capacity: reservation, and the other way round",
                "give both, or neither",
                key="reservation",
            )
        if self.max_run_hours is not None and self.capacity != "flex-start":
            refuse(
                f"is not for capacity {self.capacity}",
                "leave it out, or write capacity: flex-start",
                key="maxRunHours",
            )
        return self


class TpuScaling(Strict):
    """How many replicas there are; each has a slice of its own."""

    min: Count = 1
    """Replicas kept while nobody asks; at least one, since nothing wakes a deployment without any."""
    max: Count | None = None
    """Most replicas, where the server's own load decides; min where it is left out."""
    surge: Annotated[int, Field(ge=0, le=1)] = 0
    """Slices beyond max that an update may take, so that no replica is missing while it runs."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.min > self.max:
            refuse(
                f"is above max ({self.max})",
                f"set min to at most {self.max}, or max to at least {self.min}",
                key="min",
            )
        return self

    @property
    def most(self) -> int:
        """Most replicas at once."""
        return self.min if self.max is None else self.max


class TpuServer(Strict):
    """How the server is started; what is left out is computed. The engines' own flags are in the text."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Sequences answered at once; jetstream: --batch_size, vllm-tpu: --max-num-seqs."""
    max_cache_length: Count | None = None
    """Tokens of prompt and answer together; jetstream: --max_cache_length, vllm-tpu: --max-model-len."""
    quantize_weights: bool | None = None
    """Weights in eight bits, staged so; follows dtype int8. jetstream: --quantize_weights."""
    quantize_kv_cache: bool = False
    """Cache in eight bits: half as large, less exact. jetstream: --quantize_kv_cache."""
    shard_on_batch: bool = False
    """Share the sequences among the chips instead of the model. jetstream: --shard_on_batch."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads that take requests. jetstream: --threads."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the server's metrics, for instance 9100; none where it is left out. jetstream:
    --prometheus_port; vllm-tpu has them on 8000 without being asked."""
    max_batched_tokens: Count | None = None
    """Tokens worked on in one step. vllm-tpu: --max-num-batched-tokens."""
    prefix_caching: bool | None = None
    """Keep what prompts begin with. vllm-tpu: --enable-prefix-caching."""
    image: Image | None = None
    """The server's image, with a tag or a digest."""
    http_image: Image | None = None
    """Image of JetStream's HTTP front, with a tag or a digest."""
    arguments: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """More flags of the engine, --NAME=VALUE; none that follows from another key."""


class TpuWeights(Weights):
    """How a model's weights come to its servers; what is left out is decided."""

    source: Source | None = None
    """Checkpoint of transformers in a bucket, gs://BUCKET/PREFIX, in place of the Hub's. Another upload goes
    to another prefix: what is staged is never written over."""
    volume: Literal["mount", "disk"] = "mount"
    """Whether servers read the bucket itself, or a disk that a job has filled from it."""
    converter: Literal["own", "published"] = "own"
    """What writes a checkpoint for jetstream: this project's weights image, or Google's own converter image
    (published), which nobody verifies and which needs nodes that hold a model twice: llm:cluster.cpuPool."""


class TpuAccess(Strict):
    """Who may reach a service; pods of the cluster, in namespaces that say so, unless named."""

    expose: Literal["cluster", "internal", "gateway"] = "cluster"
    """Inside the cluster, by an internal load balancer of the network, or by a Gateway with IAP."""
    host: HostName | None = None
    """Name that the Gateway answers to."""
    certificate_map: ResourceName | None = None
    """Map of Certificate Manager with the host's certificate, for the Gateway."""
    invokers: Annotated[tuple[Member, ...], Field(strict=False)] = ()
    """Who passes the Gateway's Identity-Aware Proxy: user:, group:, serviceAccount: or domain:."""
    source_ranges: Ranges = ("10.0.0.0/8",)
    """Addresses that reach the internal load balancer."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, value in (("host", self.host), ("certificateMap", self.certificate_map)):
            if self.expose == "gateway" and value is None:
                refuse("is required for expose: gateway", "name it, or write expose: internal", key=key)
            if self.expose != "gateway" and value is not None:
                refuse("is for expose: gateway", "write expose: gateway, or leave it out", key=key)
        if "source_ranges" in self.model_fields_set and self.expose != "internal":
            refuse("is for expose: internal", "write expose: internal, or leave it out", key="sourceRanges")
        if not self.source_ranges:
            refuse("lets nobody in", "name ranges, or leave it out for 10.0.0.0/8", key="sourceRanges")
        if self.invokers and self.expose != "gateway":
            refuse(
                "is for expose: gateway, which asks callers who they are",
                "write expose: gateway, or leave it out",
                key="invokers",
            )
        if {"allUsers", "allAuthenticatedUsers"} & set(self.invokers):
            refuse(
                "holds everybody, whom Identity-Aware Proxy does not take",
                "name people or groups",
                key="invokers",
            )
        return self


class GkeTpuDeployment(Strict):
    """One deployment on the `gke-tpu` topology."""

    topology: Literal["gke-tpu"]
    """What it runs on."""
    model: Model
    """A name of the catalog (`llmstack models`), or a whole description with the fields of an entry."""
    revision: Commit | None = None
    """Commit of the model's repository, where it is not the catalog's."""
    engine: str | None = None
    """Software that runs the model, jetstream or vllm-tpu; the plan chooses where it is left out."""
    dtype: TpuDtype | None = None
    """Element type of computing; bfloat16 where it is left out. int8 needs engine jetstream."""
    tpu: Tpu = Tpu()
    """The TPU slice of one replica."""
    scaling: TpuScaling = TpuScaling()
    """How many replicas there are."""
    server: TpuServer = TpuServer()
    """How the server is started."""
    limits: TokenSettings = TokenSettings()
    """What a request may ask for; what is left out is computed."""
    weights: TpuWeights = TpuWeights()
    """How the model's weights come to the servers."""
    identity: Literal["direct", "service-account"] = "direct"
    """Whether pods are granted roles themselves, or borrow a Google service account's."""
    access: TpuAccess = TpuAccess()
    """Who may reach the service."""


class CpuPool(Strict):
    """Nodes without TPUs, which stage weights and hold what the cluster itself needs."""

    machine: MachineType = "e2-standard-4"
    """Machine type of a node."""
    min: Annotated[int, Field(ge=1)] = 1
    """Fewest nodes, of all zones together."""
    max: Count = 3
    """Most nodes, of all zones together."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            refuse(
                f"is above max ({self.max})",
                f"set min to at most {self.max}, or max to at least {self.min}",
                key="min",
            )
        return self


class ClusterConfig(Strict):
    """The cluster of a stack's deployments on topology `gke-tpu`; works as it is."""

    zonal: bool = False
    """One control plane in gcp:zone, cheaper and gone with it, in place of one in each of three zones."""
    release_channel: Literal["rapid", "regular", "stable", "extended"] = "regular"
    """How soon the cluster gets new versions of Kubernetes."""
    dns_endpoint: bool = True
    """Reach the control plane by its name, as Google identities that IAM lets in; no address is open then."""
    authorized_networks: Ranges = ()
    """Addresses that reach the control plane's own address; needs dnsEndpoint: false."""
    network: NetworkName = "default"
    """VPC network of the nodes."""
    subnetwork: SubnetworkName | None = None
    """Subnetwork of the nodes; the network's own of the region where it is left out."""
    nat: bool = True
    """Give the nodes, which have no addresses of their own, a way out by Cloud NAT; false if there is one."""
    cpu_pool: CpuPool = CpuPool()
    """Nodes without TPUs."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.dns_endpoint == bool(self.authorized_networks):
            refuse(
                "goes with dnsEndpoint: false, and the other way round",
                "write dnsEndpoint: false and the addresses you deploy from, or neither",
                key="authorizedNetworks",
            )
        return self
