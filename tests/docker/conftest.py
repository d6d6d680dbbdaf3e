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
from fake_hub import REVISION, Blob, FakeHub  # noqa: E402


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


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models as they lie on the Hub, one folder each: t5 and gpt2."""
    folder = tmp_path_factory.mktemp("repositories")
    python = ROOT / "images/serve/.venv/bin/python"
    maker = Path(__file__).with_name("tiny_models.py")
    done = subprocess.run([python, maker, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def stage(
    image: Callable[[str], str],
    containers: Containers,
    repositories: Path,
    hub: FakeHub,
    gcs: FakeGcs,
    tmp_path: Path,
) -> Callable[[str, str], Path]:
    """Lets the weights container stage a model in a format; gives the bucket, a folder that all can read."""

    def run(repository: str, form: str) -> Path:
        for path in (repositories / repository).iterdir():
            hub.blobs[path.name] = Blob(path.read_bytes(), large=path.suffix == ".safetensors")
        arguments = ["--repo", "acme/tiny", "--revision", REVISION, "--target", "gs://models/model"]
        arguments += ["--format", form, "--dtype", "float32"]
        environment = {"HF_ENDPOINT": hub.url, "STORAGE_EMULATOR_HOST": gcs.url, "NO_GCE_CHECK": "true"}
        job = containers.start(image("weights"), "stage", *arguments, environment=environment)
        assert job.wait() == 0, job.logs()
        bucket = tmp_path / "bucket"
        (bucket / "model").mkdir(parents=True)
        for name, stored in gcs.objects.items():
            (bucket / name).write_bytes(stored.content)
        return bucket

    return run
