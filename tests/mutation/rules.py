"""Every rule that a scope covers, and how each is taken away."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.mutation.constraints import Aliases, aliases_in, constrained
from tests.mutation.scope import Form, Scope, Table
from tests.mutation.site import Site
from tests.mutation.switches import switched
from tests.mutation.tables import Entry, entries


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a scope, by the way in which they are taken away.

    Attributes:
        switched: Rules inside functions.
        fields: Rules of pydantic models.
        entries: Rules that are entries of tables, each with its table.
        transforms: For every file with rules inside functions, what gives its tree with switches.
    """

    root: Path
    switched: tuple[Site, ...]
    fields: tuple[Site, ...]
    entries: tuple[tuple[Entry, Table], ...]
    transforms: dict[str, Callable[[], ast.Module]]
    _aliases: Aliases

    @property
    def sites(self) -> list[Site]:
        """All of them, sorted by place."""
        all_sites = [*self.switched, *self.fields, *(entry.site for entry, _ in self.entries)]
        return sorted(all_sites, key=lambda site: (site.file, site.line, site.key))

    def without_field(self, site: Site) -> dict[str, Callable[[], ast.Module]]:
        """What gives the tree of a field's module without that one rule."""
        source = (self.root / site.file).read_text()
        return {site.file: lambda: constrained(site.file, source, self._aliases, site.key)[0]}


def find_rules(scope: Scope) -> Rules:
    """Finds every rule, by its form in the source.

    Raises:
        UnplacedError: A rule has a form that cannot be taken away.
    """
    readers = {
        f"{table.reader.partition(':')[0].replace('.', '/')}.py": frozenset[Form]() for table in scope.tables
    }
    forms = {**readers, **scope.forms()}
    sources = {file: (scope.root / file).read_text() for file in forms}
    models = [file for file in forms if "constraints" in forms[file]]
    aliases = aliases_in(sources[file] for file in models)
    noted = frozenset(table.reader.partition(":")[2] for table in scope.tables)
    found: list[Site] = []
    transforms: dict[str, Callable[[], ast.Module]] = {}
    for file, source in sources.items():
        tree, sites = switched(file, source, forms[file], noted)
        found += sites
        transforms[file] = partial(_itself, tree)
    return Rules(
        root=scope.root,
        switched=tuple(found),
        fields=tuple(site for file in models for site in constrained(file, sources[file], aliases)[1]),
        entries=tuple(
            (entry, table)
            for file, table in scope.table_files().items()
            for entry in entries(file, scope.root, table.below)
        ),
        transforms=transforms,
        _aliases=aliases,
    )


def _itself(tree: ast.Module) -> ast.Module:
    return tree
