"""Ways to bring a checkpoint from the Hub to where it is served from: ours, the original's, plain copies."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.weights.servers import BUCKET, ROOT

HERE = Path(__file__).parent
WEIGHTS_PYTHON = ROOT / "images/weights/.venv/bin/python"
SERVE_PYTHON = ROOT / "images/serve/.venv/bin/python"
CLIENT_PYTHON = HERE / ".venv/bin/python"


@dataclass(frozen=True)
class Job:
    """What one run is about.

    Attributes:
        repository: OWNER/NAME on the Hub.
        revision: Commit.
        folder: Empty folder on a disk.
        target: `gs://BUCKET/PREFIX`, empty.
    """

    repository: str
    revision: str
    folder: Path
    target: str

    @property
    def named(self) -> list[str]:
        """The arguments that name the model."""
        return ["--repo", self.repository, "--revision", self.revision]


@dataclass(frozen=True)
class Contender:
    """One way.

    Attributes:
        meaning: One line for the report.
        command: Makes the command.
        limited: Whether it runs under the hard limit.
        staged: `float32` or `float16`, if a staged model is in the bucket afterwards, to be checked.
    """

    meaning: str
    command: Callable[[Job], list[str]]
    limited: bool = False
    staged: str | None = None


def job(repository: str, revision: str, folder: Path, name: str) -> Job:
    """A run's places, in the bucket below a prefix of its own."""
    return Job(repository, revision, folder, f"gs://{BUCKET}/{name}/model")


def environment(hub: str, storage: str, folder: Path) -> dict[str, str]:
    """The variables of every contender: the two addresses, no credentials, caches in the run's folder.

    `MALLOC_ARENA_MAX` is what the weights image sets.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_HOME": str(folder / "cache"),
        "HF_ENDPOINT": hub,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "STORAGE_EMULATOR_HOST": storage,
        "MALLOC_ARENA_MAX": "2",
        "NO_GCE_CHECK": "true",
    }


def _stage(dtype: str, target: Callable[[Job], str]) -> Callable[[Job], list[str]]:
    return lambda job: [
        str(WEIGHTS_PYTHON), "-m", "weights", "stage", *job.named,
        "--target", target(job), "--format", "safetensors", "--dtype", dtype,
    ]  # fmt: skip


def _plain(what: str, *more: str) -> Callable[[Job], list[str]]:
    return lambda job: [
        str(CLIENT_PYTHON), str(HERE / "plain.py"), what, *job.named,
        "--folder", str(job.folder / "copy"), "--target", job.target, *more,
    ]  # fmt: skip


def _original(job: Job) -> list[str]:
    convert = [str(SERVE_PYTHON), str(HERE / "original.py"), *job.named, "--folder", str(job.folder)]
    upload = [str(CLIENT_PYTHON), str(HERE / "plain.py"), "upload",
              "--folder", str(job.folder / "model.pt"), "--target", job.target]  # fmt: skip
    return _both(convert, upload)


def _both(first: list[str], second: list[str]) -> list[str]:
    return ["sh", "-c", f"{shlex.join(first)} && {shlex.join(second)}"]


CONTENDERS = {
    "stage copy": Contender(
        "ours: Hub to bucket, float32 as it is", _stage("float32", lambda job: job.target), True, "float32"
    ),
    "plain download and upload": Contender(
        "ranged download to a disk, then Google's client",
        lambda job: _both(_plain("download")(job), _plain("upload")(job)),
    ),
    "stage cast": Contender(
        "ours: Hub to bucket, cast to float16", _stage("float16", lambda job: job.target), True, "float16"
    ),
    "plain relay": Contender("ranged download straight into Google's client", _plain("relay")),
    "stage to folder": Contender(
        "ours: Hub to a disk, float32 as it is",
        _stage("float32", lambda job: str(job.folder / "model")),
        True,
    ),
    "plain download": Contender("ranged download to a disk", _plain("download", "--sync")),
    "original": Contender(
        "snapshot_download, from_pretrained(float32), half(), torch.save, then Google's client", _original
    ),
}
