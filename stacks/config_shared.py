"""What deployments on every topology are configured with: shaped texts, and sections that they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from stacks.config_errors import refuse
from stacks.plan.quantity import parse_memory
from stacks.plan.spec import ComputingDtype, Count, ModelSpec, Strict, shaped

Runner = Literal["cloud-run", "vertex", "kubernetes"]

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


def _named_member(value: str) -> str:
    if value in _ANYONE:
        refuse("is everybody, whom Vertex AI does not take", "name people, groups or service accounts")
    if not _MEMBER.fullmatch(value):
        refuse(
            "is not an IAM member", "write user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS or domain:NAME"
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
NamedMember = Annotated[str, AfterValidator(_named_member), shaped(_MEMBER.pattern)]
"""As `Member`, where nobody is let in unnamed."""
Digest = Annotated[str, AfterValidator(_digest), shaped(_DIGEST.pattern)]
Image = Annotated[str, AfterValidator(_image), shaped(_PINNED_IMAGE.pattern)]
Model = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[ModelSpec, Tag("<inline>")], Discriminator(_model_kind)
]
"""A catalog entry's name, or a mapping with the fields of one."""


class TokenSettings(Strict):
    """What one request may ask for; what is left out is computed."""

    max_input_tokens: Count | None = None
    """Tokens of the longest prompt."""
    max_new_tokens: Count | None = None
    """Tokens of the longest answer."""


class Limits(TokenSettings):
    """What one request may ask for, and how many requests wait; what is left out is computed."""

    queue: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Requests that an instance holds, those it is working on included; more are answered 429."""


class Weights(Strict):
    """How a model's weights come into the bucket; what is left out is decided."""

    runner: Runner | None = None
    """Where the job runs that stages them; the topology decides where it is left out."""
    dtype: ComputingDtype | None = None
    """Element type that they are staged in, the checkpoint's own where it is left out: a float32 checkpoint
    in bfloat16 is half as large. Engine ctranslate2 has them in the element type that it computes in."""
