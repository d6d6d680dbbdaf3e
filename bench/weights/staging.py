"""Staging a checkpoint against the original's way and against plain copies of the same bytes.

Two checkpoints of real model classes are made on the spot and put on a Hub on loopback; the target is
fake-gcs-server. All contenders take turns in one run. Ours run in a memory group with a hard limit;
bench/README.md says what is measured and how.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.weights.contenders import CLIENT_PYTHON, CONTENDERS, SERVE_PYTHON, Contender, environment, job
from bench.weights.measure import MIB, Usage, measure
from bench.weights.report import summarise, table
from bench.weights.servers import ROOT, STORE, Servers

LIMIT = 256 * MIB
REVISION = "0" * 40
GIB = 1024**3
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Size:
    """One checkpoint to measure.

    Attributes:
        repository: Its name on the Hub.
        architecture: As in the catalog.
        shard_bytes: Bytes of a file at most; None for a single file.
        rounds: How often each contender runs.
        disk_gib: What all of it takes on the disk at once.
    """

    repository: str
    architecture: dict[str, Any]
    shard_bytes: int | None
    rounds: int
    disk_gib: int


SIZES = {
    # google/flan-t5-base, which the catalog has: 0.99 GB.
    "1 GB": Size(
        "bench/flan-t5-base",
        {"kind": "t5-gated", "dModel": 768, "dFf": 2048, "encoderLayers": 12, "decoderLayers": 12,
         "heads": 12, "kvHeads": 12, "headDim": 64, "vocab": 32128, "tiedEmbeddings": False},
        None, 3, 6,
    ),
    # TinyLlama-1.1B's shape with 46 layers instead of 22: 8.6 GB.
    "8 GB": Size(
        "bench/llama-2b",
        {"kind": "llama", "dModel": 2048, "dFf": 5632, "decoderLayers": 46, "heads": 32, "kvHeads": 4,
         "headDim": 64, "vocab": 32000, "positions": 2048, "tiedEmbeddings": False},
        10**9, 1, 36,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Places:
    """The folders of one run.

    Attributes:
        source: The checkpoint.
        folder: For the contender's files and its log.
        store: For the store's objects and unfinished uploads.
    """

    source: Path
    folder: Path
    store: Path


def run(quick: bool = False) -> dict[str, Any]:
    """Measure both checkpoints, with `quick` the small one alone; prints a table for each."""
    _check_programs()
    results = {}
    for name, size in SIZES.items():
        if quick and name != "1 GB":
            continue
        with tempfile.TemporaryDirectory(prefix="bench-weights-") as scratch:
            results[name] = _measure_size(Path(scratch), size)
        print(table(name, results[name]), flush=True)
    return {"machine": _machine(), "limit_mib": LIMIT / MIB, "sizes": results}


def _check_programs() -> None:
    for program in (SERVE_PYTHON, CLIENT_PYTHON, STORE):
        if not program.exists():
            raise SystemExit(
                f"{program} is missing: run `scripts/install-images all` and `scripts/install-bench`"
            )


def _measure_size(scratch: Path, size: Size) -> dict[str, Any]:
    free = shutil.disk_usage(scratch).free / GIB
    if free < size.disk_gib:
        raise SystemExit(
            f"{size.repository} needs {size.disk_gib} GiB of disk, {scratch.parent} has {free:.0f}: "
            "make room, or set TMPDIR to a larger disk, or measure the small one alone (--quick)"
        )
    source = _make_checkpoint(scratch / "hub", size)
    given = sum(path.stat().st_size for path in source.iterdir())
    place = _place_for_store(scratch, given)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    checks: dict[str, Any] = {}
    for _ in range(size.rounds):
        for name, contender in CONTENDERS.items():
            if runs[name] and runs[name][-1]["exit_code"]:
                continue  # it would fail again
            with (
                tempfile.TemporaryDirectory(prefix="run-", dir=scratch) as folder,
                tempfile.TemporaryDirectory(prefix="bench-weights-store-", dir=place) as store,
            ):
                places = Places(source, Path(folder), Path(store))
                found, check = _run(places, size, name, contender, name not in checks)
            runs[name].append(found)
            if check is not None:
                checks[name] = check
            print(f"{size.repository}: {name}: {_in_short(found)}", flush=True)
    return {
        "repository": size.repository,
        "store_in_memory": place == MEMORY,
        "bytes": given,
        "files": len(list(source.glob("*.safetensors"))),
        "contenders": {name: contender.meaning for name, contender in CONTENDERS.items()},
        "checked_with_google_cloud_storage": checks,
        **summarise(runs, given),
        "runs": runs,
    }


def _in_short(found: dict[str, Any]) -> str:
    """One line on a run, for whoever watches and for a run that is cut off."""
    return (
        f"{found['seconds']} s, {found['cpu_seconds']} s of CPU, {found['anonymous_mib']} MiB anonymous, "
        f"limit {found['limit_mib']} MiB, killed {found['killed']}, exit code {found['exit_code']}"
    )


def _make_checkpoint(hub: Path, size: Size) -> Path:
    folder = hub / size.repository / REVISION
    command = [str(SERVE_PYTHON), "-m", "bench.weights.make_checkpoint", "--folder", str(folder)]
    command += ["--architecture", json.dumps(size.architecture)]
    command += ["--shard-bytes", str(size.shard_bytes)] if size.shard_bytes else []
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    return folder


def _place_for_store(scratch: Path, given: int) -> Path:
    """Where the store keeps objects: in memory if a run fits there, lest the disk is what is measured."""
    if MEMORY.is_dir():
        free = min(psutil.virtual_memory().available, shutil.disk_usage(MEMORY).free)
        if (
            free > 2 * given + 6 * GIB
        ):  # the checkpoint in the page cache, its copy, and the store's own buffers
            return MEMORY
    return scratch


def _run(
    places: Places, size: Size, name: str, contender: Contender, check: bool
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """One run of one contender between servers of its own; what it cost, and what the check said."""
    work = places.folder / "work"
    work.mkdir()
    todo = job(size.repository, REVISION, work, name.replace(" ", "-"))
    with Servers(places.source.parents[2], places.store) as servers:
        given = environment(servers.hub, servers.storage, work)
        _even_out(places.source, servers, size)
        before = servers.sent_by_hub()
        load = os.getloadavg()[0]  # of the minute before: others on the machine show here
        limit = LIMIT if contender.limited else None
        log = places.folder / "log"
        usage = measure(name.replace(" ", "-"), contender.command(todo), given, log, limit)
        found = {
            **usage.plain(),
            "from_hub": servers.sent_by_hub() - before,
            "store": servers.store_counts(),
            "load": round(load, 1),
            **_last_line(usage),
        }
        if usage.exit_code:
            print(f"{name} failed, exit code {usage.exit_code}:\n{usage.output}", flush=True)
        wanted = check and not usage.exit_code
        checked = _check(todo.target, places.source, contender, given) if wanted else None
    return found, checked


def _even_out(source: Path, servers: Servers, size: Size) -> None:
    """The same start for all: nothing waits to be written, the checkpoint is in the page cache and hashed."""
    os.sync()
    for path in source.iterdir():
        with path.open("rb") as file:
            while file.read(8 * MIB):
                pass
    servers.warm(size.repository, REVISION)


def _last_line(usage: Usage) -> dict[str, Any]:
    """What a plain copy says about itself."""
    try:
        said = json.loads(usage.output.splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return {key: said[key] for key in ("sync_seconds",) if key in said}


def _check(target: str, source: Path, contender: Contender, given: dict[str, str]) -> dict[str, Any] | None:
    if contender.staged is None:
        return None
    command = [str(CLIENT_PYTHON), str(Path(__file__).parent / "check.py"), "--target", target]
    command += ["--source", str(source)] + (["--cast"] if contender.staged == "float16" else [])
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the staged model is not what it has to be:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processors": os.cpu_count(), "memory_gib": round(memory / GIB, 1), "kernel": os.uname().release}
