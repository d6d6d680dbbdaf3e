"""From a server's start to its first token over HTTP, for a checkpoint of 1 GB.

Against a process that reads the same bytes once and imports torch. Both take turns, with the files in the
page cache and, where this machine lets them be put out of it, without.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serving import report
from bench.serving.contestants import SERVE_PYTHON, Settings, ours
from bench.serving.load import first_token
from bench.serving.servers import CORES, Server, StartError, on_cores
from bench.serving.staged import Models, StagingError, run
from bench.serving.words import words

MODEL = "base-t5"
BASELINE = "read and import"
PROMPT = " ".join(words()[:8])
ENGINES = {
    "ours transformers": ("safetensors-float32", {"ENGINE": "transformers", "DTYPE": "float32"}),
    "ours ctranslate2": ("ctranslate2-float32", {"ENGINE": "ctranslate2", "DTYPE": "float32"}),
}
MIB = 1024 * 1024


@dataclass(frozen=True)
class Extent:
    """How often each is started, by state of the page cache."""

    warm: int
    cold: int


FULL = Extent(warm=5, cold=2)
QUICK = Extent(warm=2, cold=0)


def measure(models: Models, scratch: Path, extent: Extent) -> dict[str, Any]:
    """Start everybody in turn.

    Args:
        models: Of this run.
        scratch: For logs.
        extent: How often.
    """
    folders, left_out = {}, {}
    for name, (kind, _) in ENGINES.items():
        try:
            folders[name] = models.staged(kind, MODEL)
        except StagingError as failure:
            left_out[name] = str(failure)
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for state, rounds in {"warm": extent.warm, "cold": extent.cold}.items():
        for number in range(rounds):
            for name in report.rotated((BASELINE, *folders), number):
                if name in left_out:
                    continue
                _settle(state, folders)
                try:
                    found = _start(name, folders, scratch)
                except StartError as failure:
                    left_out[name] = str(failure)
                    continue
                runs.setdefault(state, {}).setdefault(name, []).append(found)
                print(f"cold start, page cache {state}: {name}: {found}", flush=True)
    medians = {
        state: {name: _median(each, "seconds") for name, each in found.items()}
        for state, found in runs.items()
    }
    return {
        "model": MODEL,
        "bytes": {
            name: sum(file.stat().st_size for file in _weights(folder)) for name, folder in folders.items()
        },
        "left_out": left_out,
        "median_seconds": medians,
        "breakdown": {
            state: {name: _breakdown(each) for name, each in found.items()} for state, found in runs.items()
        },
        "aims": report.cold_start_aims(medians, BASELINE),
        "runs": runs,
    }


def _start(name: str, folders: dict[str, Path], scratch: Path) -> dict[str, Any]:
    if name == BASELINE:
        return _baseline(folders["ours transformers"])
    settings = {**ENGINES[name][1], "THREADS": "2"}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return _ours(folders[name], Path(folder), settings)


def _baseline(folder: Path) -> dict[str, Any]:
    program = str(Path(__file__).parent / "start_baseline.py")
    command = [str(SERVE_PYTHON), program, *map(str, _weights(folder))]
    began = time.monotonic()
    with on_cores(CORES):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.monotonic() - began
    disk = disk_read(process.pid)
    if process.wait():
        raise SystemExit("torch cannot be imported in the serving image's environment; the reason is above")
    return {"seconds": round(seconds, 3), **json.loads(line), "disk_mib": disk}


def _ours(folder: Path, scratch: Path, settings: Settings) -> dict[str, Any]:
    with ours(folder, scratch, settings) as server:
        ready = time.monotonic() - server.started
        outcome = first_token(server.address, "/generate", PROMPT)
        if outcome.first is None:
            raise SystemExit(f"a server that was ready did not answer: {outcome.error or outcome.text!r}")
        # The request's own clock starts when the server is ready.
        seconds = ready + outcome.first - outcome.started
        return {
            "seconds": round(seconds, 3),
            "port_open": round(server.opened_seconds or 0.0, 3),
            "ready": round(ready, 3),
            **said(server),
            "disk_mib": disk_read(server.pid),
        }


def said(server: Server) -> dict[str, float]:
    """The seconds in the server's own log: from its application's start until loaded, and until ready."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return {
        f"log_{line['message']}": line["seconds"]
        for line in lines
        if line.get("message") in ("loaded", "ready") and "seconds" in line
    }


def _breakdown(found: list[dict[str, Any]]) -> dict[str, float | None]:
    """Medians of the parts."""
    if "port_open" not in found[0]:
        return {key: _median(found, key) for key in ("read", "import")}
    parts: dict[str, Callable[[dict[str, Any]], float]] = {
        "interpreter, imports of the HTTP side": lambda run: run["port_open"],
        "imports of the engine, loading": lambda run: run["log_loaded"],
        "first forward pass": lambda run: run["log_ready"] - run["log_loaded"],
        "first request": lambda run: run["seconds"] - run["ready"],
    }
    return {name: round(statistics.median(map(part, found)), 3) for name, part in parts.items()}


def _median(found: list[dict[str, Any]], key: str) -> float:
    return round(statistics.median(float(each[key]) for each in found), 3)


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))


def _settle(state: str, folders: dict[str, Path]) -> None:
    """The same start for all: nothing waits to be written; the files are in the page cache, or are not."""
    os.sync()
    if state == "cold":
        library = run(
            [str(SERVE_PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        ).strip()
        put_out([path for folder in (*folders.values(), Path(library)) for path in folder.rglob("*")])
        return
    for folder in folders.values():
        for path in _weights(folder):
            with path.open("rb", buffering=0) as file:
                while file.read(8 * MIB):
                    pass


def put_out(paths: Iterable[Path]) -> None:
    """Ask the kernel to take files out of the page cache; pages that a process has mapped stay."""
    for path in paths:
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_read(pid: int) -> float | None:
    """MiB that a process had fetched from a disk (proc_pid_io(5)): what the page cache did not have."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return None
    return round(int(dict(line.split(": ") for line in lines)["read_bytes"]) / MIB, 1)
