"""The shape of a stack's configuration: frozen models, camelCase keys, unknown keys refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from stacks.config_errors import refuse
from stacks.plan.quantity import parse_memory
from stacks.plan.spec import Commit, Count, ModelSpec, Strict

Accelerator = Literal["nvidia-l4", "nvidia-rtx-pro-6000"]
Ingress = Literal["all", "internal", "internal-and-load-balancer"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(
    r"[a-z0-9][a-z0-9._-]*(?::\d+)?(?:/[a-z0-9][a-z0-9._-]*)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_MEMBER = re.compile(r"(?:user|serviceAccount|group):[^@\s:]+@[^@\s:]+\.[^@\s:]+|domain:[^@\s:]+\.[^@\s:]+")
_ANYONE = ("allUsers", "allAuthenticatedUsers")


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


Model = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[ModelSpec, Tag("<inline>")], Discriminator(_model_kind)
]
"""A catalog entry's name, or a mapping with the fields of one."""


class Scaling(Strict):
    """How many instances, and how many requests each takes at once."""

    min: Annotated[int, Field(ge=0)] | None = None
    max: Count = 3
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None

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
    memory: Annotated[str, AfterValidator(_memory)] | None = None
    gpu: Accelerator | None = None


class Access(Strict):
    """Who may reach a service; nobody unless named."""

    ingress: Ingress = "all"
    invokers: Annotated[tuple[Annotated[str, AfterValidator(_member)], ...], Field(strict=False)] = ()


class Limits(Strict):
    """What one request may ask for, and how many requests wait; what is left out is computed."""

    max_input_tokens: Count | None = None
    max_new_tokens: Count | None = None
    queue: Annotated[int, Field(ge=1, le=1000)] | None = None


class CloudRunDeployment(Strict):
    """One deployment on the `cloud-run` topology."""

    topology: Literal["cloud-run"]
    model: Model
    revision: Commit | None = None
    """Commit of the model's repository, where it is not the catalog's."""
    scaling: Scaling = Scaling()
    resources: Resources = Resources()
    access: Access = Access()
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    limits: Limits = Limits()


Deployment = CloudRunDeployment
"""Every kind of deployment; the key `topology` says which."""

DEPLOYMENTS: Mapping[str, type[Deployment]] = {"cloud-run": CloudRunDeployment}
"""Model of a deployment by topology."""

PLANNED_TOPOLOGIES = ("dataflow", "gke-tpu", "training", "vertex")
"""Topologies that have a name and no builder in this version."""


class ImageSource(Strict):
    """An image given by digest, or the base image to build it on."""

    digest: Annotated[str, AfterValidator(_digest)] | None = None
    base: Annotated[str, AfterValidator(_image)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.digest is None) == (self.base is None):
            refuse(
                "needs one of digest and base",
                "give digest to deploy an image that exists, or base to build on another base image",
            )
        return self


IMAGES = ("serve", "weights")
"""Images that `llm:images` may name."""


@dataclass(frozen=True, slots=True)
class StackConfig:
    """A stack's configuration, checked. Holds no secret value.

    `hub_token` is true where `llm:hubToken` holds a token; its value is read by the component alone.
    """

    stack: str
    stack_file: str
    project: str
    region: str
    environment: str
    deployments: Mapping[str, Deployment]
    hub_token: bool
    hub_token_secret: str | None
    images: Mapping[str, ImageSource]
    labels: Mapping[str, str]
