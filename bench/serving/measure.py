"""Serving, measured: throughput of an encoder-decoder model, continuous batching, cold start.

Models with random weights are made on the spot and staged by the weights image's code. All contestants are
processes of their own on loopback, on the same two cores; bench/README.md says what is measured and how.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from bench.serving import cold_start, continuous, tables, throughput
from bench.serving.contestants import SERVE_PYTHON, WEIGHTS_PYTHON
from bench.serving.servers import CORES, on_cores
from bench.serving.staged import Models

GIB = 1024**3
DISK_GIB = 6


def run(quick: bool = False) -> dict[str, Any]:
    """Measure all three parts and print a table of each."""
    _check()
    # Told to stop, the contestants have to be stopped too.
    before = signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder, _clients_elsewhere():
        models, scratch = Models(Path(folder) / "models"), Path(folder) / "runs"
        scratch.mkdir()
        results: dict[str, Any] = {"machine": _machine(), "gpu": _gpu()}
        results["throughput"] = throughput.measure(
            models, scratch, throughput.QUICK if quick else throughput.FULL
        )
        results["continuous"] = continuous.measure(
            models, scratch, continuous.QUICK if quick else continuous.FULL
        )
        results["cold_start"] = cold_start.measure(
            models, scratch, cold_start.QUICK if quick else cold_start.FULL
        )
    signal.signal(signal.SIGTERM, before)
    print(_text(results), flush=True)
    return results


def _text(results: dict[str, Any]) -> str:
    parts = ("throughput", "continuous", "cold_start")
    aims = [aim for part in parts for aim in results[part]["aims"]]
    said = (
        tables.throughput(results["throughput"]),
        tables.continuous(results["continuous"]),
        tables.cold_start(results["cold_start"]),
        tables.aims(aims),
        results["gpu"],
    )
    return "\n\n".join(said)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


def _check() -> None:
    for program in (SERVE_PYTHON, WEIGHTS_PYTHON):
        if not program.exists():
            raise SystemExit(f"{program} is missing: run `scripts/install-images all`")
    free = shutil.disk_usage(tempfile.gettempdir()).free / GIB
    if free < DISK_GIB:
        raise SystemExit(
            f"the models need {DISK_GIB} GiB of disk, {tempfile.gettempdir()} has {free:.0f}: "
            "make room, or set TMPDIR to a larger disk"
        )


@contextlib.contextmanager
def _clients_elsewhere() -> Iterator[None]:
    """The clients, threads of this process, run on the other cores, where there are others."""
    before = os.sched_getaffinity(0)
    with on_cores((before - CORES) or before):
        yield


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else os.uname().machine,
        "processors": os.cpu_count(),
        "cores_of_contestants": sorted(CORES),
        "clients_on_the_same_cores": not os.sched_getaffinity(0) - CORES,
        "memory_gib": round(memory / GIB, 1),
        "kernel": os.uname().release,
        "load_before": round(os.getloadavg()[0], 1),
    }


def _gpu() -> str:
    if shutil.which("nvidia-smi"):
        return "there is a GPU here, but this benchmark measures the CPU only: vLLM was not measured"
    return "there is no GPU here: vLLM was not measured, nor anything else on a GPU"
