"""Imports modules with a rule taken away, in memory alone."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from tests.mutation.scope import module_name
from tests.mutation.switches import SWITCH

Transform = Callable[[], ast.Module]
"""Gives the tree to compile in place of a file's own."""


class Switches:
    """Which rule is taken away, and which rules came about.

    Attributes:
        away: Key of the rule that is taken away.
        reached: Keys of the rules that came about since it was last emptied.
    """

    def __init__(self) -> None:
        self.away: str | None = None
        self.reached: set[str] = set()

    def on(self, key: str) -> bool:
        """Whether a rule is in place; notes that it came about."""
        self.reached.add(key)
        return key != self.away


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are compiled from other trees than their files."""

    def __init__(self, root: Path, transforms: Mapping[str, Transform], switches: Switches) -> None:
        self._files = {module_name(file): root / file for file in transforms}
        self._transforms = {module_name(file): transform for file, transform in transforms.items()}
        self._switches = switches

    def install(self) -> None:
        """Puts this before Python's own finders.

        Raises:
            RuntimeError: One of the modules was imported before, as it is.
        """
        early = sorted(self._files.keys() & sys.modules.keys())
        if early:
            raise RuntimeError(f"imported before a rule could be taken away: {', '.join(early)}")
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Gives the spec of a module of ours; None for any other."""
        if fullname not in self._files:
            return None
        location = str(self._files[fullname])
        loader = _Loader(fullname, location, self._transforms[fullname], self._switches)
        return importlib.util.spec_from_file_location(fullname, location, loader=loader)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a changed tree; no bytecode is read or written."""

    def __init__(self, fullname: str, path: str, transform: Transform, switches: Switches) -> None:
        super().__init__(fullname, path)
        self._transform = transform
        self._switches = switches

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._transform(), self.get_filename(fullname), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[SWITCH] = self._switches.on
        super().exec_module(module)
