"""The check on a small package: what is missed, what is not, and what is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RULES = """
def check(value, report):
    if value < 0:
        report.problem(
            "is below zero",
            "write more",
        )
    if value > 9:
        report.problem("is above nine", "write less")
    if value == 5:
        report.problem("is five", "write another")
"""
TESTS = """
import pytest, yaml
from small.rules import check
from small.table import names, refused

class Report:
    def __init__(self): self.said = []
    def problem(self, reason, remedy): self.said.append(reason)

def said(value):
    report = Report()
    check(value, report)
    return report.said

def test_below(): assert said(-1) == ["is below zero"]
def test_above(): said(10)
def test_a_row(): assert refused("first")
@pytest.mark.parametrize("name", names())
def test_every_row_that_there_is(name): assert refused(name)
"""
TABLE = """
from functools import cache
from pathlib import Path
import yaml
@cache
def names():
    rows = yaml.safe_load(Path(__file__).with_name("rows.yaml").read_text())["rows"]
    return [row["id"] for row in rows]
def refused(name): return name in names()
"""
SCOPE = """
root: .
tests: [checks]
about: [small]
rules: [{files: [small/rules.py], forms: [calls]}]
tables: [{files: [small/rows.yaml], below: rows, reader: "small.table:refused"}]
equivalent: equivalent.yaml
"""
FILES = {
    "small/__init__.py": "",
    "small/rules.py": RULES,
    "small/table.py": TABLE,
    "small/rows.yaml": "rows:\n- {id: first}\n- {id: second}\n",
    "checks/test_small.py": TESTS,
    "scope.yaml": SCOPE,
    "equivalent.yaml": "equivalent: []\n",
}


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def _check(folder: Path, *arguments: str) -> tuple[int, str]:
    """Runs the check on the package; gives the exit status and what was said."""
    command = [sys.executable, "-m", "tests.mutation", "--scope", str(folder / "scope.yaml")]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    _write(tmp_path, FILES)
    return tmp_path


def test_rules_that_no_test_misses_are_told_with_place_text_and_what_to_do(package: Path) -> None:
    status, said = _check(package, "small/rules.py")
    lines = said.splitlines()
    assert lines[0] == "small/rules.py:9: check: report.problem('is above nine', 'write less')"
    assert "nothing fails without it (unit tests that bring it about: 1): add one" in lines[1]
    assert lines[2] == "small/rules.py:11: check: report.problem('is five', 'write another')"
    assert "no unit test brings it about: add one" in lines[3]
    assert lines[4:] == ["3 rules taken away one at a time: a test missed 1; 2 problems"]
    assert status == 1


def test_a_row_is_missed_only_by_a_test_that_is_not_made_from_the_table(package: Path) -> None:
    status, said = _check(package, "small/rows.yaml")
    assert said.startswith("small/rows.yaml:3: rows: second\n    nothing fails without it")
    assert said.endswith("2 rules taken away one at a time: a test missed 1; 1 problems\n")
    assert status == 1


def test_a_package_whose_every_rule_is_missed_passes(package: Path) -> None:
    more = 'def test_more(): assert (said(10), said(5)) == (["is above nine"], ["is five"])\n'
    _write(package, {"checks/test_small.py": TESTS + more})
    assert _check(package, "small/rules.py") == (
        0,
        "3 rules taken away one at a time: a test missed 3; 0 problems\n",
    )


def test_a_test_file_that_is_left_out_misses_no_rule(package: Path) -> None:
    more = "from checks.test_small import said\n\ndef test_more(): assert said(10) == ['is above nine']\n"
    _write(package, {"checks/test_more.py": more})
    assert "a test missed 2; 1 problems" in _check(package, "small/rules.py")[1]
    _write(package, {"scope.yaml": SCOPE + "without: [checks/test_more.py]\n"})
    assert "a test missed 1; 2 problems" in _check(package, "small/rules.py")[1]


def test_a_rule_that_cannot_be_noticed_may_be_listed_and_one_that_is_noticed_may_not(package: Path) -> None:
    row = '- {file: small/rules.py, where: check, rule: "report.problem(\'is %s", why: it is so}\n'
    listed = "equivalent:\n" + "".join(row % text for text in ("five", "above", "below", "gone"))
    _write(package, {"equivalent.yaml": listed})
    status, said = _check(package, "small/rules.py")
    assert "names 0 rules by 'check', \"report.problem('is gone\": name one, or remove it" in said
    assert "test_below fails without it: remove it there" in said
    assert said.endswith("a test missed 0, 2 cannot be noticed; 2 problems\n")
    assert status == 1


def test_a_test_that_fails_as_it_is_proves_nothing(package: Path) -> None:
    _write(
        package, {"checks/test_small.py": TESTS.replace('== ["is below zero"]', '== ["is something else"]')}
    )
    status, said = _check(package, "small/rules.py")
    assert said.startswith("fails with every rule in place: checks/test_small.py::test_below\n")
    assert "a test missed 0; 4 problems" in said
    assert status == 1


def test_a_test_that_needs_another_before_it_proves_nothing(package: Path) -> None:
    test = """
from small.rules import check
from checks.said import said
def test_first(): said.append("first")
def test_second(): check(-1, type("R", (), {"problem": lambda *_: 0})()); assert said == ["first"]
"""
    _write(package, {"checks/test_small.py": test, "checks/said.py": "said = []", "checks/__init__.py": ""})
    status, said = _check(package, "small/rules.py")
    text = "could not be judged: checks/test_small.py::test_second fails in another order than usual even"
    assert text in said
    assert "a test missed 0; 3 problems" in said
    assert status == 1


def test_tests_that_cannot_be_run_are_an_error_that_says_why(package: Path) -> None:
    _write(package, {"checks/test_small.py": "import small.rules, missing_module"})
    command = [sys.executable, "-m", "tests.mutation", "--scope", str(package / "scope.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "mutation check: the tests could not be run:" in done.stderr
    assert "No module named 'missing_module'" in done.stderr
    assert done.returncode == 2


def test_processes_that_run_at_once_do_not_disturb_each_other(package: Path) -> None:
    rules = "def check(report):\n" + "".join(f"    report.problem({number})\n" for number in range(8))
    test = """
import time
from small.rules import check
class Report:
    def problem(self, number): pass
def test_a_file_stays(tmp_path):
    (tmp_path / "file").write_text("")
    check(Report())
    time.sleep(0.2)
    assert (tmp_path / "file").exists()
"""
    _write(package, {"small/rules.py": rules, "checks/test_small.py": test})
    status, said = _check(package, "small/rules.py", "--jobs", "8")
    assert said.endswith("8 rules taken away one at a time: a test missed 0; 8 problems\n")
    assert status == 1


def test_nothing_is_written_beside_the_rules(package: Path) -> None:
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    _check(package)
    assert {path: path.read_bytes() for path in package.rglob("*") if path.is_file()} == before
