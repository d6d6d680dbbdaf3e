"""Copies of stack files: what a rehearsal works on instead of a real stack's own file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import yaml

from rehearsal.driver_errors import RehearsalError

SALT = "v1:a6N5YH1+fi8=:v1:oI93Fo+mJwXPsLU2:ubgOF2feBe0qkHsPtW4GzgKu7NfZZQ=="
"""The encryption salt of every rehearsed stack file, made by the engine for `rehearsal.driver.PASSPHRASE`."""
SENTINEL = {"secure": "v1:gfoaCnFUmRuA8EG6:h+9ockc64ZP8dRymxixBpFfK8iS6OdVQjei+XwUSRpc="}
"""Stands for every encrypted value, which a rehearsal neither can nor should decrypt: the words
`rehearsed-secret`, encrypted by the engine under `SALT`, so that what was a secret stays one."""
_FALLBACK_PROJECT = "rehearsal"
_ENCRYPTION = ("encryptionsalt", "secretsprovider", "encryptedkey")


def read_config(path: Path) -> dict[str, Any]:
    """The `config` block of a stack file.

    Raises:
        RehearsalError: the file is not YAML, or not a mapping.
    """
    config = _load(path).get("config") or {}
    if not isinstance(config, dict):
        raise RehearsalError(f"{path}: `config` must be a mapping")
    return config


def project_of(path: Path) -> str:
    """The Google project that a stack file names."""
    found = read_config(path).get("gcp:project")
    return found if isinstance(found, str) and found else _FALLBACK_PROJECT


def copy_project(root: Path, source: Path, folder: Path) -> Path:
    """Write a copy of the project file and of one stack file; returns the stack file's copy.

    A copy stays, with what a person changed in it, until the original changes.

    Args:
        root: the checkout, whose program and plug-ins the copy refers to.
        source: the stack file.
        folder: where the copies go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    project = _load(root / "Pulumi.yaml")
    _write(folder / "Pulumi.yaml", _moved(project, root))
    target = folder / source.name
    original = hashlib.sha256(source.read_bytes()).hexdigest()
    noted = folder / f".{source.name}.sha256"
    if not target.exists() or not noted.exists() or noted.read_text(encoding="utf-8") != original:
        _write(target, _without_secrets(_load(source)))
        noted.write_text(original, encoding="utf-8")
    return target


def _moved(project: dict[str, Any], root: Path) -> dict[str, Any]:
    """The project with its program, environment and plug-ins where they are in the checkout."""
    moved = {**project, "main": str((root / project.get("main", ".")).resolve())}
    runtime = project.get("runtime")
    if isinstance(runtime, dict) and "virtualenv" in (options := dict(runtime.get("options") or {})):
        # uv would look for the project's own files beside the copy; pip only needs the environment.
        options["toolchain"] = "pip"
        options["virtualenv"] = str(root / options["virtualenv"])
        moved["runtime"] = {**runtime, "options": options}
    plugins = {
        kind: [{**entry, "path": str((root / entry["path"]).resolve())} for entry in entries]
        for kind, entries in (project.get("plugins") or {}).items()
    }
    return {**moved, "plugins": plugins} if plugins else moved


def _without_secrets(stack: dict[str, Any]) -> dict[str, Any]:
    """The stack file with a sentinel for each encrypted value, under the rehearsal's own encryption."""
    plain = {key: _replaced(value) for key, value in stack.items() if key not in _ENCRYPTION}
    return {"encryptionsalt": SALT, **plain}


def _replaced(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            return dict(SENTINEL)
        return {key: _replaced(item) for key, item in value.items()}
    return [_replaced(item) for item in value] if isinstance(value, list) else value


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise RehearsalError(f"{path}: not valid YAML: {where}") from None
    if not isinstance(content, dict):
        raise RehearsalError(f"{path}: must be a mapping")
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    temporary.replace(path)
