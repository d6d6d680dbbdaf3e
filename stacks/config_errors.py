"""What is wrong with a configuration, told so that a person can put it right.

Every check reports `Problem`s, and all of them reach the person at once as one `ConfigError`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

HIDDEN = "(hidden)"
"""Stands where a value must not be shown."""

_SHOWN_CHARACTERS = 60
_LISTED_OPTIONS = 16
_NEAR = 0.55
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "tuple_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        path: the key's path, for instance `llm:deployments.assistant.scaling.min`.
        value: the bad value as `show` writes it, or None where a value is missing.
        reason: why it is wrong.
        remedy: what would be right.
    """

    path: str
    value: str | None
    reason: str
    remedy: str


class ConfigError(Exception):
    """A configuration that cannot be built, with every problem found in it.

    Args:
        stack_file: name of the stack file, for instance `Pulumi.dev.yaml`.
        problems: what is wrong; kept once each, sorted by path.
    """

    def __init__(self, stack_file: str, problems: Iterable[Problem]) -> None:
        self.stack_file = stack_file
        masked = {_masked(problem) for problem in problems}
        self.problems = sorted(masked, key=lambda p: (p.path, p.reason, p.remedy, p.value or ""))
        super().__init__(stack_file, self.problems)

    def __str__(self) -> str:
        return "\n".join(self._text(problem) for problem in self.problems)

    def _text(self, problem: Problem) -> str:
        value = "" if problem.value is None else f" = {problem.value}"
        where = f"{self.stack_file}: {problem.path}{value}" if problem.path else self.stack_file
        return f"{where}: {problem.reason}\n    {problem.remedy}"


def show(value: object) -> str:
    """Writes a value for a message: short, on one line, with anything like a Hub token masked."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = _short(text)
    return f'"{text}"' if isinstance(value, str) else text


def key_path(path: str, *keys: int | str) -> str:
    """Adds keys to a path, each short and on one line: `a.b[0]`."""
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{_short(key)}"
    return path


def suggest(word: object, options: Iterable[str]) -> str:
    """Says which of the valid spellings is nearest, then names them, or the first of many."""
    known = sorted(options)
    near = nearest(word, known)
    listed = f"valid here: {', '.join(known[:_LISTED_OPTIONS])}"
    if len(known) > _LISTED_OPTIONS:
        listed += f" and {len(known) - _LISTED_OPTIONS} more"
    if near is None:
        return listed
    return f"did you mean {near}? ({listed})" if len(known) > 1 else f"did you mean {near}?"


def nearest(word: object, options: Iterable[str], likeness: float = _NEAR) -> str | None:
    """Finds the option that is spelt most like a word; None where none is like it.

    Args:
        word: what was written.
        options: the valid spellings.
        likeness: from 0, anything, to 1, equal but for capitals.
    """
    by_spelling = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(word).lower(), by_spelling, n=1, cutoff=likeness)
    return by_spelling[near[0]] if near else None


def mask(text: str) -> str:
    """Replaces anything like a Hub token."""
    return _TOKEN.sub(HIDDEN, text)


def _masked(problem: Problem) -> Problem:
    # A token may have been written as a key, and a remedy may repeat what was written.
    value = None if problem.value is None else mask(problem.value)
    return Problem(mask(problem.path), value, mask(problem.reason), mask(problem.remedy))


def _short(text: str) -> str:
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in mask(text))
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def refuse(reason: str, remedy: str, *, key: str | None = None) -> NoReturn:
    """Refuses a value from inside a pydantic validator.

    Args:
        reason: why it is wrong.
        remedy: what would be right.
        key: which key of the validated mapping to name, where the mapping as a whole is checked.
    """
    raise PydanticCustomError("refused", "{reason}", {"reason": reason, "remedy": remedy, "key": key})


def problems_of(error: ValidationError, model: type[BaseModel], path: str) -> list[Problem]:
    """Turns what pydantic found into problems.

    Args:
        error: raised by validating `model`.
        model: the model that was validated; gives the valid keys for a misspelt one.
        path: path of the validated value in the stack file.
    """
    return [problem_of(details, model, path) for details in error.errors(include_url=False)]


def problem_of(details: ErrorDetails, model: type[BaseModel], path: str) -> Problem:
    """Turns one thing that pydantic found into a problem; arguments as for `problems_of`."""
    keys = [part for part in details["loc"] if part not in ("<name>", "<inline>")]
    reason, remedy = _explain(details, keys, model)
    value = details["input"]
    key = details.get("ctx", {}).get("key")
    if key is not None:
        keys, value = [*keys, key], value.get(key)
    shown = None if details["type"] == "missing" or value is None else show(value)
    return Problem(key_path(path, *keys), shown, reason, remedy)


def _explain(details: ErrorDetails, keys: list[int | str], model: type[BaseModel]) -> tuple[str, str]:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "refused":
        return context["reason"], context["remedy"]
    if kind == "missing":
        return "is required and missing", f"add {keys[-1]}"
    if kind == "extra_forbidden":
        return "is not a known key", suggest(keys[-1], known_keys(model, keys[:-1]))
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", context["expected"])
        return "is not a valid value", suggest(details["input"], options)
    if kind in _EXPECTED:
        return f"is not {_EXPECTED[kind]}", f"write {_EXPECTED[kind]}{_quoted_hint(details['input'], kind)}"
    if "ge" in context or "gt" in context:
        least = context["ge"] if "ge" in context else context["gt"] + 1
        return f"is below {least}", f"write a number of at least {least}"
    if "le" in context:
        return f"is above {context['le']}", f"write a number of at most {context['le']}"
    return details["msg"][:1].lower() + details["msg"][1:], "correct the value"


def _quoted_hint(value: object, kind: str) -> str:
    if kind == "int_type" and isinstance(value, str) and value.strip().isdigit():
        return f" without quotes: {value.strip()}"
    if kind == "string_type" and isinstance(value, int | float):
        return f' in quotes: "{value}"'
    return ""


def known_keys(model: type[BaseModel], keys: Sequence[int | str]) -> list[str]:
    """Finds the keys that are valid in the mapping at `keys` below `model`."""
    for key in keys:
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        inner = _model_in(fields[str(key)].annotation) if str(key) in fields else None
        if inner is None:
            return []
        model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
