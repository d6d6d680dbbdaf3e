"""Where the refusals are written: a quoted source is installed, and says what the row says that it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rehearsal.standins.gcp.models import RULES
from rehearsal.standins.refusals import Refusal, refusals

assert RULES, "the predicates are known once the models are imported"
QUOTED = [row for row in refusals() if row.quote is not None]
INSTALLED = ("discovery document", "installed SDK")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _texts(member)


@cache
def source_text(file: str) -> str:
    """All words of an installed file, or of a discovery document, on one line."""
    if file.endswith(".py"):
        package, _, rest = file.partition("/")
        text = (_folder(package) / rest).read_text(encoding="utf-8")
    else:
        folder = _folder("googleapiclient") / "discovery_cache" / "documents"
        text = "\n".join(_texts(json.loads((folder / f"{file}.json").read_text(encoding="utf-8"))))
    return re.sub(r"\s+", " ", text)


def _folder(package: str) -> Path:
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


@pytest.mark.parametrize("row", QUOTED, ids=[row.id for row in QUOTED])
def test_a_quote_is_found_in_its_source(row: Refusal) -> None:
    assert row.quote is not None
    assert re.sub(r"\s+", " ", row.quote.text) in source_text(row.quote.file)


def test_what_was_read_in_an_installed_source_is_quoted_from_it() -> None:
    unquoted = [
        row.id
        for row in refusals()
        if row.certainty == "C" and row.source.startswith(INSTALLED) and row.quote is None
    ]
    assert unquoted == []


def test_what_was_read_has_a_source_that_can_be_looked_up() -> None:
    places = ("https://", "Google's answer", *INSTALLED)
    vague = [
        row.id
        for row in refusals()
        if row.certainty == "C" and not any(place in row.source for place in places)
    ]
    assert vague == []


def test_at_least_eighty_rows_refuse() -> None:
    assert sum(row.refuses for row in refusals()) >= 80
