"""How to run the engine for a stack: in its rehearsal, or for real."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llmstack.project import stack_file
from rehearsal.driver import Rehearsal


@dataclass(frozen=True)
class EngineEnvironment:
    """Folder and variables in which `pulumi` works on one stack."""

    folder: Path
    variables: dict[str, str]
    rehearsed: bool


def engine_environment(root: Path, stack: str) -> EngineEnvironment:
    """Choose where `pulumi` commands about `stack` run.

    A stack whose environment is `local` exists only in the rehearsed cloud. Any other stack is meant for real
    unless the shell was set up for its rehearsal (`eval "$(llmstack env STACK)"`).
    """
    rehearsal = Rehearsal(root, stack)
    chosen = os.environ.get("LLMSTACK_REHEARSAL")
    if rehearsal.lives_here or (chosen is not None and Path(chosen) == rehearsal.folder):
        rehearsal.prepare()
        return EngineEnvironment(rehearsal.workdir, {**os.environ, **rehearsal.environment()}, True)
    stack_file(root, stack)
    path = f"{root / '.engine/bin'}{os.pathsep}{root / '.venv/bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return EngineEnvironment(root, {**os.environ, "PATH": path}, False)
