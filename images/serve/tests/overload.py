"""More clients than the server holds, for as long as is wanted: what is answered, and in how much memory.

    uv run python tests/overload.py --model FOLDER --seconds 600 --clients 64

starts a server process with the staged model of FOLDER, overloads it and prints one JSON object: answers by
status, seconds for short and for long requests, and the memory that the server's process held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from test_process import server

SHORT_TOKENS = 4
LONG_TOKENS = 48
HANG_UPS = 0.1
"""Share of the requests whose client leaves before the answer is complete."""
SAMPLE_SECONDS = 0.5
WORDS = ("tell", "me", "a", "joke", "about", "the", "quick", "brown", "fox", "and", "models", "once")
MIB = 2**20


@dataclass
class Seen:
    """What the clients and the watcher of the process have seen."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"short": [], "long": []})
    memory: list[int] = field(default_factory=list)

    def report(self, seconds: float) -> dict[str, Any]:
        """Everything as one JSON object; seconds, requests, MiB."""
        third = max(1, len(self.memory) // 3)
        return {
            "seconds": round(seconds, 1),
            "answers": dict(self.statuses),
            "answered_per_second": round(self.statuses["200"] / seconds, 2),
            "latency_seconds": {name: _quantiles(values) for name, values in self.seconds.items()},
            "memory_mib": {
                "start": round(self.memory[0] / MIB, 1),
                "median": round(statistics.median(self.memory) / MIB, 1),
                "end": round(self.memory[-1] / MIB, 1),
                "most": round(max(self.memory) / MIB, 1),
                "median_of_second_third": round(statistics.median(self.memory[third : 2 * third]) / MIB, 1),
                "median_of_last_third": round(statistics.median(self.memory[-third:]) / MIB, 1),
            },
        }


async def overload(base_url: str, process_id: int, seconds: float, clients: int) -> dict[str, Any]:
    """Loads a server and reports what was seen.

    Args:
        base_url: of a server that is ready.
        process_id: whose memory is watched.
        seconds: how long.
        clients: how many at once; each asks again as soon as it is answered or refused.
    """
    seen, started = Seen(), time.monotonic()
    limits = httpx.Limits(max_connections=clients + 1)
    async with httpx.AsyncClient(base_url=base_url, limits=limits, timeout=120) as client:
        name = (await client.get("/v1/models")).json()["data"][0]["id"]
        end = started + seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(_watch(process_id, end, seen))
            for number in range(clients):
                group.create_task(_ask_again(client, name, random.Random(number), end, seen))
        taken = time.monotonic() - started
        await _until_idle(client)
    seen.memory.append(resident(process_id))
    return {"clients": clients, **seen.report(taken)}


def resident(process_id: int) -> int:
    """Bytes of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process_id}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def _watch(process_id: int, end: float, seen: Seen) -> None:
    while time.monotonic() < end:
        seen.memory.append(resident(process_id))
        await asyncio.sleep(SAMPLE_SECONDS)


async def _ask_again(
    client: httpx.AsyncClient, name: str, chooser: random.Random, end: float, seen: Seen
) -> None:
    while time.monotonic() < end:
        kind = chooser.choice(("short", "long"))
        words = chooser.choices(WORDS, k=3 if kind == "short" else 8)
        tokens = SHORT_TOKENS if kind == "short" else LONG_TOKENS
        body = {
            "model": name,
            "prompt": " ".join(words),
            "max_tokens": tokens,
            "temperature": chooser.choice((0, 1)),
            "stream": chooser.random() < 0.5,
        }
        patience = chooser.random() if chooser.random() < HANG_UPS else 120
        started = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                answer = await client.post("/v1/completions", json=body)
        except TimeoutError:
            seen.statuses["left"] += 1
            continue
        except httpx.TransportError as error:
            seen.statuses[type(error).__name__] += 1
            continue
        seen.statuses[str(answer.status_code)] += 1
        if answer.status_code == 200:
            seen.seconds[kind].append(time.monotonic() - started)
        else:
            # Not the whole of Retry-After: the point is to be too many.
            await asyncio.sleep(0.1 * chooser.random())


async def _until_idle(client: httpx.AsyncClient) -> None:
    while "llm_requests_held 0.0" not in (await client.get("/metrics")).text:
        await asyncio.sleep(0.1)


def _quantiles(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"count": len(values)}
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {"count": len(values), "p50": round(cuts[9], 3), "p95": round(cuts[18], 3)}


def main() -> None:
    """Starts a server, overloads it, prints the report; exit status 1 where a 5xx was answered."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--queue", type=int, default=16, help="MAX_QUEUE of the server")
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--model", type=Path, required=True, help="folder of a staged model")
    chosen = parser.parse_args()
    environment = os.environ | {
        "MODEL_PATH": str(chosen.model),
        "MODEL_NAME": "owner/overloaded",
        "HOST": "127.0.0.1",
        "ENGINE": chosen.engine,
        "DTYPE": "float32",
        "MAX_INPUT_TOKENS": "128",
        "MAX_NEW_TOKENS": str(LONG_TOKENS),
        "MAX_QUEUE": str(chosen.queue),
        "THREADS": "1",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        server(environment, Path(folder) / "log") as (process, client),
    ):
        report = asyncio.run(overload(str(client.base_url), process.pid, chosen.seconds, chosen.clients))
    json.dump(report, sys.stdout, indent=2)
    sys.exit(any(status.startswith("5") for status in report["answers"]))


if __name__ == "__main__":
    main()
