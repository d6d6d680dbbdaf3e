"""The check itself: every rule taken away once, and the tests that bring it about run without it."""

from __future__ import annotations

import gc
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

from tests.mutation.children import answers
from tests.mutation.rules import Rules
from tests.mutation.scope import Scope, Table
from tests.mutation.session import INVALID, Baseline, Runner, Verdict, import_libraries, prepare, run
from tests.mutation.site import Site
from tests.mutation.tables import Entry, Omission, caches, forget

_LOG_SHOWN = 3000
"""How many characters of pytest's own words are shown where it could not run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found."""

    baseline: Baseline
    verdicts: dict[str, Verdict]


@dataclass(frozen=True, slots=True)
class Check:
    """A check of some rules of a scope.

    Attributes:
        scope: What it covers.
        rules: Its rules.
        wanted: Which of them are taken away; by default all.
        jobs: How many processes run at once.
    """

    scope: Scope
    rules: Rules
    wanted: Callable[[Site], bool] = lambda _: True
    jobs: int = 1

    def run(self) -> Outcome:
        """Runs the tests once with every rule in place, and once without each.

        Raises:
            RuntimeError: The tests could not be run at all.
        """
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            return self._run(Path(folder))

    def _run(self, folder: Path) -> Outcome:
        files = self.scope.test_files()
        ((_, independent),) = answers(partial(self._collected, folder / "collection"), [files], 1)
        whole = partial(self._without_switched, folder / "session", independent=frozenset(independent or ()))
        ((_, outcome),) = answers(whole, [files], 1)
        if outcome is None or not outcome.baseline.seconds:
            log = (folder / "session" / "log").read_text(errors="replace")
            raise RuntimeError(f"the tests could not be run:\n{log[-_LOG_SHOWN:]}")
        fields = {site.key: site for site in self.rules.fields if self.wanted(site)}
        import_libraries(outcome.baseline)
        judge = partial(self._without_field, folder, outcome.baseline, fields)
        return Outcome(outcome.baseline, {**outcome.verdicts, **_verdicts(answers(judge, fields, self.jobs))})

    def _collected(self, folder: Path, files: list[str]) -> list[str]:
        """The tests that there are when every table is empty: those that are not made from its entries."""
        prepare(self.scope.root, self.rules.transforms)
        for file in {entry.site.file for entry, _ in self.rules.entries}:
            listed = [entry for entry, _ in self.rules.entries if entry.site.file == file]
            Omission(listed[0].text, [entry.steps for entry in listed]).start()
        collected: list[str] = run(self.scope.root, folder, files, lambda runner: list(runner.items))
        return collected

    # Rules inside functions, and entries of tables: one import serves all. ----------------------------------

    def _without_switched(self, folder: Path, files: list[str], *, independent: frozenset[str]) -> Outcome:
        switches = prepare(self.scope.root, self.rules.transforms)
        remembered: list[Any] = []
        readers = [table.reader for table in self.scope.tables]

        def in_place(runner: Runner) -> Baseline:
            return runner.baseline(switches, partial(forget, readers))

        def without(runner: Runner, baseline: Baseline, key: str) -> Verdict:
            for cached in remembered:
                cached.cache_clear()
            if key in entries:
                entry, table = entries[key]
                return self._without_entry(runner, baseline, entry, table, independent)
            switches.away = key
            return _verdict(runner, _by_promise(baseline, baseline.reached.get(key, ())))

        def all_of_them(runner: Runner) -> Outcome:
            ((_, baseline),) = answers(lambda _: in_place(runner), [None], 1)
            if baseline is None:
                return Outcome(Baseline(failed=runner.broken), {})
            import_libraries(baseline)
            remembered.extend(caches(self._packages))
            # What is shared with the processes to come is not to be touched, or it would be copied for each.
            gc.freeze()
            judge = partial(without, runner, baseline)
            keys = [*(site.key for site in self.rules.switched if self.wanted(site)), *entries]
            verdicts = _verdicts(answers(judge, keys, self.jobs))
            killers = sorted({verdict.killed_by for verdict in verdicts.values() if verdict.killed_by})
            ((_, unsound),) = answers(runner.failures, [killers[::-1]], 1)
            return Outcome(baseline, _without_unsound(verdicts, killers if unsound is None else unsound))

        entries = {
            entry.site.key: (entry, table) for entry, table in self.rules.entries if self.wanted(entry.site)
        }
        outcome: Outcome = run(self.scope.root, folder, files, all_of_them)
        return outcome

    def _without_entry(
        self, runner: Runner, baseline: Baseline, entry: Entry, table: Table, independent: frozenset[str]
    ) -> Verdict:
        reader = table.reader.partition(":")[2]
        tests = baseline.reached.get(reader, set()) & independent
        omission = Omission(entry.text, [entry.steps])
        omission.start()
        verdict = _verdict(runner, _by_name(entry.site, _by_promise(baseline, tests)))
        if tests and not omission.done:
            return Verdict(None, len(tests), f"{table.reader} did not read {entry.site.file} anew")
        return verdict

    # Rules of models: each takes an import of its own. ------------------------------------------------------

    def _without_field(self, folder: Path, baseline: Baseline, fields: dict[str, Site], key: str) -> Verdict:
        site = fields[key]
        tests = _by_promise(baseline, baseline.invalid.get(_error_of(site), ()))
        if not tests:
            return Verdict(None, 0)
        prepare(self.scope.root, self.rules.without_field(site))

        def judge(runner: Runner) -> Verdict:
            if runner.broken:
                return Verdict(None, len(tests), f"without it, {runner.broken[0]}")
            return _verdict(runner, tests)

        verdict: Verdict = run(self.scope.root, folder / re.sub(r"\W", "-", key), tests, judge)
        return verdict

    @property
    def _packages(self) -> frozenset[str]:
        return frozenset(Path(file).parts[0] for file in [*self.rules.transforms, *self.scope.tests])


def default_jobs() -> int:
    """How many processes run at once when nobody says."""
    return len(os.sched_getaffinity(0))


def _verdicts(found: Iterator[tuple[str, Verdict | None]]) -> dict[str, Verdict]:
    ended = Verdict(None, 0, "its tests ended without a verdict")
    return {key: verdict or ended for key, verdict in found}


def _without_unsound(verdicts: dict[str, Verdict], unsound: Sequence[str]) -> dict[str, Verdict]:
    """Takes back what tests seemed to say that fail in another order than usual, with every rule in place."""
    trouble = "fails in another order than usual even with the rule in place"
    return {
        key: Verdict(None, verdict.tests, f"{verdict.killed_by} {trouble}")
        if verdict.killed_by in unsound
        else verdict
        for key, verdict in verdicts.items()
    }


def _verdict(runner: Runner, tests: Sequence[str]) -> Verdict:
    return Verdict(runner.first_failure(tests), len(tests))


def _by_promise(baseline: Baseline, tests: Iterable[str]) -> list[str]:
    """Tests about few rules first, then quick ones; those that fail as it is are left out."""
    return sorted(
        (test for test in tests if test in baseline.seconds),
        key=lambda test: (baseline.breadth[test], baseline.seconds[test], test),
    )


def _by_name(site: Site, tests: list[str]) -> list[str]:
    """Tests that name an entry first: of hundreds that use a table, few are about one entry."""
    words = [site.text, site.where.partition(".")[2]]
    return sorted(tests, key=lambda test: -sum(bool(word) and word in test for word in words))


def _error_of(site: Site) -> str:
    """Which validation errors a rule of a model gives, as `Baseline.invalid` names them."""
    owner, _, name = site.where.rpartition(".")
    if site.text.startswith("ConfigDict(extra"):
        return "type:extra_forbidden"
    return to_camel(name) if owner else INVALID
