"""What a mutation check covers: `scope.yaml`, read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

Form = Literal["calls", "findings", "raises", "yields", "reasons", "blockers", "constraints"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RuleFiles(_Part):
    """Files, by glob, and the forms that a rule has in them."""

    files: tuple[str, ...]
    forms: frozenset[Form]


class Table(_Part):
    """YAML files whose entries below one key are rules, and the `module:function` that uses them."""

    files: tuple[str, ...]
    below: str
    reader: str


class Equivalent(_Part):
    """A rule whose removal cannot be noticed: its file, its function or field, the start of its text, why."""

    file: str
    where: str
    rule: str
    why: str


class Scope(_Part):
    """What a check covers; see `scope.yaml`."""

    root: Path
    tests: tuple[str, ...]
    about: tuple[str, ...]
    without: tuple[str, ...] = ()
    rules: tuple[RuleFiles, ...] = ()
    tables: tuple[Table, ...] = ()
    equivalent: str | None = None

    def forms(self) -> dict[str, frozenset[Form]]:
        """The forms of rules by file, relative to the root."""
        found: dict[str, frozenset[Form]] = {}
        for group in self.rules:
            for file in _matching(self.root, group.files):
                found[file] = found.get(file, frozenset()) | group.forms
        return dict(sorted(found.items()))

    def table_files(self) -> dict[str, Table]:
        """The tables by file, relative to the root."""
        return {file: table for table in self.tables for file in _matching(self.root, table.files)}

    def equivalents(self) -> tuple[Equivalent, ...]:
        """Rules whose removal cannot be noticed."""
        if self.equivalent is None:
            return ()
        rows = yaml.safe_load((self.root / self.equivalent).read_text())["equivalent"]
        return tuple(Equivalent.model_validate(row) for row in rows)

    def test_files(self) -> list[str]:
        """The test files that import something of `about`, directly or by a helper, relative to the root."""
        left_out = {*_matching(self.root, self.without)}
        files = [file for top in self.tests for file in _files(self.root, top, "**/test_*.py")]
        files = [file for file in files if file not in left_out]
        imports = _Imports(self.root)
        return [file for file in files if imports.reach(file, self.about)]


def read_scope(path: Path) -> Scope:
    """Reads a scope; its root becomes absolute."""
    fields = yaml.safe_load(path.read_text())
    return Scope.model_validate({**fields, "root": (path.parent / fields["root"]).resolve()})


def module_name(file: str) -> str:
    """The name under which a file is imported."""
    return ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")


def _matching(root: Path, globs: tuple[str, ...]) -> list[str]:
    return sorted({file for glob in globs for file in _files(root, ".", glob)})


def _files(root: Path, top: str, glob: str) -> list[str]:
    if (root / top).is_file():
        return [top]
    return sorted(str(path.relative_to(root)) for path in (root / top).glob(glob))


@dataclass
class _Imports:
    """What files import, by their source alone."""

    root: Path

    def reach(self, file: str, names: tuple[str, ...], seen: frozenset[str] = frozenset()) -> bool:
        for module in self._modules(file):
            if any(module == name or module.startswith(f"{name}.") for name in names):
                return True
            helper = str(Path(*module.split(".")).with_suffix(".py"))
            # Only the tests' own helpers are followed: all else is what tests are about.
            beside = Path(helper).parts[0] == Path(file).parts[0]
            new = beside and helper not in seen and (self.root / helper).is_file()
            if new and self.reach(helper, names, seen | {file, helper}):
                return True
        return False

    def _modules(self, file: str) -> Iterator[str]:
        for node in ast.walk(ast.parse((self.root / file).read_text())):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                # `from tests.unit import helper` names a module of its own.
                yield from (f"{node.module}.{name.name}" for name in node.names)
