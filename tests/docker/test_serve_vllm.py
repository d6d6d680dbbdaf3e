"""The vLLM variant of the serving image, as far as it goes without its ten gigabytes: lock file and build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker.containers import ROOT, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
PROJECT = ROOT / "images/serve"


def resolve(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `uv sync` of the Dockerfile would do, without doing it."""
    command = [ROOT / "scripts/uv", "sync", "--dry-run", "--frozen", "--no-dev", "--no-install-project"]
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder / "venv")}
    return subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The two files that the Dockerfile copies before it installs."""
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def packages(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The versions that would be installed, by package."""
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^ \+ (\S+)==(\S+)$", done.stderr, re.MULTILINE))


def test_the_lock_file_gives_vllm_an_environment_of_its_own_with_cuda(project: Path) -> None:
    found = packages(resolve(project, "--extra", "vllm"))
    assert found["vllm"] == "0.32.0"
    assert found["torch"] != packages(resolve(project, "--extra", "transformers"))["torch"]
    assert "nvidia-cublas" in found
    assert {"ctranslate2", "pytest"}.isdisjoint(found)


def test_the_lock_file_gives_ctranslate2_nothing_of_pytorch(project: Path) -> None:
    found = packages(resolve(project, "--extra", "ctranslate2"))
    assert "ctranslate2" in found
    assert not [name for name in found if name.startswith(("torch", "triton", "nvidia"))]


def test_two_engines_do_not_fit_into_one_environment(project: Path) -> None:
    done = resolve(project, "--extra", "transformers", "--extra", "vllm")
    assert done.returncode != 0
    assert "incompatible" in done.stderr


def test_an_engine_that_does_not_exist_cannot_be_built(base: str) -> None:
    done = docker(
        "build", "--network", "host", "--build-arg", f"BASE={base}", "--build-arg", "ENGINE=gpu", str(PROJECT)
    )
    assert done.returncode != 0
    assert "Extra `gpu` is not defined" in done.stdout + done.stderr
