"""The images, built once for a run, and what stands around a container: a Hub and a bucket on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.docker.containers import Containers, answers, build

ROOT = Path(__file__).resolve().parents[2]
# The fakes that the weights image is tested with as a process serve it in a container too.
sys.path.append(str(ROOT / "images/weights/tests"))

from fake_gcs import FakeGcs  # noqa: E402
from fake_hub import FakeHub  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """`make test-docker` sees to an engine beforehand; a bare pytest goes on without these tests."""
    if not answers():
        pytest.skip("no Docker engine answers")


@pytest.fixture(scope="session")
def visibly(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[None]]:
    """Lets what is printed inside be seen at once: a build takes minutes, and silence looks like a hang."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    return capture.global_and_fixture_disabled if capture else nullcontext


@pytest.fixture(scope="session")
def base(visibly: Callable[[], AbstractContextManager[None]]) -> str:
    """The base image that a build on this machine can use."""
    with visibly():
        done = subprocess.run([ROOT / "scripts/base-image"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, "scripts/base-image failed, see above"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def image(base: str, visibly: Callable[[], AbstractContextManager[None]]) -> Callable[[str], str]:
    """Builds an image of the project by its name, at most once, and gives its tag."""
    built: dict[str, str] = {}

    def get(name: str) -> str:
        if name not in built:
            with visibly():
                print()
                built[name] = build(name, base)
        return built[name]

    return get


@pytest.fixture
def containers() -> Iterator[Containers]:
    """Starts containers, which end with the test."""
    started = Containers()
    yield started
    started.remove_all()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        yield fake


@pytest.fixture
def gcs() -> Iterator[FakeGcs]:
    with FakeGcs() as fake:
        yield fake
        fake.go_on.set()
