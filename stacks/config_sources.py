"""The two sources of a stack's configuration, brought to one form.

That form is the engine's: each top-level key holds text — a scalar as it stands, an object as JSON — or the
marker `SECRET`. A stack file is read with the rules of the engine's own YAML library (gopkg.in/yaml.v3), so
that `yes` is text, `1e3` is a number and a date becomes text, whichever way the configuration arrives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stacks.config_errors import ConfigError, Problem, show, suggest
from stacks.config_yaml import load_yaml

if TYPE_CHECKING:
    import pulumi

_PROJECT = "llm"
"""Name of the project in Pulumi.yaml: the namespace of a key that is written without one."""

_STACK_FILE = re.compile(r"Pulumi\.(?P<stack>[A-Za-z0-9_.-]+)\.ya?ml")


class Secret(Enum):
    """Stands for a secret value, which is never read."""

    SECRET = "secret"  # noqa: S105


SECRET = Secret.SECRET

Raw = Mapping[str, str | Secret]
"""Configuration as the engine gives it."""


def stack_of(stack_file: str) -> str:
    """Gives the stack's name from its file's name.

    Raises:
        ConfigError: the name is not of the form `Pulumi.<stack>.yaml`.
    """
    match = _STACK_FILE.fullmatch(Path(stack_file).name)
    if match is None:
        raise _file_error(stack_file, "is not a stack file", "name it Pulumi.STACK.yaml")
    return match["stack"]


def read_stack_file(path: Path) -> Raw:
    """Reads the `config` of a stack file.

    Raises:
        ConfigError: no file, no YAML, or not the shape of a stack file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        files = [found.name for found in sorted(path.parent.glob("Pulumi.*.yaml"))]
        remedy = suggest(path.name, files) if files else "make one with: pulumi stack init STACK"
        raise _file_error(path.name, "does not exist", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _file_error(path.name, f"cannot be read ({error})", "write it as UTF-8 text") from None
    try:
        return _config_of(load_yaml(text), path.name)
    except yaml.YAMLError as error:
        raise _yaml_error(path.name, error) from None
    except RecursionError:
        raise _file_error(path.name, "is nested too deeply", "write fewer levels") from None


def read_engine() -> tuple[Raw, str]:
    """Reads the configuration that the engine gives the running program, and the stack file's name."""
    # Only a running program needs the SDK; the command line and the plan do without.
    import pulumi
    from pulumi.runtime import config

    raw: dict[str, str | Secret] = {
        key: SECRET if config.is_config_secret(key) else str(value)
        for key, value in config.CONFIG.get().items()
    }
    return raw, f"Pulumi.{pulumi.get_stack()}.yaml"


def engine_secret(key: str) -> pulumi.Output[str] | None:
    """Gives a secret of the running program as a secret output; None where it is not set as a secret.

    Args:
        key: with its namespace, for instance `llm:hubToken`.
    """
    import pulumi
    from pulumi.runtime import config

    namespace, _, name = key.partition(":")
    return pulumi.Config(namespace).get_secret(name) if config.is_config_secret(key) else None


def _config_of(document: Any, file: str) -> Raw:
    """Takes the `config` of a stack file; the engine takes a file without one for an empty configuration."""
    example = "write config: and below it llm:deployments and the other keys"
    if not isinstance(document, dict | None):
        raise _file_error(file, f"is not a mapping: {show(document)}", example)
    config = (document or {}).get("config")
    if not isinstance(config, dict | None):
        raise ConfigError(file, [Problem("config", show(config), "is not a mapping", example)])
    return _namespaced(config or {}, file)


def _namespaced(config: Mapping[str, Any], file: str) -> Raw:
    """Gives each key its namespace, as the engine does (sdk/go/common/workspace/loaders.go).

    Raises:
        ConfigError: a key stands there with its namespace and without; the engine takes either.
    """
    named: dict[str, str | Secret] = {}
    for key, value in config.items():
        full = key if ":" in key else f"{_PROJECT}:{key}"
        if full in named:
            raise _file_error(file, f"has {show(full)} twice, once without {_PROJECT}:", "remove one of them")
        named[full] = _engine_form(value)
    return named


def _engine_form(value: Any) -> str | Secret:
    if _holds_secret(value):
        return SECRET
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=str)


def _holds_secret(value: Any) -> bool:
    """Says whether the engine would treat a value as secret: it is, or holds, `{secure: text}`."""
    if isinstance(value, dict):
        if set(value) == {"secure"} and isinstance(value["secure"], str):
            return True
        return any(_holds_secret(item) for item in value.values())
    return isinstance(value, list) and any(_holds_secret(item) for item in value)


def _file_error(file: str, reason: str, remedy: str) -> ConfigError:
    return ConfigError(file, [Problem("", None, reason, remedy)])


def _yaml_error(file: str, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return _file_error(file, f"is not valid YAML{where}: {what}", "correct that line")
