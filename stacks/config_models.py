"""The shape of a stack's configuration: frozen models, camelCase keys, unknown keys refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from stacks.config_errors import refuse
from stacks.plan.hardware import TOPOLOGIES
from stacks.plan.quantity import parse_memory
from stacks.plan.spec import Commit, ComputingDtype, Count, ModelSpec, Strict, shaped

Accelerator = Literal["nvidia-l4", "nvidia-rtx-pro-6000"]
Runner = Literal["cloud-run", "vertex", "kubernetes"]
Ingress = Literal["all", "internal", "internal-and-load-balancer"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE_NAME = r"[a-z0-9][a-z0-9._-]*(?::[0-9]+)?(?:/[a-z0-9][a-z0-9._-]*)*"
_IMAGE_TAG = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_IMAGE = re.compile(f"{_IMAGE_NAME}(?:{_IMAGE_TAG})?(?:@{_DIGEST.pattern})?")
_PINNED_IMAGE = re.compile(f"{_IMAGE_NAME}(?:{_IMAGE_TAG}(?:@{_DIGEST.pattern})?|@{_DIGEST.pattern})")
_MEMBER = re.compile(r"(?:user|serviceAccount|group):[^@\s:]+@[^@\s:]+\.[^@\s:]+|domain:[^@\s:]+\.[^@\s:]+")
_ANYONE = ("allUsers", "allAuthenticatedUsers")
_MEMORY_SHAPE = r"[1-9][0-9]*(Mi|Gi)"


def _memory(value: str) -> str:
    if parse_memory(value) is None:
        refuse("is not an amount of memory", "write a whole number of Mi or Gi, for instance 512Mi or 4Gi")
    return value


def _member(value: str) -> str:
    if value not in _ANYONE and not _MEMBER.fullmatch(value):
        refuse(
            "is not an IAM member",
            "write user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS, domain:NAME, "
            "or allUsers for a public service",
        )
    return value


def _digest(value: str) -> str:
    if not _DIGEST.fullmatch(value):
        refuse("is not an image digest", "write sha256: and 64 lower-case hex digits")
    return value


def _image(value: str) -> str:
    if not _IMAGE.fullmatch(value):
        refuse("is not an image reference", "write NAME:TAG, for instance python:3.11.13-slim-bookworm")
    if ":" not in value.rsplit("/", 1)[-1]:
        refuse("is not pinned", f"add a tag or a digest, for instance {value}:TAG")
    return value


def _model_kind(value: Any) -> str:
    return "<inline>" if isinstance(value, Mapping | ModelSpec) else "<name>"


Memory = Annotated[str, AfterValidator(_memory), shaped(_MEMORY_SHAPE)]
Member = Annotated[str, AfterValidator(_member), shaped(f"{'|'.join(_ANYONE)}|{_MEMBER.pattern}")]
Digest = Annotated[str, AfterValidator(_digest), shaped(_DIGEST.pattern)]
Image = Annotated[str, AfterValidator(_image), shaped(_PINNED_IMAGE.pattern)]
Model = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[ModelSpec, Tag("<inline>")], Discriminator(_model_kind)
]
"""A catalog entry's name, or a mapping with the fields of one."""


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


class Limits(Strict):
    """What one request may ask for, and how many requests wait; what is left out is computed."""

    max_input_tokens: Count | None = None
    """Tokens of the longest prompt."""
    max_new_tokens: Count | None = None
    """Tokens of the longest answer."""
    queue: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests that an instance holds, those it is working on included; more are answered 429."""


class Weights(Strict):
    """How a model's weights come into the bucket; what is left out is decided."""

    runner: Runner | None = None
    """Where the job runs that stages them; the topology decides where it is left out."""
    dtype: ComputingDtype | None = None
    """Element type that they are staged in, the checkpoint's own where it is left out: a float32 checkpoint
    in bfloat16 is half as large. Engine ctranslate2 has them in the element type that it computes in."""


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


Deployment = CloudRunDeployment
"""Every kind of deployment; the key `topology` says which."""

DEPLOYMENTS: Mapping[str, type[Deployment]] = {"cloud-run": CloudRunDeployment}
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
    unsized: frozenset[str] = frozenset()
    """Deployments whose machine cannot be judged, since what decides it is wrong itself."""
