"""What a Dockerfile says about how its image is started.

Read for runs without a Docker engine, where no image exists to ask. Only the last stage counts; the entry
point and the command must be in exec form, since a shell form would need the image's shell.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.runner.types import StartError

_INITS = {"tini", "dumb-init"}


@dataclass(frozen=True, slots=True)
class Start:
    """How the image starts."""

    entrypoint: tuple[str, ...]
    """Without the init that stands before it in the image."""
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    """`ENV` of the last stage, without what names a path inside the image or refers to another variable."""


def read(dockerfile: Path) -> Start:
    """Read a Dockerfile.

    Raises:
        StartError: it is missing, or a start instruction is in shell form.
    """
    try:
        text = dockerfile.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StartError(f"{dockerfile}: the image has no Dockerfile") from None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    for word, rest in instructions(text):
        if word == "FROM":
            entrypoint, command, env = (), (), {}
        elif word == "ENTRYPOINT":
            # As in Docker: a new entry point resets the command.
            entrypoint, command = _exec_form(dockerfile, word, rest), ()
        elif word == "CMD":
            command = _exec_form(dockerfile, word, rest)
        elif word == "ENV":
            env.update(_variables(rest))
    if not entrypoint and not command:
        raise StartError(f"{dockerfile}: no ENTRYPOINT or CMD in the last stage")
    return Start(without_init(entrypoint), command, env)


def without_init(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command line behind `tini` or `dumb-init` and their options."""
    if not argv or Path(argv[0]).name not in _INITS:
        return argv
    rest = argv[1:]
    while rest and rest[0].startswith("-"):
        option, rest = rest[0], rest[1:]
        if option == "--":
            break
    return rest


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each as its word in capitals and the rest; lines are joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*\n", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        found.append((word.upper(), rest.strip()))
    return found


def _exec_form(dockerfile: Path, word: str, rest: str) -> tuple[str, ...]:
    try:
        parsed = json.loads(rest)
    except ValueError:
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(part, str) for part in parsed):
        raise StartError(
            f'{dockerfile}: {word} must be in exec form, for instance {word} ["python", "-m", "app"]'
        )
    return tuple(parsed)


def _variables(rest: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(rest)]
    return {
        name: value
        for name, equals, value in pairs
        if equals and "$" not in value and not value.startswith("/")
    }
