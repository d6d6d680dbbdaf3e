"""What the tests share: the two fakes, and the program as whoever starts the image starts it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from checkpoint import single
from fake_gcs import FakeGcs
from fake_hub import REVISION, FakeHub

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

PREFIX = f"models/acme--tiny/{REVISION}/safetensors-float32"


@dataclass(frozen=True)
class Program:
    """The command against the fakes."""

    environment: dict[str, str]

    def start(
        self, *, command: tuple[str, ...] = ("-m", "weights"), stdout: int = subprocess.PIPE, **changes: str
    ) -> subprocess.Popen[str]:
        """Start it; names in capitals change its environment, others its arguments."""
        environment = dict(self.environment)
        given = {
            "repo": "acme/tiny",
            "revision": REVISION,
            "target": f"gs://models/{PREFIX}",
            "format": "safetensors",
            "dtype": "float32",
        }
        for name, value in changes.items():
            (environment if name.isupper() else given)[name] = value
        flags = [part for name, value in given.items() for part in (f"--{name}", value)]
        return subprocess.Popen(
            [sys.executable, *command, "stage", *flags],
            env=environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(**changes)
        out, err = process.communicate(timeout=100)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        fake.blobs = single()
        yield fake
    assert fake.violations == []


@pytest.fixture
def gcs() -> Iterator[FakeGcs]:
    with FakeGcs() as fake:
        yield fake
        fake.go_on.set()
    assert fake.violations == []


@pytest.fixture
def program(hub: FakeHub, gcs: FakeGcs, tmp_path: Path) -> Program:
    return Program(
        {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "CLOUDSDK_CONFIG": str(tmp_path),
            "NO_GCE_CHECK": "true",
            "HF_ENDPOINT": hub.url,
            "STORAGE_EMULATOR_HOST": gcs.url,
            "WEIGHTS_RETRY_SECONDS": "30",
            "WEIGHTS_PERMISSION_SECONDS": "30",
        }
    )


@pytest.fixture
def staged(hub: FakeHub, gcs: FakeGcs) -> Callable[[], dict[str, bytes]]:
    """Gives the objects below the prefix, the manifest too."""
    return lambda: {
        name.removeprefix(PREFIX + "/"): stored.content
        for name, stored in gcs.objects.items()
        if name.startswith(PREFIX + "/")
    }
