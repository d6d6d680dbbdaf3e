"""A stack's configuration: two sources, one parser, every error at once.

`from_engine` reads what the engine hands the running program, `from_stack_file` reads the file itself; both
give the same `StackConfig`, or the same `ConfigError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stacks.config_checks import (
    Wrong,
    check_environment,
    check_label,
    check_project,
    check_region,
    check_secret_id,
)
from stacks.config_errors import HIDDEN, ConfigError, Problem, problems_of, show, suggest
from stacks.config_models import (
    DEPLOYMENTS,
    IMAGES,
    PLANNED_TOPOLOGIES,
    Deployment,
    ImageSource,
    StackConfig,
)
from stacks.config_sources import (
    SECRET,
    Raw,
    Secret,
    engine_secret,
    read_engine,
    read_stack_file,
    stack_of,
)
from stacks.plan import naming
from stacks.plan.build import find_problems

if TYPE_CHECKING:
    import pulumi

__all__ = ["ConfigError", "Problem", "StackConfig", "from_engine", "from_stack_file", "hub_token", "parse"]

_KEYS = ("deployments", "environment", "hubToken", "hubTokenSecret", "images", "labels")
_DEPLOYMENTS_EXAMPLE = (
    "write a mapping of names to deployments: {assistant: {topology: cloud-run, model: MODEL}}"
)

# Stand in for values that are wrong themselves, so that the deployments can still be checked.
_SOME_PROJECT = "some-project"
_SOME_REGION = "us-central1"
_SOME_ENVIRONMENT = "dev"


def from_stack_file(path: Path) -> StackConfig:
    """Reads a stack file without the engine.

    Raises:
        ConfigError: with every problem found.
    """
    stack_of(path.name)
    return parse(read_stack_file(path), path.name)


def from_engine() -> StackConfig:
    """Reads the configuration of the running Pulumi program.

    Raises:
        ConfigError: with every problem found.
    """
    raw, stack_file = read_engine()
    return parse(raw, stack_file)


def hub_token() -> pulumi.Output[str] | None:
    """Gives the Hub token of the running Pulumi program as a secret output; None where there is none."""
    return engine_secret("llm:hubToken")


def parse(raw: Raw, stack_file: str) -> StackConfig:
    """Checks a configuration.

    Args:
        raw: text or the secret marker by key, as the engine gives it.
        stack_file: name of the stack file, `Pulumi.<stack>.yaml`.

    Raises:
        ConfigError: with every problem found, those of the plan for the parts that can be planned included.
    """
    reader = _Reader(raw)
    config = StackConfig(
        stack=stack_of(stack_file),
        stack_file=stack_file,
        project=reader.text("gcp:project", check_project) or _SOME_PROJECT,
        region=reader.text("gcp:region", check_region) or _SOME_REGION,
        environment=reader.text("llm:environment", check_environment) or _SOME_ENVIRONMENT,
        deployments=reader.deployments(),
        hub_token=reader.hub_token(),
        hub_token_secret=reader.hub_token_secret(),
        images=reader.images(),
        labels=reader.labels(),
    )
    reader.check_keys()
    if reader.problems:
        raise ConfigError(stack_file, [*reader.problems, *_problems_of_deployments(config)])
    return config


def _problems_of_deployments(config: StackConfig) -> Iterable[Problem]:
    return (problem for problem in find_problems(config) if problem.path.startswith("llm:deployments."))


class _Reader:
    """Reads keys of a raw configuration, and collects what is wrong with them."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self.problems: list[Problem] = []

    def _report(self, path: str, value: str | None, reason: str, remedy: str) -> None:
        self.problems.append(Problem(path, value, reason, remedy))

    def _value(self, key: str) -> str | Secret | None:
        value = self._raw.get(key)
        # The engine hands on a key without a value as "null".
        return None if isinstance(value, str) and value.strip() in ("", "null") else value

    def check_keys(self) -> None:
        """Refuses keys of ours that do not exist, and keys that belong to nobody."""
        for key in self._raw:
            namespace, _, name = key.partition(":")
            if not name:
                self._report(
                    key, None, "has no namespace", suggest(f"llm:{key}", [f"llm:{k}" for k in _KEYS])
                )
            elif namespace == "llm" and name not in _KEYS:
                self._report(key, None, "is not a known key", suggest(key, [f"llm:{k}" for k in _KEYS]))

    def text(self, key: str, check: Callable[[str], Wrong | None]) -> str | None:
        """Reads required text; `check` gives reason and remedy where it is wrong."""
        value = self._value(key)
        if isinstance(value, Secret):
            self._report(
                key, HIDDEN, "must not be secret", f"set it in plain text: pulumi config set {key} VALUE"
            )
            return None
        if value is None:
            self._report(key, None, "is required and missing", f"set it: pulumi config set {key} VALUE")
            return None
        if isinstance(found := _decoded(value), dict | list):
            self._report(key, show(found), "is not text", f"write one value: pulumi config set {key} VALUE")
            return None
        wrong = check(value)
        if wrong:
            self._report(key, show(value), *wrong)
        return None if wrong else value

    def _mapping(self, key: str, example: str, *, required: bool = False) -> Mapping[str, Any]:
        value = self._value(key)
        if isinstance(value, Secret):
            self._report(
                key,
                HIDDEN,
                "is, or holds, a secret: read as an object, it would land in the state in plain text",
                "remove secure: below this key; a Hub token goes to llm:hubToken "
                "(pulumi config set --secret llm:hubToken)",
            )
            return {}
        found = {} if value is None else _decoded(value)
        # The engine gives an empty mapping for a key that is not set.
        if found == {} and required:
            self._report(key, None, "is required and missing", example)
        if isinstance(found, dict):
            return found
        self._report(key, show(found), "is not a mapping", example)
        return {}

    def deployments(self) -> Mapping[str, Deployment]:
        """Reads the deployments; those that are wrong are reported and left out."""
        found = {}
        for name, value in sorted(
            self._mapping("llm:deployments", _DEPLOYMENTS_EXAMPLE, required=True).items()
        ):
            path = f"llm:deployments.{name}"
            if not naming.DEPLOYMENT_NAME.fullmatch(name):
                self._report(
                    path,
                    show(name),
                    "is not a deployment's name",
                    f"use 1 to {naming.DEPLOYMENT_MAX} lower-case letters, digits and hyphens, "
                    "a letter first and no hyphen last",
                )
            model = self._deployment_model(path, value)
            deployment = self._deployment(model, value, path) if model else None
            if deployment is not None:
                found[name] = deployment
        return found

    def _deployment(self, model: type[Deployment], value: dict[str, Any], path: str) -> Deployment | None:
        """Validates a deployment; a wrong one comes back without its wrong keys, to be planned still."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self.problems += problems_of(error, model, path)
            wrong = {str(details["loc"][0]) for details in error.errors()}
        # Without its resources or its model a deployment would be planned as another one.
        if wrong & {"model", "resources"}:
            return None
        return model.model_validate({key: item for key, item in value.items() if key not in wrong})

    def _deployment_model(self, path: str, value: object) -> type[Deployment] | None:
        if not isinstance(value, dict):
            self._report(path, show(value), "is not a mapping", "write {topology: cloud-run, model: MODEL}")
            return None
        topology = value.get("topology")
        if topology in PLANNED_TOPOLOGIES:
            built = ", ".join(sorted(DEPLOYMENTS))
            self._report(
                f"{path}.topology", show(topology), "is not built yet in this version", f"built now: {built}"
            )
            return None
        if topology is None or not isinstance(topology, str) or topology not in DEPLOYMENTS:
            reason = "is required and missing" if topology is None else "is not a known topology"
            shown = None if topology is None else show(topology)
            self._report(f"{path}.topology", shown, reason, suggest(topology or "", DEPLOYMENTS))
            return None
        return DEPLOYMENTS[topology]

    def images(self) -> Mapping[str, ImageSource]:
        """Reads which images are given, or built on another base."""
        found = {}
        for name, value in self._mapping(
            "llm:images", "write {serve: {digest: …}} or {serve: {base: …}}"
        ).items():
            path = f"llm:images.{name}"
            if name not in IMAGES:
                self._report(path, None, "is not an image of this project", suggest(name, IMAGES))
                continue
            try:
                found[name] = ImageSource.model_validate(value)
            except ValidationError as error:
                self.problems += problems_of(error, ImageSource, path)
        return found

    def labels(self) -> Mapping[str, str]:
        """Reads the labels that every resource of the stack carries."""
        found = {}
        for key, value in self._mapping("llm:labels", "write a mapping of names to text").items():
            wrong = check_label(key, value)
            if wrong:
                self._report(f"llm:labels.{key}", show(value), *wrong)
            else:
                found[key] = value
        return found

    def hub_token(self) -> bool:
        """Says whether `llm:hubToken` holds a token, without reading it."""
        value = self._value("llm:hubToken")
        if value is SECRET or value is None:
            return value is SECRET
        self._report(
            "llm:hubToken",
            HIDDEN,
            "is in plain text",
            "store it encrypted: pulumi config set --secret llm:hubToken (and revoke it if it was shared)",
        )
        return True

    def hub_token_secret(self) -> str | None:
        """Reads which Secret Manager secret holds the token."""
        if self._value("llm:hubTokenSecret") is None:
            return None
        if self._value("llm:hubToken") is not None:
            self._report(
                "llm:hubTokenSecret",
                None,
                "is given beside llm:hubToken",
                "keep one: hubToken makes a secret of this stack, hubTokenSecret uses one that exists",
            )
        return self.text("llm:hubTokenSecret", check_secret_id)


def _decoded(value: str) -> Any:
    """Reads an object that the engine wrote as JSON; any other text stays as it is."""
    try:
        return json.loads(value)
    except ValueError:
        return value
