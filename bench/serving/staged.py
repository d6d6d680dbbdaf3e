"""Models of one run: made, and staged by the weights image's code, when first asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.serving.contestants import MODEL_NAME, ROOT, SERVE_PYTHON, WEIGHTS_PYTHON


class StagingError(Exception):
    """A format cannot be made; the text has the pipeline's own reason."""


class Models:
    """The models below one folder.

    Args:
        folder: Receives them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def source(self, name: str = MODEL_NAME) -> Path:
        """A model of `models.SHAPES`, laid out as on the Hub."""
        folder = self._folder / name / MODEL_NAME
        if not folder.exists():
            command = [str(SERVE_PYTHON), "-m", "bench.serving.models", "--name", name]
            folder.parent.mkdir(parents=True, exist_ok=True)
            run([*command, "--folder", str(folder)])
        return folder

    def staged(self, kind: str, name: str = MODEL_NAME) -> Path:
        """The same model in a format and element type, as FORMAT-DTYPE.

        Raises:
            StagingError: The pipeline refuses.
        """
        folder = self._folder / name / kind
        if not folder.exists():
            form, _, dtype = kind.rpartition("-")
            command = [str(WEIGHTS_PYTHON), "-m", "weights", "convert", "--source", str(self.source(name))]
            command += ["--target", str(folder), "--format", form, "--dtype", dtype]
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "images/weights/src")}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise StagingError(f"{kind} cannot be staged: {(done.stderr or done.stdout).strip()[-300:]}")
        return folder


def run(command: list[str]) -> str:
    """Run one of the benchmark's own programs; what it said on standard output.

    Raises:
        SystemExit: It failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:3])} failed:\n{done.stderr[-1500:]}")
    return done.stdout
