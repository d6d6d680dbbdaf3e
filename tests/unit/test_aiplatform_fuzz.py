"""Requests made from the discovery document's own schemas: the face answers each as Google would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.auth.transport.requests import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rehearsal.cloud.aiplatform.methods import BELOW
from rehearsal.cloud.discovery import Api, Method
from tests.unit.aiplatform_world import Vertex, start
from tests.unit.cloud_world import LOCATION

API = Api("aiplatform.v1", below=BELOW)
_VERBS = (
    "create",
    "upload",
    "patch",
    "update",
    "deployModel",
    "undeployModel",
    "mutateDeployedModel",
    "predict",
)
_VERBS += ("mergeVersionAliases", "get", "list", "delete", "deleteVersion", "listVersions", "cancel", "wait")
METHODS = [
    method
    for method in API.methods
    if method.id.rpartition(".")[2] in _VERBS
    and method.id.split(".")[3] in {path[-1] for path in BELOW}
    # Of what is below these, operations alone are part of the rehearsed cloud.
    and (len(method.id.split(".")) == 5 or method.id.split(".")[4] == "operations")
]
_IDS = st.sampled_from(["tiny", "tiny@1", "tiny@default", "none", "1", "7-7", "@", "%2e%2e", "ä"])
_TEXTS = st.one_of(
    st.sampled_from(["x", "", "gs://acme-models/models", "0", f"{LOCATION}/models/tiny", "5s", "*"]),
    st.text(max_size=5),
)
_DEPTH = 3


def body(name: str, depth: int = _DEPTH) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of a schema, some of whose fields are there."""
    fields = {
        key: value(field, depth)
        for key, field in sorted(API.schemas[name].get("properties", {}).items())
        if not field.get("readOnly")
    }
    return st.fixed_dictionaries({}, optional=fields)


def value(field: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    """Values of a field: mostly right, now and then of another type."""
    return right(field, depth) | st.sampled_from([None, 0, "x", [], {}, True])


def right(field: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    """Values of the field's own type."""
    if "$ref" in field:
        return body(field["$ref"], depth - 1) if depth else st.just({})
    kind = field.get("type", "any")
    if kind == "array":
        return st.lists(value(field["items"], depth - 1), max_size=2) if depth else st.just([])
    if kind == "object":
        inner = field.get("additionalProperties", {})
        return st.dictionaries(_TEXTS, value(inner, depth - 1), max_size=2) if depth else st.just({})
    if "enum" in field:
        return st.sampled_from(field["enum"])
    if field.get("format") in ("int64", "uint64"):
        return st.integers(-1, 10**12).map(str)
    plain = {
        "string": _TEXTS,
        "boolean": st.booleans(),
        "integer": st.integers(-1, 200),
        "number": st.floats(0, 9),
    }
    return plain.get(kind, st.sampled_from([1, "x", {"instances": ["x"]}, None]))


@st.composite
def requests(draw: st.DrawFn) -> tuple[Method, str, dict[str, str], bytes | None]:
    """A method with a path, a query and a body."""
    method: Method = draw(st.sampled_from(METHODS))
    path = str(method.description["path"])
    query: dict[str, str] = {}
    for name, parameter in method.description["parameters"].items():
        if parameter["location"] == "path":
            below = (
                parameter["pattern"]
                .strip("^$")
                .replace("[^/]+", "{}")
                .removeprefix("projects/{}/locations/{}")
            )
            ids = [draw(_IDS) for _ in range(below.count("{}"))]
            path = path.replace(f"{{+{name}}}", LOCATION + below.format(*ids))
        elif draw(st.booleans()):
            query[name] = draw(
                _TEXTS if parameter["type"] == "string" else st.sampled_from(["1", "-1", "x", "true"])
            )
    reference = method.description.get("request")
    content = json.dumps(draw(body(reference["$ref"]))).encode() if reference else None
    return (
        method,
        path,
        query,
        draw(st.sampled_from([content, content, content, b"[1]", b"{"])) if content else None,
    )


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vertex]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        running = start(tmp_path_factory.mktemp("fuzz") / "world", monkeypatch)
        vertex = Vertex(running)
        vertex.credentials.refresh(Request())
        vertex.upload(modelId="tiny")
        yield vertex
        running.stop()


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(request=requests())
def test_whatever_is_asked_the_answer_is_one_of_the_documents_or_an_error_of_googles_shape(
    vertex: Vertex, request: tuple[Method, str, dict[str, str], bytes | None]
) -> None:
    method, path, query, content = request
    answer = httpx.request(
        method.verb,
        f"{vertex.running.base_url}/{path}",
        params=query,
        content=content,
        headers={"authorization": f"Bearer {vertex.credentials.token}", "content-type": "application/json"},
        timeout=60,
    )
    assert answer.status_code < 500 or answer.status_code == 501, answer.text
    found = answer.json()
    if answer.is_success:
        known = API.schemas[method.description["response"]["$ref"]].get("properties", {})
        assert set(found) <= set(known)
    else:
        error = found["error"]
        assert error["code"] == answer.status_code
        assert error["message"]
        assert error["status"].isupper()


@pytest.mark.parametrize("method", METHODS, ids=[method.id for method in METHODS])
def test_a_method_that_the_document_has_refuses_a_field_and_a_parameter_that_it_has_not(
    vertex: Vertex, method: Method
) -> None:
    path = str(method.description["path"])
    for name, parameter in method.description["parameters"].items():
        if parameter["location"] == "path":
            value = parameter["pattern"].strip("^$").replace("[^/]+", "1")
            path = path.replace(f"{{+{name}}}", value)
    url = f"{vertex.running.base_url}/{path}"
    headers = {"authorization": f"Bearer {vertex.credentials.token}"}
    answer = httpx.request(method.verb, url, params={"nonsense": "1"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    if "request" in method.description:
        answer = httpx.request(method.verb, url, json={"nonsense": 1}, headers=headers)
        assert answer.status_code == 400
        assert 'Unknown name "nonsense"' in answer.json()["error"]["message"]
