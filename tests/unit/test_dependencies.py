"""What the root project imports is among its own dependencies, and not there by chance of another's."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("stacks", "providers", "rehearsal", "llmstack")
ELSEWHERE = {"torch", "transformers", "tokenizers", "safetensors", "weights"}
"""Imported by what runs in the environment of an image."""
COME_WITH = {"pydantic-core": "pydantic"}


def imported(folder: str) -> set[str]:
    """Modules that any file of a folder imports, at any place."""
    found: set[str] = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module)
    return found


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_distribution_that_is_imported_is_a_dependency(folder: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {normal(re.split(r"[<>=!~\[; ]", each)[0]) for each in project["dependencies"]}
    providers = packages_distributions()
    missing = {}
    for module in imported(folder):
        top = module.partition(".")[0]
        # Several distributions share the namespace `google`; which one has a module its name does not tell.
        if top in (*FOLDERS, *ELSEWHERE, *sys.stdlib_module_names, "google"):
            continue
        names = {COME_WITH.get(normal(each), normal(each)) for each in providers.get(top, [top])}
        if not names & listed:
            missing[module] = sorted(names)
    assert missing == {}
