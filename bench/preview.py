"""The program's own CPU and wall in a preview, against the same resources written flat in one file.

Both programs register the same number of resources with the real engine on the rehearsed cloud. Runs are
interleaved; the figures are medians.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from rehearsal.driver import Rehearsal
from stacks.config import from_stack_file
from stacks.plan import build_plan

ROOT = Path(__file__).parents[1]
STACK = "bench"
ROUNDS = 10
GROWTH = (1, 10, 100)
GROWTH_ROUNDS = 3
PROGRAMS = {"ours": ROOT / "__main__.py", "flat": ROOT / "bench/flat/__main__.py"}


def run() -> dict[str, Any]:
    """Measure one deployment ten times, then how the cost grows with the number of deployments."""
    with tempfile.TemporaryDirectory() as scratch:
        one = _compare(Path(scratch) / "one", 1, ROUNDS)
        growth = {str(n): _compare(Path(scratch) / f"n{n}", n, GROWTH_ROUNDS) for n in GROWTH}
    slopes = {key: _slope(growth, key) for key in ("cpu", "wall")}
    return {"one_deployment": one, "by_deployments": growth, "seconds_per_deployment": slopes}


def _slope(growth: dict[str, Any], key: str) -> dict[str, float]:
    """Seconds that each further deployment costs ours, between 1 and 10 and between 10 and 100."""
    seconds = {int(n): found["ours"][key] for n, found in growth.items()}
    return {
        f"{low} to {high}": round((seconds[high] - seconds[low]) / (high - low), 4)
        for low, high in itertools.pairwise(GROWTH)
    }


def _compare(folder: Path, deployments: int, rounds: int) -> dict[str, Any]:
    project = _project(folder, deployments)
    rehearsal = Rehearsal(project, STACK)
    rehearsal.prepare()
    try:
        rehearsal.ensure_stack()
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
        counts = {name: _preview(rehearsal, name, deployments)["resources"] for name in PROGRAMS}
        for _ in range(rounds):
            for name in PROGRAMS:
                samples[name].append(_preview(rehearsal, name, deployments))
    finally:
        rehearsal.down()
    medians = {
        name: {key: round(statistics.median(s[key] for s in found), 3) for key in ("cpu", "wall")}
        for name, found in samples.items()
    }
    ratios = {key: round(medians["ours"][key] / medians["flat"][key], 3) for key in ("cpu", "wall")}
    return {"rounds": rounds, "resources": counts, **medians, "ratio": ratios}


def _project(folder: Path, deployments: int) -> Path:
    """A checkout of links, whose program notes what it costs."""
    folder.mkdir()
    for name in ("images", "stacks", "providers", "rehearsal", ".venv", ".engine"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "__main__.py").write_text(
        f"import runpy\n\nrunpy.run_path({str(ROOT / 'bench/measured.py')!r})\n"
    )
    (folder / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))
    model = {"topology": "cloud-run", "model": "google/flan-t5-small"}
    config = {
        "gcp:project": "llm-bench",
        "gcp:region": "us-central1",
        "llm:environment": "local",
        "llm:deployments": {f"d{n:03d}": model for n in range(deployments)},
    }
    (folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
    return folder


def _preview(rehearsal: Rehearsal, program: str, deployments: int) -> dict[str, float]:
    out = rehearsal.folder / "cost.json"
    plan = build_plan(from_stack_file(rehearsal.root / f"Pulumi.{STACK}.yaml"))
    environment = {
        **os.environ,
        **rehearsal.environment(),
        "BENCH_OUT": str(out),
        "BENCH_PROGRAM": str(PROGRAMS[program]),
        "BENCH_ROOT": str(ROOT),
        "BENCH_DEPLOYMENTS": str(deployments),
        "BENCH_APIS": ",".join(plan.foundation.apis),
    }
    # Whoever starts this decides about bytecode; both programs must find it warm.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        ["pulumi", "preview", "--json", "--non-interactive", "--stack", STACK],
        cwd=rehearsal.workdir,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the preview of {program} failed:\n{done.stdout}\n{done.stderr}")
    steps = json.loads(done.stdout)["steps"]
    kept = [s for s in steps if not s["urn"].split("::")[2].split("$")[-1].startswith(("llm:", "pulumi:"))]
    cost: dict[str, float] = json.loads(out.read_text(encoding="utf-8"))
    return {**cost, "resources": len(kept)}
