"""One pytest session that runs the tests many times over, each time in a forked process."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from tests.mutation.loader import Finder, Switches, Transform
from tests.mutation.tables import read_yaml_quickly

_TEST_SECONDS = 60
"""How long one test may take; a rule that is away may leave a loop that never ends."""

INVALID = "*"
"""Stands for every validation error in `Baseline.invalid`."""


@dataclass(slots=True)
class Baseline:
    """What the tests do with every rule in place.

    Attributes:
        reached: Tests by rule (or noted function) that comes about in them.
        invalid: Tests by key, and by type (`type:…`), of the validation errors in them.
        seconds: How long each test took, by test.
        breadth: How many rules came about in each test, by test.
        failed: Tests and test files that fail as it is, so that nothing follows from them.
        libraries: Modules of libraries that the tests imported.
    """

    reached: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    invalid: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    seconds: dict[str, float] = field(default_factory=dict)
    breadth: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a test fails without a rule.

    Attributes:
        killed_by: The test that fails; None where none does.
        tests: How many tests bring the rule about.
        trouble: Why it cannot be said; empty where it can.
    """

    killed_by: str | None
    tests: int
    trouble: str = ""


class Runner:
    """A pytest plugin that collects once and hands itself to a function, in place of running the tests."""

    def __init__(self, folder: Path, then: Callable[[Runner], object]) -> None:
        self.items: dict[str, pytest.Item] = {}
        self.broken: list[str] = []
        self.answer: object = None
        self._folder = folder
        self._then = then
        self._failed = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notes a test file that cannot be imported."""
        if report.failed:
            self.broken.append(f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Takes the place of pytest's own loop."""
        self.items = {item.nodeid: item for item in session.items}
        self.answer = self._then(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes a failure in any phase of a test."""
        self._failed = self._failed or report.failed

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Gives the tests of a forked process a temporary folder that no other process uses."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            # pytest asks for it when the first test does, which is in the forked process.
            os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
            yield

    def fails(self, test: str, following: str | None = None) -> bool:
        """Runs one test; `following` keeps the fixtures that the next one shares with it."""
        item = self.items[test]
        self._failed = False
        item.ihook.pytest_runtest_protocol(item=item, nextitem=self.items.get(following or ""))
        return self._failed

    def first_failure(self, tests: Sequence[str]) -> str | None:
        """Runs tests up to the first that fails."""
        with self.apart():
            return next((test for test, following in _pairs(tests) if self.fails(test, following)), None)

    def failures(self, tests: Sequence[str]) -> list[str]:
        """Runs tests in this order; gives those that fail."""
        with self.apart():
            return [test for test, following in _pairs(tests) if self.fails(test, following)]

    def baseline(self, switches: Switches, before_each: Callable[[], None]) -> Baseline:
        """Runs every test with every rule in place."""
        found = Baseline(failed=list(self.broken))
        errors = _watch_validation()
        with self.apart():
            for test, following in _pairs(list(self.items)):
                before_each()
                switches.reached.clear()
                errors.clear()
                started = os.times().elapsed
                if self.fails(test, following):
                    found.failed.append(test)
                    continue
                found.seconds[test] = os.times().elapsed - started
                found.breadth[test] = len(switches.reached)
                for key in switches.reached:
                    found.reached[key].add(test)
                for name in errors:
                    found.invalid[name].add(test)
        found.libraries = [name for name, module in sys.modules.items() if _is_library(module)]
        return found


def run(root: Path, folder: Path, tests: Iterable[str], then: Callable[[Runner], Any]) -> Any:
    """Collects tests in this process, and does `then` with them. For a forked process: nothing is put back.

    Args:
        root: The folder that paths are relative to.
        folder: Where the session may write.
        tests: Files or single tests.
        then: What to do once they are collected; its answer comes back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    os.chdir(root)
    sys.path.insert(0, str(root))
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    read_yaml_quickly()
    hypothesis.settings.register_profile("mutation", database=None, derandomize=True, deadline=None)
    hypothesis.settings.load_profile("mutation")
    runner = Runner(folder, then)
    options = ["-o", "addopts=", "-o", f"timeout={_TEST_SECONDS}", "-p", "no:cacheprovider", "--capture=sys"]
    pytest.main([*options, *tests], plugins=[runner])
    return runner.answer


def prepare(root: Path, transforms: Mapping[str, Transform]) -> Switches:
    """Has modules imported from these trees, in this process."""
    switches = Switches()
    Finder(root, transforms, switches).install()
    return switches


def import_libraries(baseline: Baseline) -> None:
    """Imports what the tests will, once for all processes to come."""
    for name in baseline.libraries:
        importlib.import_module(name)


def _is_library(module: ModuleType) -> bool:
    if "site-packages" not in (getattr(module, "__file__", None) or "") or module.__spec__ is None:
        return False
    # Hypothesis says that it is slow to import more of it before the tests run.
    return not module.__name__.startswith("hypothesis")


def _pairs(tests: Sequence[str]) -> Iterable[tuple[str, str | None]]:
    """Each test with the one after it; the last with None."""
    return itertools.zip_longest(tests, tests[1:])


def _watch_validation() -> set[str]:
    """Notes the keys and types of validation errors from now on, in this process."""
    noted: set[str] = set()

    def watched(validate: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            try:
                return validate(*args, **options)
            except ValidationError as error:
                for details in error.errors(include_url=False):
                    noted.update({INVALID, f"type:{details['type']}", *map(str, details["loc"])})
                raise

        return call

    of_model = BaseModel.__dict__["model_validate"].__func__
    type.__setattr__(BaseModel, "model_validate", classmethod(watched(of_model)))
    type.__setattr__(TypeAdapter, "validate_python", watched(TypeAdapter.validate_python))
    return noted
