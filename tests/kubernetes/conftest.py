"""A cluster for the whole tier, with a namespace of its own for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.modelops import polling
from rehearsal.cluster.programs import missing
from tests.engine.troubled_hub import TroubledHub
from tests.kubernetes.nodes import Plane, Scheduler
from tests.kubernetes.stage import Stage, Town

_NUMBERS = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tier; without a control plane there is nothing to run, and CI must not pass over that."""
    for item in items:
        if "tests/kubernetes" in str(item.path):
            item.add_marker(pytest.mark.kubernetes)
            if missing() and not os.environ.get("CI"):
                item.add_marker(pytest.mark.skip(reason="no control plane: run make kube-tools"))


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A rehearsed cloud with the weights image, a Hub, and a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSTACK_RUNNER", "process")
        hub = TroubledHub(tmp_path_factory.mktemp("hub"))
        town = Town(tmp_path_factory.mktemp("town") / "world", hub)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(town.folder / "adc.json"))
        patch.setenv("STORAGE_EMULATOR_HOST", town.cloud)
        yield town
        town.stop()
        hub.close()


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane whose nodes each test says."""
    plane = Plane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def scheduler(plane: Plane) -> Scheduler:
    """Where that one would put pods."""
    return Scheduler(plane)


@pytest.fixture
def stage(town: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A namespace in which pods have to keep the strictest standard, and who may deploy into it."""
    monkeypatch.setattr(polling, "LONGEST_PAUSE_SECONDS", 1.0)
    stage = Stage(town, f"llm-{next(_NUMBERS)}")
    yield stage
    town.hub.release()
    stage.clear()


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder of the project."""
    return Path(__file__).resolve().parents[2]
