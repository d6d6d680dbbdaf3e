"""What a Dockerfile and its context say about an image that could not be built, or could never start.

A build that fails, or a container that cannot start, is told before anything is built. What only might go
wrong, or comes from knowledge that nobody confirmed, is a warning.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from rehearsal.runner.dockerfile import instructions, without_init
from rehearsal.standins.docker_context import files

_DATA = Path(__file__).parent.parent / "data" / "base_images.yaml"
_STARTS = ("ENTRYPOINT", "CMD")
_REQUIREMENTS = re.compile(r"(?:-r|--requirement)[ =]?([^\s;&|]+)")


@dataclass(slots=True)
class Findings:
    """What is wrong with an image's Dockerfile: reasons to refuse it, and warnings."""

    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@cache
def _bases() -> Mapping[str, Any]:
    known: Mapping[str, Any] = yaml.safe_load(_DATA.read_text(encoding="utf-8"))
    return known


def check_image(context: Path, dockerfile: Path, build_args: Mapping[str, str]) -> Findings:
    """Reads a Dockerfile and what it copies.

    Args:
        context: The folder that is sent to the build.
        dockerfile: The Dockerfile.
        build_args: Values of its arguments; its own defaults hold for the others.
    """
    found = Findings()
    steps = instructions(dockerfile.read_text(encoding="utf-8", errors="replace"))
    bases = list(_from(steps, build_args))
    _check_bases(bases, found)
    _check_start(steps, bases[-1] if bases else "", found)
    _check_executable(steps, context, dockerfile, found)
    for word, rest in steps:
        if word == "RUN":
            _check_requirements(rest, context, dockerfile, found)
            if re.search(r"\bapt-key\b", rest):
                found.warnings.append(
                    "RUN apt-key: newer Debian releases do not have it: keep keys in a keyring"
                )
    return found


def _from(steps: list[tuple[str, str]], build_args: Mapping[str, str]) -> Iterator[str]:
    """The base images, arguments filled in, in the order of the stages; a stage's own name is none."""
    values: dict[str, str] = {}
    stages: set[str] = set()
    for word, rest in steps:
        if word == "ARG":
            name, _, default = rest.partition("=")
            values[name] = build_args.get(name, default.strip("\"'"))
        elif word == "FROM":
            words = [each for each in rest.split() if not each.startswith("--")]
            image = Template(words[0]).safe_substitute(values) if words else ""
            if image not in stages:
                yield image
            stages.update(words[2:3])


def _check_bases(bases: list[str], found: Findings) -> None:
    for image in dict.fromkeys(bases):
        tag = image.partition("@")[0].rpartition(":")[2]
        for word, release in _bases()["ended"].items():
            if word in re.split(r"[^a-z0-9]+", tag):
                found.warnings.append(
                    f"FROM {image}: {release} gets no security updates any more (not confirmed)"
                )


def _check_start(steps: list[tuple[str, str]], base: str, found: Findings) -> None:
    """An exec form is not read by a shell, so a variable in its first word is looked for as a file's name."""
    start = _last_stage(steps)
    for word in _STARTS:
        argv = _exec_form(start.get(word, ""))
        if not argv or "$" not in argv[0]:
            continue
        text = f"{word} {start[word]}: no variable is expanded in exec form: write the path out"
        runs = word == "ENTRYPOINT" or ("ENTRYPOINT" not in start and _is_plain(base))
        (found.failures if runs else found.warnings).append(text)


def _check_executable(steps: list[tuple[str, str]], context: Path, dockerfile: Path, found: Findings) -> None:
    """A script that the image starts, and that comes from the context without its executable bit."""
    if any("chmod" in rest for _, rest in steps):
        return
    start = _last_stage(steps)
    argv = without_init(_exec_form(start.get("ENTRYPOINT", ""))) or _exec_form(start.get("CMD", ""))
    for path in files(context, dockerfile) if argv and "/" in argv[0] else ():
        if path.name == Path(argv[0]).name and path.is_file() and not os.access(path, os.X_OK):
            found.warnings.append(f"{argv[0]}: {path.relative_to(context)} is not executable: chmod +x it")


def _check_requirements(command: str, context: Path, dockerfile: Path, found: Findings) -> None:
    """A requirements file that pip cannot read."""
    if not re.search(r"\bpip3?\b.*\binstall\b", command):
        return
    names = {Path(name).name for name in _REQUIREMENTS.findall(command)}
    for path in files(context, dockerfile) if names else ():
        if path.name in names and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            for number, line in enumerate(lines, 1):
                text = line.partition(" #")[0].partition(" --hash")[0].strip().rstrip("\\").strip()
                if text and not text.startswith(("#", "-")) and not _is_requirement(text):
                    found.failures.append(
                        f"{path.relative_to(context)}:{number}: pip cannot read '{text}': "
                        "write NAME==VERSION (one = is conda's way)"
                    )


def _is_requirement(text: str) -> bool:
    if re.match(r"([a-z+]+://|\.{0,2}/)", text):  # an address or a path
        return True
    try:
        Requirement(text)
    except InvalidRequirement:
        return False
    return True


def _last_stage(steps: list[tuple[str, str]]) -> dict[str, str]:
    start: dict[str, str] = {}
    for word, rest in steps:
        if word == "FROM":
            start = {}
        elif word in _STARTS:
            start[word] = rest
    return start


def _exec_form(rest: str) -> tuple[str, ...]:
    """The words of an exec form; none for a shell form."""
    try:
        words = json.loads(rest)
    except ValueError:
        return ()
    return tuple(map(str, words)) if isinstance(words, list) else ()


def _is_plain(image: str) -> bool:
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return name in _bases()["plain"]
