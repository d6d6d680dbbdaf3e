"""Kill -9 at sixty points: what is there is complete or has no manifest, and the next run goes on from it."""

import json
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest
from checkpoint import t5_shards
from fake_gcs import FakeGcs
from t5_files import CONFIG, t5_blobs

HEADERS = 64 * 1024  # bytes that even a finished weights file is asked for: its header says what to plan
MANIFEST = "manifest.json"
WHOLE = CONFIG | {"vocab_size": 16_000, "d_model": 256, "num_layers": 1}  # of 17 MB, as the shards are


@dataclass
class BucketPlace:
    """A prefix of the bucket as a target."""

    gcs: FakeGcs
    prefix: str

    @property
    def address(self) -> str:
        return f"gs://models/{self.prefix}"

    def contents(self) -> dict[str, bytes]:
        found = self.gcs.objects.items()
        return {
            name.removeprefix(self.prefix + "/"): stored.content
            for name, stored in found
            if name.startswith(self.prefix + "/")
        }

    def finished(self) -> set[str]:
        """Objects that carry their sha256: that is how a later run knows them."""
        return {
            name for name in self.contents() if "sha256" in self.gcs.objects[f"{self.prefix}/{name}"].metadata
        }

    def uploaded(self) -> set[str]:
        """Files whose upload was begun since the log was cleared."""
        begun = self.gcs.requests("POST", "uploadType=resumable")
        return {name for name in self.contents() if any(f"%2F{name}&" in path for path in begun)}

    def litter(self) -> set[str]:
        return {name for name in self.gcs.objects if not name.startswith(self.prefix + "/")}

    def clear(self) -> None:
        self.gcs.objects.clear()


@dataclass
class FolderPlace:
    """A folder as a target."""

    folder: Path

    @property
    def address(self) -> str:
        return str(self.folder)

    def _files(self) -> Iterator[Path]:
        return (path for path in self.folder.rglob("*") if path.is_file())

    def contents(self) -> dict[str, bytes]:
        """All files under their final names."""
        return {path.name: path.read_bytes() for path in self._files() if ".weights" not in path.parts}

    def finished(self) -> set[str]:
        """Files with a note beside: that is how a later run knows them."""
        return {name for name in self.contents() if (self.folder / ".weights" / f"{name}.done").exists()}

    def uploaded(self) -> set[str]:
        return set()

    def litter(self) -> set[str]:
        found = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        return found - self.contents().keys()

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Trap:
    """Kills a process at the so-many-th event that the servers see, or some seconds after it."""

    at: int
    delay: float
    process: Popen[str] | None = None
    seen: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tick(self, _name: str = "") -> None:
        with self.lock:
            self.seen += 1
            if self.seen != self.at or self.process is None:
                return
        if self.delay:
            threading.Timer(self.delay, self.process.kill).start()
        else:
            self.process.kill()


@dataclass
class Run:
    """Starts the program with a trap and says how it ended."""

    hub: object
    gcs: FakeGcs
    program: object
    changes: dict[str, str]

    def __call__(self, trap: Trap) -> int:
        self.gcs.log.clear()
        self.hub.given.clear()
        trap.process = self.program.start(**self.changes)
        # An object that is complete while its answer is still to come is a point of its own.
        self.hub.watch = self.gcs.watch = self.gcs.after_completion = trap.tick
        _, err = trap.process.communicate(timeout=60)
        self.hub.watch = self.gcs.watch = self.gcs.after_completion = lambda _name="": None
        assert trap.process.returncode in (0, -9), err
        return trap.process.returncode


def without_time(contents: dict[str, bytes]) -> dict[str, object]:
    """Contents to compare: two runs differ only in when the manifest was written."""
    found: dict[str, object] = dict(contents)
    if MANIFEST in contents:
        found[MANIFEST] = json.loads(contents[MANIFEST]) | {"created": ""}
    return found


@pytest.mark.parametrize(
    ("kind", "form", "dtype", "kills"),
    [
        ("bucket", "safetensors", "float32", 12),
        ("bucket", "safetensors", "float16", 10),
        ("bucket", "torch-state-dict", "float16", 10),
        ("folder", "safetensors", "float32", 6),
        ("folder", "safetensors", "bfloat16", 6),
        ("folder", "torch-state-dict", "float16", 6),
        ("bucket", "ctranslate2", "int8", 6),
        ("folder", "ctranslate2", "float32", 6),
    ],
)
def test_a_run_killed_anywhere_leaves_nothing_half_and_the_next_one_goes_on(
    hub, gcs, program, tmp_path, kind, form, dtype, kills
):
    hub.blobs = t5_blobs(WHOLE) if form == "ctranslate2" else t5_shards()
    place = BucketPlace(gcs, "models/t5") if kind == "bucket" else FolderPlace(tmp_path / "t5")
    run = Run(hub, gcs, program, {"format": form, "dtype": dtype, "target": place.address})
    count = Trap(at=0, delay=0)
    assert run(count) == 0
    reference = without_time(place.contents())
    assert MANIFEST in reference
    place.clear()

    chance = random.Random(f"{kind} {form} {dtype}")
    killed = runs = 0
    while killed < kills:
        runs += 1
        assert runs <= 5 * kills, "the runs end before they are killed"
        before = place.finished()
        code = run(Trap(chance.randint(1, count.seen), chance.choice([0, 0, chance.uniform(0, 0.05)])))
        killed += code == -9
        now = without_time(place.contents())
        assert now == reference if MANIFEST in now else now.items() <= reference.items()
        assert code != 0 or MANIFEST in now
        assert not before & place.uploaded()
        assert all(hub.given[name] < HEADERS for name in before if name.endswith(".safetensors"))
        if MANIFEST in now:
            place.clear()
    assert run(Trap(at=0, delay=0)) == 0
    assert without_time(place.contents()) == reference
    assert not place.litter()
