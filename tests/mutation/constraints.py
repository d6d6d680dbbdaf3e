"""Rules of pydantic models: bounds, validators and literals of a field, strictness of a model.

They act while a class is made, so each is taken away by importing the module anew without it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from tests.mutation.site import Site, text_of

_BOUNDS = frozenset({"ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"})
_VALIDATORS = frozenset({"AfterValidator", "BeforeValidator", "PlainValidator", "WrapValidator"})
_STRICTNESS = frozenset({"extra='forbid'", "strict=True"})

Aliases = Mapping[str, ast.expr]
"""Names that stand for a constrained type, each with the plain type below."""


def aliases_in(sources: Iterable[str]) -> dict[str, ast.expr]:
    """Finds the names that modules give to constrained types, for instance `Count`."""
    found: dict[str, ast.expr] = {}
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                plain = _plain(node.value)
                if plain is not None:
                    found[node.targets[0].id] = plain
    return found


def constrained(
    file: str, source: str, aliases: Aliases, without: str | None = None
) -> tuple[ast.Module, list[Site]]:
    """Finds the constraints of a module, and takes one away.

    Args:
        file: The module's path, for the sites.
        source: Its text.
        aliases: See `aliases_in`.
        without: Key of the constraint that is taken away.
    """
    tree = ast.parse(source)
    remover = _Remover(file, aliases, without)
    remover.visit(tree)
    return ast.fix_missing_locations(tree), remover.sites


class _Remover(ast.NodeTransformer):
    """Walks over the classes of a module, counts their constraints and takes one away."""

    def __init__(self, file: str, aliases: Aliases, without: str | None) -> None:
        self.sites: list[Site] = []
        self._file = file
        self._aliases = aliases
        self._without = without
        self._classes: list[str] = []
        self._field: str | None = None

    def _goes(self, rule: ast.AST, text: str) -> bool:
        """Notes a constraint; says whether it is the one to take away."""
        key = f"{self._file}#field{len(self.sites)}"
        where = ".".join([*self._classes, *([self._field] if self._field else [])])
        self.sites.append(Site(key, self._file, getattr(rule, "lineno", 0), where, text))
        return key == self._without

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._classes.append(node.name)
        self.generic_visit(node)
        self._classes.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if self._classes and isinstance(node.target, ast.Name):
            self._field = node.target.id
            self.generic_visit(node)
            self._field = None
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if self._classes:
            node.keywords = [
                keyword
                for keyword in node.keywords
                if not _is_constraint(node, keyword) or not self._goes(keyword.value, _shown(node, keyword))
            ]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if self._field is not None and node.id in self._aliases and self._goes(node, node.id):
            return ast.copy_location(self._aliases[node.id], node)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if self._field is None:
            return node
        if text_of(node.value) == "Literal":
            return (
                ast.copy_location(ast.Name("str", ast.Load()), node)
                if self._goes(node, text_of(node))
                else node
            )
        if text_of(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
            base, *kept = [
                part
                for part in node.slice.elts
                if not _validates(part) or not self._goes(part, text_of(part))
            ]
            if not kept:
                unwrapped: ast.AST = self.visit(base)
                return unwrapped
            node.slice.elts = [base, *kept]
        return self.generic_visit(node)


def _shown(call: ast.Call, keyword: ast.keyword) -> str:
    return f"{text_of(call.func)}({text_of(keyword)})"


def _is_constraint(call: ast.Call, keyword: ast.keyword) -> bool:
    if text_of(call.func) == "ConfigDict":
        return text_of(keyword) in _STRICTNESS
    return text_of(call.func) == "Field" and keyword.arg in _BOUNDS


def _validates(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and text_of(node.func) in _VALIDATORS


def _constrains(node: ast.AST) -> bool:
    bounds = isinstance(node, ast.Call) and any(keyword.arg in _BOUNDS for keyword in node.keywords)
    return bounds or _validates(node)


def _plain(value: ast.expr) -> ast.expr | None:
    """The type below `Annotated[type, constraint]` or `Literal[text, …]`; None for any other value."""
    if not isinstance(value, ast.Subscript):
        return None
    if text_of(value.value) == "Literal":
        return ast.Name("str", ast.Load())
    if text_of(value.value) == "Annotated" and isinstance(value.slice, ast.Tuple):
        base, *metadata = value.slice.elts
        return base if any(map(_constrains, metadata)) else None
    return None
