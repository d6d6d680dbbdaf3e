"""`llmstack weights`: what the weights image does, on a person's own machine.

The image's own code runs, in the image's own environment, and in place of this process: arguments, signals,
terminal and exit code are its own.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import typer

from llmstack.output import errors, fail
from llmstack.project import find_root

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For typer: every argument is the image's, `--help` too."""
_IMAGE = Path("images") / "weights"


def weights(context: typer.Context) -> None:
    """Stage, convert, verify or list models by hand, in gs://… or a folder (llmstack weights --help)."""
    root = find_root()
    python = root / _IMAGE / ".venv" / "bin" / "python"
    if not python.exists():
        _install(root)
    if not python.exists():
        fail(f"{python} is still missing; run scripts/install-images weights and look at what it says")
    # -P: a folder that the person is in, and that holds a weights.py or a weights/, is not the image's code.
    os.execv(python, [str(python), "-P", "-m", "weights", *context.args])  # noqa: S606 - no shell is meant


def _install(root: Path) -> None:
    """Make the environment of the image's code; what is said goes to standard error.

    Raises:
        typer.Exit: it cannot be made.
    """
    errors.print("images/weights is not installed yet: scripts/install-images weights", markup=False)
    script = root / "scripts" / "install-images"
    # Its output is no part of what the command prints.
    if subprocess.run([str(script), "weights"], stdout=2, check=False).returncode != 0:
        fail("images/weights cannot be installed: see the message above")
