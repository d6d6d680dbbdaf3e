"""The Hub that staging jobs read: the real one, or one on loopback with small models made on the spot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
from pydantic import ValidationError

from rehearsal.detached import CHECKOUT, locked, start_detached
from rehearsal.driver_errors import RehearsalError
from rehearsal.driver_processes import kill
from rehearsal.driver_stack import read_config
from rehearsal.runner.process import same_process
from rehearsal.runner.types import tail
from rehearsal.world import World
from stacks.plan.catalog import catalog
from stacks.plan.spec import ModelSpec

REAL = "https://huggingface.co"
SETTING = "hub_endpoint"
"""The world's setting that workloads get as HF_ENDPOINT; empty for the real Hub."""
PROBE_SECONDS = 3.0
_PROBE = "/api/models/gpt2"
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
EVERYDAY = ("google/flan-t5-small", "google/flan-t5-base", "google/flan-t5-large", "gpt2")
"""Models of the catalog that the loopback Hub always has; others it has where a stack names them."""


def choose(root: Path, folder: Path, real: bool | None, stack_file: Path) -> str:
    """Make a Hub ready and note its address in the world.

    Args:
        root: the checkout.
        folder: the rehearsal's folder.
        real: whether to use the real Hub; None: if it answers.
        stack_file: names the models that the loopback Hub has to have.

    Raises:
        RehearsalError: the loopback Hub's models cannot be made, or it does not start.
    """
    given = os.environ.get("HF_ENDPOINT")
    world = World(folder)
    try:
        if given:
            world.set_setting(SETTING, given)
            return given
        if real or (real is None and answers()):
            world.set_setting(SETTING, "")
            stop(folder)
            return REAL
        endpoint = _loopback(root, folder, stack_file)
        world.set_setting(SETTING, endpoint)
        return endpoint
    finally:
        world.close()


def answers() -> bool:
    """Whether the real Hub does; a page of some other gateway in between does not count."""
    try:
        response = httpx.get(f"{REAL}{_PROBE}", timeout=PROBE_SECONDS, follow_redirects=True)
        return response.is_success and "sha" in response.json()
    except (httpx.HTTPError, ValueError):
        return False


def stop(folder: Path) -> None:
    """Stop the rehearsal's loopback Hub if it runs."""
    found = _running(folder)
    if found is not None:
        kill(found[0])
    (folder / "hub.json").unlink(missing_ok=True)


def _loopback(root: Path, folder: Path, stack_file: Path) -> str:
    models = root / ".rehearsal" / "hub"
    models.mkdir(parents=True, exist_ok=True)
    _make_models(root, models, _entries(stack_file))
    found = _running(folder)
    port = found[1] if found is not None else _start(folder, models)
    return f"http://127.0.0.1:{port}"


def _make_models(root: Path, models: Path, entries: list[dict[str, object]]) -> None:
    """Make the models that are missing, with the serving image's own libraries."""
    python = root / "images" / "serve" / ".venv" / "bin" / "python"
    if not python.exists():
        raise RehearsalError(f"{python} is missing: run `make images` to install what the images run with")
    wanted = models / "catalog.json"
    # Two rehearsals share the models.
    with locked(models / "lock"):
        wanted.write_text(json.dumps(entries))
        done = subprocess.run(
            [str(python), "-m", "rehearsal.hub.make_models", "--root", str(models), "--catalog", str(wanted)],
            cwd=CHECKOUT,
            stdout=sys.stderr,
            check=False,
        )
    if done.returncode != 0:
        raise RehearsalError(f"the loopback Hub's models cannot be made in {models}: see the message above")


def _entries(stack_file: Path) -> list[dict[str, object]]:
    """The everyday models, and those that a stack's deployments name or describe.

    What is wrong in the stack file is left to those who check it.
    """
    wanted = [catalog()[name] for name in EVERYDAY]
    deployments = read_config(stack_file).get("llm:deployments")
    for deployment in deployments.values() if isinstance(deployments, dict) else ():
        model = _model(deployment) if isinstance(deployment, dict) else None
        if model is not None and model.revision:
            wanted.append(model)
    return [
        {
            "repository": model.repository,
            "revision": model.revision,
            "architecture": model.architecture.kind,
            "dtype": model.checkpoint_dtype,
            "gated": model.gated,
        }
        for model in wanted
    ]


def _model(deployment: dict[str, object]) -> ModelSpec | None:
    named = deployment.get("model")
    try:
        model = catalog().get(named) if isinstance(named, str) else ModelSpec.model_validate(named)
    except ValidationError:
        return None
    revision = deployment.get("revision")
    return model.model_copy(update={"revision": revision}) if model and isinstance(revision, str) else model


def _start(folder: Path, models: Path) -> int:
    port_file, log = folder / "hub.port", folder / "hub.log"
    port_file.unlink(missing_ok=True)
    process = start_detached(
        folder, log, "rehearsal.hub.server", "--root", str(models), "--port-file", str(port_file)
    )
    deadline = time.monotonic() + _START_SECONDS
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RehearsalError(f"the loopback Hub does not start: {' | '.join(tail(log, 3))}")
        time.sleep(_POLL_SECONDS)
    port = int(port_file.read_text(encoding="utf-8"))
    state = {"port": port, "pid": process.pid, "started": psutil.Process(process.pid).create_time()}
    (folder / "hub.json").write_text(json.dumps(state), encoding="utf-8")
    return port


def _running(folder: Path) -> tuple[psutil.Process, int] | None:
    """The Hub's process and port."""
    try:
        state = json.loads((folder / "hub.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    process = same_process(state["pid"], state["started"])
    return None if process is None else (process, int(state["port"]))
