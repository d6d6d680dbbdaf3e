"""A rule is taken away whole, whatever its form, and everything else stays as it is."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.mutation.constraints import aliases_in, constrained
from tests.mutation.loader import Switches
from tests.mutation.scope import Form
from tests.mutation.site import UnplacedError
from tests.mutation.switches import switched

ALL: frozenset[Form] = frozenset({"calls", "findings", "raises", "yields", "reasons", "blockers"})
START = """
from __future__ import annotations
def Problem(text): return text
Refusal = Wrong = Problem
def refuse(text): raise ValueError(text)
def helper(text) -> Problem: return Problem(text)
class report:
    problems: list = []
    problem = warn = problems.append
"""

FORMS: dict[str, tuple[str, list[Any]]] = {
    "a call over several lines": (
        "def f():\n    report.problem(\n        'a',\n    )\n    return report.problems",
        [["a"], []],
    ),
    "the only statement of a branch": (
        "def f():\n    if True: report.warn('a')\n    return report.problems",
        [["a"], []],
    ),
    "a call that raises": ("def f():\n    refuse('a')\n    return 'accepted'", ["ValueError: a", "accepted"]),
    "a statement that raises": ("def f():\n    raise KeyError('a')", ["KeyError: 'a'", None]),
    "a yield, so that the generator stays one": (
        "def g():\n    yield 'a', {'b': 1}\ndef f(): return list(g())",
        [[("a", {"b": 1})], []],
    ),
    "a yield from": ("def g():\n    yield from ['a', 'b']\ndef f(): return list(g())", [["a", "b"], []]),
    "one of two elements of a list": (
        "def f(): return [Problem('a'), Problem('b')]",
        [["a", "b"], ["b"], ["a"]],
    ),
    "a pair in a list": ("def f(): return [(True, Refusal('a'))]", [[(True, "a")], []]),
    "the only element of a tuple": ("def f(): return (None, (Refusal('a'),))", [(None, ("a",)), (None, ())]),
    "a list inside a conditional expression": (
        "def f(): return [*([Refusal('a')] if True else []), 'b']",
        [["a", "b"], ["b"]],
    ),
    "a branch of a conditional expression": (
        "def f() -> Wrong | None: return None if False else ('reason', 'remedy')",
        [("reason", "remedy"), None],
    ),
    "a reason that falls through to the next": (
        "def f() -> Wrong | None:\n    if True:\n        return 'a', 'b'\n    return 'c', 'd'",
        [("a", "b"), ("c", "d"), ("a", "b")],
    ),
    "a finding with a name": (
        "def f():\n    found = Refusal('a')\n    return [(1, found)]",
        [[(1, "a")], []],
    ),
    "a finding that is returned": ("def f(): return Problem('a')", ["a", None]),
    "the call of a helper": ("def f(): return [helper('a')]", [["a"], []]),
    "what a comprehension makes": ("def f(): return [Problem(x) for x in 'ab']", [["a", "b"], []]),
    "findings taken over from elsewhere": (
        "def f():\n    problems = ['a']\n    problems += ['b']\n    return problems",
        [["a", "b"], ["a"]],
    ),
    "what is appended": ("def f():\n    out = []\n    out.append(Problem('a'))\n    return out", [["a"], []]),
    "why something may not be deleted": ("def blocker(): return 'a'\ndef f(): return blocker()", ["a", None]),
}


def _outcome(source: str, away: int | None) -> tuple[Any, list[str]]:
    """What `f` gives with one rule away, and which rules came about."""
    switches = Switches()
    tree, sites = switched("rules.py", START + source, ALL)
    own = [site for site in sites if site.line > START.count("\n")]
    namespace: dict[str, Any] = {"__rule__": switches.on}
    switches.away = None if away is None else own[away].key
    exec(compile(tree, "rules.py", "exec"), namespace)
    try:
        result = namespace["f"]()
    except (ValueError, KeyError) as error:
        result = f"{type(error).__name__}: {error}"
    return result, [site.key for site in own]


@pytest.mark.parametrize("form", FORMS)
def test_taking_a_rule_away_takes_away_that_rule_alone(form: str) -> None:
    source, (whole, *without) = FORMS[form]
    result, keys = _outcome(source, None)
    assert result == whole
    assert len(keys) == len(without)
    assert [_outcome(source, number)[0] for number in range(len(keys))] == without


def test_a_rule_in_a_place_that_is_not_known_is_an_error_with_file_and_line() -> None:
    with pytest.raises(UnplacedError, match=r"rules\.py:2: .*Problem\('a'\)"):
        switched("rules.py", "def f():\n    return {'key': Problem('a')}", ALL)


def test_forms_that_a_file_does_not_have_are_left_alone() -> None:
    source = "def f():\n    report.problem('a')\n    yield 1\n    raise KeyError"
    tree, sites = switched("rules.py", source, frozenset())
    assert (ast.unparse(tree), sites) == (ast.unparse(ast.parse(source)), [])


MODELS = """
from typing import Annotated, Literal
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
def even(value: int) -> int:
    if value % 2: raise ValueError('odd')
    return value
Count = Annotated[int, Field(ge=1)]
Size = Literal['small', 'large']
class Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra='forbid', strict=True)
class Model(Base):
    bounded: Annotated[int, Field(ge=1, le=9)] = 1
    counted: Count | None = None
    size: Size = 'small'
    checked: Annotated[int, AfterValidator(even)] = 0
    listed: tuple[Annotated[int, AfterValidator(even)], ...] = ()
    short: str = Field(default='', max_length=3)
"""
CONSTRAINTS = {
    "extra='forbid'": {"unknown": 1},
    "strict=True": {"bounded": "1"},
    "ge=1": {"bounded": 0},
    "le=9": {"bounded": 10},
    "Count": {"counted": 0},
    "Size": {"size": "huge"},
    "AfterValidator(even)": {"checked": 1},
    "max_length": {"short": "long"},
}


def _model(without: str | None) -> type[BaseModel]:
    namespace: dict[str, Any] = {"__name__": "models"}
    exec(
        compile(
            constrained("m.py", MODELS, aliases_in([MODELS]), without)[0], "m.py", "exec", dont_inherit=True
        ),
        namespace,
    )
    model: type[BaseModel] = namespace["Model"]
    return model


@pytest.mark.parametrize("rule", CONSTRAINTS)
def test_taking_a_constraint_away_accepts_what_it_alone_refused(rule: str) -> None:
    sites = constrained("m.py", MODELS, aliases_in([MODELS]))[1]
    site = next(site for site in sites if rule in site.text)
    with pytest.raises(ValidationError):
        _model(None).model_validate(CONSTRAINTS[rule])
    _model(site.key).model_validate(CONSTRAINTS[rule])
    for other in CONSTRAINTS.keys() - {rule}:
        with pytest.raises(ValidationError):
            _model(site.key).model_validate(CONSTRAINTS[other])


def test_every_constraint_is_found_once_with_its_field() -> None:
    sites = constrained("m.py", MODELS, aliases_in([MODELS]))[1]
    assert [site.where.removeprefix("Model.") for site in sites] == [
        *("Base", "Base"),
        *("bounded", "bounded", "counted", "size", "checked", "listed", "short"),
    ]
