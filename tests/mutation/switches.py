"""Rules inside functions: each gets a switch, so that one import serves to take away any of them.

A module is compiled with `if __rule__("FILE#N"):` around every rule. A switch says true, and remembers that
the rule came about; for the rule that is taken away it says false. What is left is the program without the
rule: a call or yield that does not happen, a value that is missing from a list, a branch that gives None.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TypeVar

from tests.mutation.scope import Form
from tests.mutation.site import Site, UnplacedError, text_of

SWITCH = "__rule__"
"""Name of the switch in a module's globals."""

MAKERS = frozenset({"Problem", "Refusal", "Wrong"})
_CALLED_METHODS = frozenset({"problem", "report", "warn"})
_CALLED_FUNCTIONS = frozenset({"refuse"})
_COLLECTING = frozenset({"append", "extend", "add"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Display = TypeVar("_Display", ast.List, ast.Tuple)


def switched(
    file: str, source: str, forms: frozenset[Form], noted: frozenset[str] = frozenset()
) -> tuple[ast.Module, list[Site]]:
    """Puts a switch around every rule of a module.

    Args:
        file: The module's path, for the sites.
        source: Its text.
        forms: What counts as a rule in it.
        noted: Functions whose calls are noted like rules, each under its own name.

    Raises:
        UnplacedError: A rule has a form that cannot be taken away.
    """
    tree = ast.parse(source)
    switcher = _Switcher(file, forms, tree)
    switcher.visit(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in noted:
            node.body.insert(0, ast.Expr(_ask(node.name)))
    return ast.fix_missing_locations(tree), switcher.sites


def _ask(key: str) -> ast.Call:
    return ast.Call(ast.Name(SWITCH, ast.Load()), [ast.Constant(key)], [])


def _is_helper(function: ast.FunctionDef) -> bool:
    """Whether a function does nothing but make a finding of other things; its calls are the rules then."""
    returns, given = function.returns, [argument.annotation for argument in function.args.args]
    if returns is None or text_of(returns) not in MAKERS:
        return False
    return not any(annotation and text_of(annotation) in MAKERS for annotation in given)


class _Switcher(ast.NodeTransformer):
    """Rewrites a module; rules inside a rule belong to it and get no switch of their own."""

    def __init__(self, file: str, forms: frozenset[Form], tree: ast.Module) -> None:
        self.sites: list[Site] = []
        self._file = file
        self._forms = forms
        self._scopes: list[str] = []
        self._function: _Function | None = None
        self._carriers: set[str] = set()
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        self._helpers = {node.name for node in functions if _is_helper(node)}
        self._makers = MAKERS | self._helpers

    # What is a rule ----------------------------------------------------------------------------------------

    def _has(self, form: Form) -> bool:
        return form in self._forms

    def _makes(self, node: ast.AST | None) -> bool:
        """Whether an expression is a finding: made here, or held by a name that was given one."""
        if not self._has("findings"):
            return False
        if isinstance(node, ast.Name):
            return node.id in self._carriers
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._makers

    def _makes_part(self, node: ast.AST) -> bool:
        """Whether an element of a list is a finding, or a tuple that holds one."""
        return self._makes(node) or (isinstance(node, ast.Tuple) and any(map(self._makes, node.elts)))

    def _calls(self, node: ast.Call) -> bool:
        called = node.func
        if isinstance(called, ast.Attribute):
            if self._has("calls") and called.attr in _CALLED_METHODS:
                return True
            return called.attr in _COLLECTING and any(map(self._makes, node.args))
        return self._has("calls") and isinstance(called, ast.Name) and called.id in _CALLED_FUNCTIONS

    def _is_reason(self, node: ast.AST | None) -> bool:
        returns = self._function.returns if self._function else None
        return (
            self._has("reasons")
            and isinstance(node, ast.Tuple)
            and returns is not None
            and "Wrong" in text_of(returns)
        )

    # How it is taken away ----------------------------------------------------------------------------------

    def _switch(self, rule: ast.AST) -> ast.Call:
        key = f"{self._file}#{len(self.sites)}"
        where = ".".join(self._scopes) or "module"
        self.sites.append(Site(key, self._file, getattr(rule, "lineno", 0), where, text_of(rule)))
        return _ask(key)

    def _statement(self, node: ast.stmt) -> ast.stmt:
        return ast.copy_location(ast.If(self._switch(node), [node], []), node)

    def _or_none(self, node: ast.expr) -> ast.expr:
        return ast.copy_location(ast.IfExp(self._switch(node), node, ast.Constant(None)), node)

    def _elements(self, display: _Display, elements: Sequence[ast.expr]) -> _Display:
        for index, element in enumerate(display.elts):
            if element in elements:
                there = ast.IfExp(
                    self._switch(element), ast.Tuple([element], ast.Load()), ast.Tuple([], ast.Load())
                )
                display.elts[index] = ast.copy_location(ast.Starred(there, ast.Load()), element)
            else:
                display.elts[index] = self.visit(element)
        return display

    # Where it stands ---------------------------------------------------------------------------------------

    def _scope(self, node: _Function | ast.ClassDef) -> ast.AST:
        outer, carriers = self._function, self._carriers
        self._scopes.append(node.name)
        if not isinstance(node, ast.ClassDef):
            self._function, self._carriers = node, set()
        self.generic_visit(node)
        self._scopes.pop()
        self._function, self._carriers = outer, carriers
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _scope  # noqa: N815 - ast's own names

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        value = node.value
        if isinstance(value, ast.Yield | ast.YieldFrom) and (self._has("yields") or self._makes(value.value)):
            return self._statement(node)
        if isinstance(value, ast.Call) and self._calls(value):
            return self._statement(node)
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return self._statement(node) if self._has("raises") and node.exc is not None else node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        function, value = self._function, node.value
        if function is not None and function.name in self._helpers:
            return node
        blocks = function is not None and function.name == "blocker" and self._has("blockers")
        text = isinstance(value, ast.JoinedStr) or (
            isinstance(value, ast.Constant) and value.value is not None
        )
        if self._makes(value) or self._is_reason(value) or (blocks and text):
            return self._statement(node)
        if isinstance(value, ast.Call) and self._calls(value):
            return self._statement(node)
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """A finding with a name is taken away where the name is used."""
        if self._makes(node.value):
            self._carriers |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            return node
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """`problems += …` takes over all that a function found."""
        if self._has("findings") and text_of(node.target).rpartition(".")[2] == "problems":
            return self._statement(node)
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        for branch in ("body", "orelse"):
            value = getattr(node, branch)
            rule = self._makes(value) or self._is_reason(value)
            setattr(node, branch, self._or_none(value) if rule else self.visit(value))
        node.test = self.visit(node.test)
        return node

    def visit_List(self, node: ast.List) -> ast.AST:
        return self._elements(node, [element for element in node.elts if self._makes_part(element)])

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        if all(map(self._makes, node.elts)):
            return self._elements(node, node.elts)
        return self.generic_visit(node)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> ast.AST:
        if self._makes_part(node.elt):
            node.generators[-1].ifs.append(self._switch(node.elt))
            return node
        return self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = _comprehension  # noqa: N815 - ast's own names

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if self._makes(node) or (self._has("calls") and self._calls(node)):
            raise UnplacedError(
                f"{self._file}:{node.lineno}: the mutation check cannot take away a rule in this place: "
                f"{text_of(node)}. Give it a place of its own, or teach tests/mutation/switches.py this one."
            )
        return self.generic_visit(node)
