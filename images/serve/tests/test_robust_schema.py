"""Requests made up from the server's own description: what it promises there is what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serve import contract
from test_api_openai import environment_of
from test_process import server

EXAMPLES = 40
"""Requests for each operation."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def description(gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description of a server process."""
    log = tmp_path_factory.mktemp("log") / "log"
    with server(environment_of(gpt2), log) as (_, client):
        yield schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")))
    text = log.read_text()
    assert "Traceback" not in text


def test_every_answer_is_one_that_the_description_promises(description: Any) -> None:
    operations = [found.ok() for found in description.get_all_operations()]
    assert len(operations) == len(contract.load().routes)
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def answer_as_promised(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        answer_as_promised()
