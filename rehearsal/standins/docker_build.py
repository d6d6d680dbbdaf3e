"""The stand-in for Pulumi's docker-build plugin: images are hashed and kept, not built.

What changes an image, its outputs and its reads follow `provider/internal/image.go` of pulumi-docker-build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from providers.base import server
from providers.base.diff import Change, Kind, diff_properties
from providers.base.errors import ProviderError
from providers.base.provider import (
    CheckFailure,
    CheckRequest,
    CheckResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import UNKNOWN, Properties, has_unknown, strip_secrets
from rehearsal.standins import docker_images
from rehearsal.standins.common import Standin, open_world
from rehearsal.standins.compare import like
from rehearsal.standins.docker_checks import Findings, check_image
from rehearsal.standins.docker_context import Build
from rehearsal.standins.sdk import resource_type, sdk_version
from rehearsal.standins.typecheck import check_types

TYPE = "docker-build:index:Image"

_UNMODELLED = ("exports", "cacheFrom", "cacheTo", "ssh", "exec", "load", "secrets")
"""Inputs that are accepted and kept, and change nothing about the rehearsed image."""

_DECIDING = ("addHosts", "buildArgs", "labels", "network", "platforms", "target")
"""Inputs that decide, beside the context, what comes out."""


class DockerBuildStandin(Standin):
    """Container images in a world; arguments as for every stand-in."""

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Types, the context's folder, the Dockerfile, and what a push needs."""
        if request.type != TYPE:
            reason = f"not modelled by the rehearsed cloud: {request.type} (modelled: {TYPE})"
            return CheckResponse(request.news, [CheckFailure("", reason)])
        found = await self.blocking(_findings, strip_secrets(request.news))
        for warning in found.warnings:
            self.log.warning(request.urn, warning)
        for name in _UNMODELLED:
            if request.news.get(name):
                self.log.warning(request.urn, f"{name}: accepted, but the rehearsed build makes no use of it")
        return CheckResponse(request.news, [CheckFailure("", failure) for failure in found.failures])

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Any input but a registry's password, and the context's content; nothing needs a replacement."""
        old, new = _without_passwords(request.old_inputs), _without_passwords(request.news)
        changes = diff_properties(old, new)
        before = request.old_outputs.get("contextHash")
        after = await self.blocking(_context_hash, strip_secrets(request.news))
        content = [Change(("contextHash",), Kind.UPDATE, before, after)] if before != after else []
        return DiffResponse(changes, output_changes=content)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Hashes the context and pushes."""
        if request.preview:
            return CreateResponse("", await self._foretell(request.urn, request.inputs))
        outputs = await self._build(request.inputs, "create")
        return CreateResponse(strip_secrets(outputs)["digest"], outputs)

    async def update(self, request: UpdateRequest) -> Properties:
        """Hashes and pushes again; the image before stays in the registry, as with the real provider."""
        if request.preview:
            return await self._foretell(request.urn, request.news)
        return await self._build(request.news, "update")

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        """The image, if the registry still has it under one of its tags."""
        state = strip_secrets(request.outputs)
        tags, digest = state.get("tags") or [], state.get("digest") or request.id

        def look() -> list[str]:
            with self.world.call(TYPE, "read", request.id):
                return [tag for tag in tags if docker_images.find(self.world, tag, digest)]

        if state.get("push") and tags and not await self.in_world(look):
            return None
        return ReadResponse(request.id, request.inputs, request.outputs)

    async def delete(self, request: DeleteRequest) -> None:
        """Removes the image from the registry; one that is gone is no error."""
        state = strip_secrets(request.outputs)

        def remove() -> None:
            with self.world.call(TYPE, "delete", request.id):
                for tag in (state.get("tags") or []) if state.get("digest") else []:
                    docker_images.delete(self.world, tag, state["digest"])

        await self.in_world(remove)

    async def _build(self, inputs: Properties, operation: str) -> Properties:
        plain = strip_secrets(inputs)
        found = await self.blocking(_findings, plain)
        if found.failures:
            raise ProviderError("; ".join(found.failures))

        def work() -> Properties:
            build = _build_of(plain)
            context_hash = build.context_hash()
            digest = build.digest(context_hash)
            tags = plain.get("tags") or []
            with self.world.call(TYPE, operation, tags[0] if tags else digest):
                pushed = tags if plain.get("push") else []
                docker_images.push(self.world, build, digest, pushed, plain.get("buildArgs") or {})
            ref = _reference(tags[0], digest) if tags else ""
            return {**inputs, "contextHash": context_hash, "digest": digest, "ref": ref}

        return like(inputs, await self.in_world(work))

    async def _foretell(self, urn: str, inputs: Properties) -> Properties:
        """What is known before anything is pushed: the context's hash and the first tag."""
        plain = strip_secrets(inputs)
        if plain.get("buildOnPreview") is not False and has_unknown(plain):
            self.log.warning(urn, "Skipping preview build because some inputs are unknown.")
        tags = plain.get("tags")
        first = tags[0] if isinstance(tags, list) and tags else UNKNOWN
        context_hash = await self.blocking(_context_hash, plain)
        return {**inputs, "contextHash": context_hash, "digest": UNKNOWN, "ref": first}


def _findings(inputs: Properties) -> Findings:
    """Everything that is wrong with an image's inputs."""
    failures = check_types(resource_type(TYPE).inputs, inputs)
    if failures:
        return Findings(failures)
    tags = inputs.get("tags")
    if inputs["push"] is True and tags in (None, []) and not inputs.get("exports"):
        failures.append("tags: at least one tag or export is needed when pushing")
    paths = _paths(inputs)
    if paths is None:
        return Findings(failures)
    context, dockerfile = paths
    if not context.is_dir():
        return Findings([*failures, f"context.location: '{context}' is no folder"])
    if not dockerfile.is_file():
        return Findings([*failures, f"dockerfile.location: there is no Dockerfile at '{dockerfile}'"])
    lines = dockerfile.read_text(errors="replace").splitlines()
    if not any(line.strip().upper().startswith("FROM ") for line in lines):
        failures.append(f"dockerfile: '{dockerfile}' has no FROM instruction")
    build_args = inputs.get("buildArgs") or {}
    found = check_image(context, dockerfile, {k: v for k, v in build_args.items() if isinstance(v, str)})
    return Findings([*failures, *found.failures], found.warnings)


def _paths(inputs: Properties) -> tuple[Path, Path] | None:
    """The context's folder and the Dockerfile; None where they are not known yet."""
    context = inputs.get("context") or {}
    dockerfile = inputs.get("dockerfile") or {}
    if has_unknown(context) or has_unknown(dockerfile):
        return None
    folder = Path(context.get("location") or ".").absolute()
    if dockerfile.get("inline"):
        raise ProviderError("dockerfile.inline is not modelled by the rehearsed cloud: use a file")
    location = dockerfile.get("location")
    return folder, Path(location).absolute() if location else folder / "Dockerfile"


def _build_of(inputs: Properties) -> Build:
    paths = _paths(inputs)
    if paths is None:
        raise ProviderError("context and dockerfile must be known when an image is built")
    return Build(*paths, {name: inputs[name] for name in _DECIDING if inputs.get(name)})


def _context_hash(inputs: Properties) -> Any:
    """The context's hash, or UNKNOWN where nobody knows yet where the context is."""
    return UNKNOWN if _paths(inputs) is None else _build_of(inputs).context_hash()


def _reference(tag: str, digest: str) -> str:
    """A tag's address with the digest; a tag that is not spelled out is `latest`."""
    named = tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"
    return f"{named}@{digest}"


def _without_passwords(inputs: Properties) -> Properties:
    plain = strip_secrets(inputs)
    registries = plain.get("registries")
    if not isinstance(registries, list):
        return dict(plain)
    shown = [
        {k: v for k, v in each.items() if k != "password"} for each in registries if isinstance(each, dict)
    ]
    return {**plain, "registries": shown}


def main() -> None:
    """The plugin's process."""
    world = open_world("docker-build")
    server.main(
        lambda name, version: DockerBuildStandin(name, version, world),
        "docker-build",
        sdk_version("docker-build"),
    )
