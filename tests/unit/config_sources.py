"""One configuration, brought to the parser both ways: as a stack file and as the engine hands it on."""

from __future__ import annotations

import contextvars
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from pulumi.runtime import config as pulumi_config

from stacks.config import ConfigError, StackConfig, from_engine, from_stack_file
from stacks.plan.build import build_plan
from stacks.plan.types import StackPlan

STACK = "dev"

TINY_SHAPE: dict[str, Any] = {
    "kind": "llama",
    "dModel": 64,
    "dFf": 128,
    "decoderLayers": 2,
    "heads": 4,
    "kvHeads": 2,
    "headDim": 16,
    "vocab": 1000,
    "tiedEmbeddings": True,
}
TINY: dict[str, Any] = {
    "repository": "acme/tiny",
    "revision": "0" * 40,
    "family": "decoder",
    "architecture": TINY_SHAPE,
    "context": 256,
}
"""A model as a configuration writes it out."""


class _Quoting(yaml.SafeDumper):
    """Writes every text in quotes: the dumper's own rules, of YAML 1.1, leave `0E0` bare, a number in 1.2."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)

Outcome = tuple[StackConfig, StackPlan] | ConfigError


def good(**deployment: Any) -> dict[str, Any]:
    """A configuration without a fault; keyword arguments change its deployment `assistant`."""
    assistant = {"topology": "cloud-run", "model": "google/flan-t5-base", **deployment}
    return {
        "gcp:project": "acme-ml-dev",
        "gcp:region": "us-central1",
        "llm:environment": "dev",
        "llm:deployments": {"assistant": assistant},
    }


def through_file(config: dict[str, Any], folder: Path) -> Outcome:
    """What the command line makes of a configuration."""
    path = folder / f"Pulumi.{STACK}.yaml"
    document = {"encryptionsalt": "v1:salt", "config": config}
    path.write_text(yaml.dump(document, Dumper=_Quoting), encoding="utf-8")
    return _outcome(lambda: from_stack_file(path))


def through_engine(config: dict[str, Any]) -> Outcome:
    """What the running program makes of the same configuration."""
    given = _project_defaults() | {key: _decrypted_text(value) for key, value in config.items()}
    secret = [key for key, value in config.items() if _has_secure(value)]

    def run() -> Outcome:
        pulumi_config.set_all_config(given, secret)
        with patch("pulumi.get_stack", return_value=STACK):
            return _outcome(from_engine)

    return contextvars.copy_context().run(run)


def both(config: dict[str, Any], folder: Path) -> Outcome:
    """The outcome of both sources, which must not differ."""
    one, other = through_file(config, folder), through_engine(config)
    if isinstance(one, ConfigError) and isinstance(other, ConfigError):
        assert str(one) == str(other)
    else:
        assert one == other
    return one


def problems(config: dict[str, Any], folder: Path) -> ConfigError:
    """The error of both sources."""
    outcome = both(config, folder)
    assert isinstance(outcome, ConfigError), "the configuration was accepted"
    return outcome


def plan(config: dict[str, Any], folder: Path) -> StackPlan:
    """The plan of both sources."""
    outcome = both(config, folder)
    assert not isinstance(outcome, ConfigError), str(outcome)
    return outcome[1]


def _outcome(load: Any) -> Outcome:
    try:
        config = load()
        return config, build_plan(config)
    except ConfigError as error:
        return error


def _project_defaults() -> dict[str, str]:
    """What the engine adds for keys that a stack file leaves out."""
    project = yaml.safe_load((Path(__file__).parents[2] / "Pulumi.yaml").read_text(encoding="utf-8"))
    declared = project["config"].items()
    return {key: _decrypted_text(entry["value"]) for key, entry in declared if "value" in entry}


def _is_secure(value: dict[Any, Any]) -> bool:
    """As the engine decides it: one key, and text below it (sdk/go/common/resource/config/value.go)."""
    return set(value) == {"secure"} and isinstance(value["secure"], str)


def _has_secure(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_secure(value) or any(_has_secure(item) for item in value.values())
    return isinstance(value, list) and any(_has_secure(item) for item in value)


def _decrypted(value: Any) -> Any:
    if isinstance(value, dict):
        return "hf_decrypted" if _is_secure(value) else {k: _decrypted(v) for k, v in value.items()}
    return [_decrypted(item) for item in value] if isinstance(value, list) else value


def _decrypted_text(value: Any) -> str:
    """Text as the engine's Go code writes it: compact JSON with sorted keys."""
    plain = _decrypted(value)
    return plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":"), sort_keys=True)
