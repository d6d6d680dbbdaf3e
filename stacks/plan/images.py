"""The container images of a stack: built from their folders, or given by digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from stacks.plan import naming
from stacks.plan.types import ImagePlan, RepositoryPlan

if TYPE_CHECKING:
    from stacks.config_models import ImageSource

BASE = "python:3.11.13-slim-bookworm"
"""Image that ours are built on unless the configuration names another."""

# Cloud Run runs amd64 alone: cloud.google.com/run/docs/container-contract.
_PLATFORM = "linux/amd64"


SERVE_IMAGES: Final[Mapping[str, str]] = {
    "transformers": "serve",
    "ctranslate2": "serve-ctranslate2",
    "vllm": "serve-vllm",
    "torchserve": "torchserve",
}
"""The serving image of each engine: of one folder, built with its libraries; TorchServe's is its own."""

_ENGINES = {image: engine for engine, image in SERVE_IMAGES.items() if image != engine}

IMAGES = (*SERVE_IMAGES.values(), "weights")
"""Every image of a stack; `llm:images` may name them."""


def image_plans(
    names: Iterable[str], stack: str, repository: RepositoryPlan, sources: Mapping[str, ImageSource]
) -> dict[str, ImagePlan]:
    """Plans the images that a stack needs.

    Args:
        names: images that some deployment runs.
        stack: the stack's name; becomes the tag.
        repository: where images are pushed.
        sources: what the configuration says of each, by name.
    """
    return {name: _image(name, stack, repository, sources.get(name)) for name in sorted(set(names))}


def _image(name: str, stack: str, repository: RepositoryPlan, source: ImageSource | None) -> ImagePlan:
    engine = _ENGINES.get(name)
    return ImagePlan(
        name=name,
        context="images/serve" if engine else f"images/{name}",
        url=f"{repository.url}/{name}",
        tag=naming.image_tag(stack),
        platform=_PLATFORM,
        build_args={
            "BASE": (source.base if source else None) or BASE,
            **({"ENGINE": engine} if engine else {}),
        },
        digest=source.digest if source else None,
    )
