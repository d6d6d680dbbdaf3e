"""A stack's configuration: two sources, one parser, every error at once.

`from_engine` reads what the engine hands the running program, `from_stack_file` reads the file itself; both
give the same `StackConfig`, or the same `ConfigError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stacks.config_checks import check_environment, check_project, check_region, zone_check
from stacks.config_deployments import Deployments, read_deployments
from stacks.config_errors import ConfigError, Problem
from stacks.config_models import StackConfig
from stacks.config_reader import Reader
from stacks.config_sources import Raw, engine_secret, read_engine, read_stack_file, stack_of
from stacks.plan.build import find_problems

if TYPE_CHECKING:
    import pulumi

__all__ = ["ConfigError", "Problem", "StackConfig", "from_engine", "from_stack_file", "hub_token", "parse"]

_DEPLOYMENTS_EXAMPLE = (
    "write a mapping of names to deployments: {assistant: {topology: cloud-run, model: MODEL}}"
)

_PLANNED = ("llm:deployments.", "llm:cluster.")
"""What the plan says something of."""

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
    reader = Reader(raw)
    region = reader.text("gcp:region", check_region)
    deployments = read_deployments(reader.mapping("llm:deployments", _DEPLOYMENTS_EXAMPLE, required=True))
    config = StackConfig(
        stack=stack_of(stack_file),
        stack_file=stack_file,
        project=reader.text("gcp:project", check_project) or _SOME_PROJECT,
        region=region or _SOME_REGION,
        zone=reader.text("gcp:zone", zone_check(region), required=False),
        environment=reader.text("llm:environment", check_environment) or _SOME_ENVIRONMENT,
        deployments=deployments.to_plan,
        hub_token=reader.hub_token(),
        hub_token_secret=reader.hub_token_secret(),
        images=reader.images(),
        labels=reader.labels(),
        cluster=reader.cluster(),
        unsized=deployments.unsized,
    )
    reader.check_keys()
    problems = [*reader.problems, *deployments.problems]
    if problems:
        raise ConfigError(stack_file, [*problems, *_problems_of_deployments(config, deployments)])
    return config


def _problems_of_deployments(config: StackConfig, deployments: Deployments) -> list[Problem]:
    found = (problem for problem in find_problems(config) if problem.path.startswith(_PLANNED))
    return list(deployments.relevant(found))
