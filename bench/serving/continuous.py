"""A decoder-only model: requests of mixed lengths arrive one by one, faster than they can be answered.

Ours, with continuous batching, over HTTP as streams, against static batches in one process without HTTP.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.serving import report
from bench.serving.contestants import SERVE_PYTHON, ours
from bench.serving.load import Arrival, Outcome, scheduled
from bench.serving.servers import CORES, StartError, on_cores
from bench.serving.staged import Models, run
from bench.serving.words import prompts

MODEL = "small-gpt2"
BATCH = 16
FEWEST_TOKENS, MOST_TOKENS = 8, 128
FASTEST = 20.0
"""Requests that arrive in a second, on average: more than two cores answer, so that somebody always waits."""
MODERATE_SHARE = 0.5
"""Of what was answered in a second: the load under which the time to the first token says something."""
OURS, STATIC = "ours transformers", f"static batch of {BATCH}"
THREADS = (2, 1)


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        requests: Of a round.
        rounds: For each contestant and number of threads.
        threads: Of one forward pass; the best number counts.
    """

    requests: int
    rounds: int
    threads: tuple[int, ...]


FULL = Extent(requests=72, rounds=2, threads=THREADS)
QUICK = Extent(requests=32, rounds=1, threads=THREADS[:1])


def arrivals(count: int, per_second: float, seed: int = 12) -> list[Arrival]:
    """A schedule of requests, the same in every run: prompts, lengths and gaps are drawn at random."""
    chooser = random.Random(seed)
    texts = prompts([chooser.randint(8, 64) for _ in range(count)], seed)
    found, at = [], 0.0
    for text in texts:
        found.append(Arrival(text, chooser.randint(FEWEST_TOKENS, MOST_TOKENS), round(at, 4)))
        at += chooser.expovariate(per_second)
    return found


def measure(models: Models, scratch: Path, extent: Extent) -> dict[str, Any]:
    """Measure both, each with each number of threads, in turn.

    Args:
        models: Of this run.
        scratch: For logs.
        extent: How much.
    """
    wanted = arrivals(extent.requests, FASTEST)
    lengths = [arrival.new_tokens for arrival in wanted]
    model = models.staged("safetensors-float32", MODEL)
    runs: dict[str, list[list[Outcome]]] = {}
    try:
        for number in range(extent.rounds):
            for threads in extent.threads:
                for name in report.rotated((OURS, STATIC), number):
                    work = _ours if name == OURS else _static
                    found = work(model, scratch, wanted, threads)
                    runs.setdefault(f"{name}, {_threads(threads)}", []).append(found)
                    print(f"{name}, {_threads(threads)}: {report.schedule(found, lengths)}", flush=True)
    except StartError as failure:
        return {"left_out": str(failure), "aims": report.continuous_aims(None, None)}
    figures = {
        name: report.merged([report.schedule(each, lengths) for each in rounds])
        for name, rounds in runs.items()
    }
    best = {kind: report.fastest(figures, kind) for kind in (OURS, STATIC)}
    references = [outcome.text or "" for outcome in runs[best[STATIC]][0]]
    same = [outcome for each in runs[best[OURS]] for outcome in each if outcome.text is not None]
    moderate = _moderate(model, scratch, best[OURS], figures[best[OURS]], extent)
    return {
        "batch": BATCH,
        "requests": extent.requests,
        "new_tokens": [FEWEST_TOKENS, MOST_TOKENS],
        "offered_tokens_per_second": round(sum(lengths) / wanted[-1].at, 1),
        "contestants": figures,
        "best": best,
        "agreement_with_static": report.agreement(same, references),
        "moderate_load": moderate,
        "aims": report.continuous_aims(figures[best[OURS]], figures[best[STATIC]]),
    }


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def _ours(model: Path, scratch: Path, wanted: Sequence[Arrival], threads: int) -> list[Outcome]:
    settings = {
        "ENGINE": "transformers",
        "DTYPE": "float32",
        "THREADS": str(threads),
        "MAX_NEW_TOKENS": str(MOST_TOKENS),
    }
    with ours(model, scratch, settings) as server:
        scheduled(server.address, "/generate", [Arrival(wanted[0].prompt, 4, 0.0)] * 2)
        return scheduled(server.address, "/generate", wanted)


def _static(model: Path, scratch: Path, wanted: Sequence[Arrival], threads: int) -> list[Outcome]:
    file = scratch / "requests.json"
    file.write_text(json.dumps([asdict(arrival) for arrival in wanted]))
    command = [str(SERVE_PYTHON), "-m", "bench.serving.static_batch", "--model", str(model)]
    command += ["--requests", str(file), "--batch", str(BATCH), "--threads", str(threads)]
    with on_cores(CORES):
        found = json.loads(run(command))
    return [
        Outcome(place, arrival.at, answer["ended"], answer["text"])
        for place, (arrival, answer) in enumerate(zip(wanted, found, strict=True))
    ]


def _moderate(
    model: Path, scratch: Path, best: str, fast: dict[str, Any], extent: Extent
) -> dict[str, Any] | None:
    """Ours once more, with half as many requests in a second as it can answer."""
    if not fast["tokens_per_second"]:
        return None
    mean = (FEWEST_TOKENS + MOST_TOKENS) / 2
    per_second = MODERATE_SHARE * fast["tokens_per_second"] / mean
    wanted = arrivals(extent.requests // 2, per_second, seed=13)
    threads = next(number for number in THREADS if best.endswith(_threads(number)))
    found = report.schedule(_ours(model, scratch, wanted, threads), [each.new_tokens for each in wanted])
    return {"requests_per_second": round(per_second, 2), **found}
