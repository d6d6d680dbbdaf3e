"""Every rule of configuration, plan and stand-in is missed by a test when it is taken away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.report import Report
from tests.mutation.rules import find_rules
from tests.mutation.scope import read_scope

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted({site.file for site in find_rules(read_scope(Path(__file__).with_name("scope.yaml"))).sites})


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("mutation") / "report.json"
    # A process of its own: rules can be taken away only before the modules are imported.
    command = [sys.executable, "-m", "tests.mutation", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert path.is_file(), done.stderr
    return Report.model_validate_json(path.read_text())


def test_the_unit_tests_pass_with_every_rule_in_place(told: Report) -> None:
    assert told.problems.get("", []) == []


@pytest.mark.parametrize("file", FILES)
def test_a_test_misses_each_rule_that_is_taken_away(told: Report, file: str) -> None:
    assert told.rules[file] > 0
    assert "\n".join(told.problems.get(file, [])) == ""
