"""The same encoder-decoder model, the same requests, from one client to many: every contestant in turn.

First each contestant's settings are tried for a moment and the best kept. Then all contestants are up at the
same time, and a cell (one contestant, one number of clients) follows another; only the one asked has work.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.serving import report
from bench.serving.contestants import (
    CONTESTANTS,
    CTRANSLATE2_BF16,
    NEW_TOKENS,
    SERVE_PYTHON,
    TRANSFORMERS_BF16,
    Contestant,
    missing,
)
from bench.serving.load import Outcome, closed_loop
from bench.serving.servers import Server, StartError
from bench.serving.staged import Models, StagingError, run
from bench.serving.words import prompts

PROMPT_TOKENS = (8, 12, 16, 24, 32, 40, 48, 64)
"""Lengths of the prompts, T5's end token included."""


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        clients: Numbers of clients.
        rounds: How often each cell is measured.
        cell_seconds: Least duration of a cell; it also has at least twice as many requests as clients.
        prompts: How many different ones.
        tries: Whether settings are tried; else everybody has the first of its candidates.
    """

    clients: tuple[int, ...]
    rounds: int
    cell_seconds: float
    prompts: int
    tries: bool


FULL = Extent(clients=(1, 8, 32, 64), rounds=2, cell_seconds=5.0, prompts=64, tries=True)
QUICK = Extent(clients=(1, 32), rounds=1, cell_seconds=2.0, prompts=32, tries=False)


@dataclass
class Team:
    """A contestant's servers and the setting that each number of clients gets."""

    contestant: Contestant
    servers: dict[int, Server]
    """By the candidate's place."""
    chosen: dict[int, int]
    """The candidate's place, by the number of clients at which it was tried."""
    trials: list[dict[str, Any]] = field(default_factory=list)

    def server(self, clients: int) -> Server:
        """The server for a number of clients: of the number tried that is fewest times as large or small."""
        return self.servers[self.chosen[min(self.chosen, key=lambda tried: abs(math.log(tried / clients)))]]


def measure(models: Models, scratch: Path, extent: Extent) -> dict[str, Any]:
    """Measure all contestants that can take part here.

    Args:
        models: Of this run.
        scratch: For logs.
        extent: How much.
    """
    asked = prompts([PROMPT_TOKENS[n % len(PROMPT_TOKENS)] - 1 for n in range(extent.prompts)], seed=11)
    references = _references(models, scratch, asked)
    left_out: dict[str, str] = {}
    outcomes: dict[str, dict[int, list[list[Outcome]]]] = {}
    with contextlib.ExitStack() as stack:
        teams = list(_teams(stack, models, scratch, asked, extent, left_out))
        for number in range(extent.rounds):
            for clients in report.rotated(extent.clients, number):
                for team in report.rotated(teams, number):
                    found = _cell(team, team.server(clients), asked, clients, extent.cell_seconds)
                    cells = outcomes.setdefault(team.contestant.name, {})
                    cells.setdefault(clients, []).append(found)
                    _say(team.contestant.name, clients, report.cell([found], references))
    table = {
        name: {str(clients): report.cell(found, references) for clients, found in sorted(cells.items())}
        for name, cells in outcomes.items()
    }
    return {
        "new_tokens": NEW_TOKENS,
        "prompt_tokens": list(PROMPT_TOKENS),
        "contestants": {team.contestant.name: _described(team) for team in teams},
        "left_out": left_out,
        "cells": table,
        "ratios": report.ratios(table),
        "aims": report.throughput_aims(table),
    }


def _references(models: Models, scratch: Path, asked: Sequence[str]) -> list[str]:
    file = scratch / "prompts.json"
    file.write_text(json.dumps(asked))
    command = [str(SERVE_PYTHON), "-m", "bench.serving.plain", "--model", str(models.source())]
    answers: list[str] = json.loads(run([*command, "--prompts", str(file), "--new-tokens", str(NEW_TOKENS)]))
    return answers


def _teams(
    stack: contextlib.ExitStack,
    models: Models,
    scratch: Path,
    asked: Sequence[str],
    extent: Extent,
    left_out: dict[str, str],
) -> Iterator[Team]:
    """Everybody who can take part, tried and up again; the reasons of the others go to `left_out`."""
    bfloat16 = _bfloat16()
    for contestant in CONTESTANTS:
        reason = missing(contestant) or bfloat16.get(contestant.name)
        try:
            if reason is None:
                yield _team(stack, models.staged(contestant.staged), scratch, contestant, asked, extent)
        except (StagingError, StartError) as failure:
            reason = str(failure)
        if reason is not None:
            left_out[contestant.name] = reason
            print(f"left out: {contestant.name}: {reason}", flush=True)


def _team(
    stack: contextlib.ExitStack,
    model: Path,
    scratch: Path,
    contestant: Contestant,
    asked: Sequence[str],
    extent: Extent,
) -> Team:
    team = Team(contestant, {}, dict.fromkeys(contestant.tried_at, 0))
    if extent.tries:
        _try(team, model, scratch, asked)
    for place in sorted(set(team.chosen.values())):
        server = contestant.start(model, _folder(scratch, contestant), contestant.candidates[place])
        team.servers[place] = stack.enter_context(server)
        _warm(team, server, asked)
    return team


def _try(team: Team, model: Path, scratch: Path, asked: Sequence[str]) -> None:
    """A short cell for each setting at each number of clients; keeps the best of each."""
    contestant = team.contestant
    best = dict.fromkeys(contestant.tried_at, 0.0)
    for place, settings in enumerate(contestant.candidates):
        with contestant.start(model, _folder(scratch, contestant), settings) as server:
            _warm(team, server, asked)
            for clients in contestant.tried_at:
                found = report.cell([_cell(team, server, asked, clients, 2.0)])
                team.trials.append({"settings": dict(settings), "clients": clients, **found})
                print(f"try {dict(settings)}", end=" ")
                _say(contestant.name, clients, found)
                if found["requests_per_second"] > best[clients]:
                    best[clients], team.chosen[clients] = found["requests_per_second"], place


def _warm(team: Team, server: Server, asked: Sequence[str]) -> None:
    """The first requests of a process take longer; a server restarted after them would start at nought."""
    closed_loop(server.address, team.contestant.form, asked, 2, 4, 0.0)


def _cell(team: Team, server: Server, asked: Sequence[str], clients: int, seconds: float) -> list[Outcome]:
    return closed_loop(server.address, team.contestant.form, asked, clients, 2 * clients, seconds)


def _folder(scratch: Path, contestant: Contestant) -> Path:
    for number in range(1000):
        folder = scratch / f"{contestant.name.replace(' ', '-')}-{number}"
        if not folder.exists():
            folder.mkdir()
            return folder
    raise AssertionError("a thousand starts of one contestant")


def _bfloat16() -> dict[str, str]:
    """Why the contestants that compute in bfloat16 do not take part, by name; empty where they all do."""
    reasons = {}
    if not report.has_bfloat16(Path("/proc/cpuinfo").read_text(), os.uname().machine):
        reasons[TRANSFORMERS_BF16] = "this processor has no bfloat16 arithmetic"
    if SERVE_PYTHON.exists():
        asks = "import ctranslate2; print(*ctranslate2.get_supported_compute_types('cpu'))"
        if "bfloat16" not in run([str(SERVE_PYTHON), "-c", asks]).split():
            reasons[CTRANSLATE2_BF16] = "CTranslate2 does not compute in bfloat16 on this processor"
    return reasons


def _described(team: Team) -> dict[str, Any]:
    contestant = team.contestant
    return {
        "meaning": contestant.meaning,
        "settings": {str(tried): dict(contestant.candidates[place]) for tried, place in team.chosen.items()},
        "trials": team.trials,
    }


def _say(name: str, clients: int, found: Mapping[str, Any]) -> None:
    print(
        f"{name}, {clients} clients: {found['requests_per_second']} requests/s, p50 {found['p50']} s, "
        f"p95 {found['p95']} s, {found['failed']} of {found['requests']} failed",
        flush=True,
    )
