"""Fixtures of the engine tier: a Hub with tiny checkpoints, and stacks that clean up after themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.driver import Rehearsal
from tests.engine.background import end_engines
from tests.engine.checkpoints import fill_hub
from tests.engine.lab import CHECKOUT, STACK, Lab, make_project
from tests.engine.troubled_hub import TroubledHub

BASE = """
  gcp:project: llm-test
  gcp:region: us-central1
  llm:environment: local
  llm:deployments:
    assistant:
      topology: cloud-run
      model: google/flan-t5-small
"""

MakeLab = Callable[..., Lab]
MakeServed = Callable[[str], Lab]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tier; without an engine there is nothing to run, and CI must not pass over that."""
    engine = CHECKOUT / ".engine/bin/pulumi"
    for item in items:
        if "tests/engine" in str(item.path):
            item.add_marker(pytest.mark.engine)
            if not engine.exists() and not os.environ.get("CI"):
                item.add_marker(pytest.mark.skip(reason="no engine: run make setup"))


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a loopback Hub that has every model of the catalog, a few kilobytes each."""
    root = tmp_path_factory.mktemp("hub")
    fill_hub(root)
    port_file = root / "port"
    command = ["-m", "rehearsal.hub.server", "--root", str(root), "--port-file", str(port_file)]
    with_us = ["--exit-with-parent", str(os.getpid())]
    server = subprocess.Popen([sys.executable, *command, *with_us], cwd=CHECKOUT)
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert server.poll() is None, "the Hub ended"
            assert time.monotonic() < deadline, "the Hub does not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text().strip()}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def make_lab(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLab]:
    """Make stacks; whatever they started is stopped, and nothing may be left running."""
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    labs: list[Lab] = []

    def make(config: str = BASE, *, services: bool = False) -> Lab:
        lab = Lab(make_project(tmp_path / f"p{len(labs)}", config), services=services)
        labs.append(lab)
        return lab

    yield make
    assert_ended(labs)


@pytest.fixture
def make_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeServed]:
    """Make stacks whose containers run, as processes, with models that have learned to answer."""
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    labs: list[Lab] = []

    def make(config: str) -> Lab:
        root = make_project(tmp_path / f"s{len(labs)}", config)
        # The Hub's models are made once for a checkout, and asked for on loopback whatever network there is.
        models = CHECKOUT / ".rehearsal/hub"
        models.mkdir(parents=True, exist_ok=True)
        (root / ".rehearsal").mkdir()
        (root / ".rehearsal/hub").symlink_to(models)
        monkeypatch.delenv("HF_ENDPOINT", raising=False)
        rehearsal = Rehearsal(root, STACK)
        rehearsal.prepare()
        monkeypatch.setenv("HF_ENDPOINT", rehearsal.hub(real=False))
        labs.append(Lab(root, services=True))
        return labs[-1]

    yield make
    assert_ended(labs)


def assert_ended(labs: list[Lab]) -> None:
    """Stop whatever stacks have started; nothing may be left running."""
    for lab in labs:
        end_engines(lab)
        lab.rehearsal.down()
        running = [left for left in lab.rehearsal.leftovers() if left.startswith("process")]
        assert running == []


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[TroubledHub]:
    """A Hub that can be made slow or wrong."""
    hub = TroubledHub(tmp_path / "troubled-hub")
    yield hub
    hub.close()


@pytest.fixture
def lab(troubled: TroubledHub, make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A stack whose jobs read the troubled Hub."""
    monkeypatch.setenv("HF_ENDPOINT", troubled.address)
    return make_lab()
