"""Cloud Run: Pulumi's properties to REST and back, against Google's own discovery document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import googleapiclient
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.standins.gcp.run import Job, Service
from rehearsal.standins.gcp.run_translate import from_rest, to_rest
from rehearsal.standins.sdk import hints, is_input_class, members, resource_type

SERVICE, JOB = Service.type_name, Job.type_name
OUTSIDE = {"name", "project", "location", "deletionProtection", "deletionPolicy", "tags"}
"""Inputs that are no part of the body."""

READ_ONLY = {"buildInfos"}
"""Inputs that only Google writes; they are not sent."""

NEWER = {".template.containers[].readinessProbe.successThreshold"}
"""Fields of the SDK that the bundled discovery document does not have."""


@cache
def _schemas() -> Any:
    path = Path(googleapiclient.__file__).parent / "discovery_cache/documents/run.v2.json"
    return json.loads(path.read_text())["schemas"]


def _strategy(hint: Any) -> st.SearchStrategy[Any]:
    kind = next(member for member in members(hint) if member is not type(None))
    origin = get_origin(kind)
    if is_input_class(kind):
        properties = {name: _strategy(each) for name, each in hints(kind).items() if name not in READ_ONLY}
        return st.fixed_dictionaries({}, optional=properties)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return st.lists(_strategy(get_args(kind)[0]), min_size=1, max_size=2)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(
            st.sampled_from(["envs", "ports", "a.b/c"]), st.just("v"), min_size=1, max_size=2
        )
    return {str: st.just("text"), int: st.just(7), bool: st.just(True), float: st.just(0.5)}[kind]


def _inputs(token: str) -> st.SearchStrategy[dict[str, Any]]:
    types = resource_type(token).inputs
    spec = {name: _strategy(hint) for name, hint in types.items() if name not in OUTSIDE}
    return st.fixed_dictionaries({}, optional=spec)


def _fullest(hint: Any) -> Any:
    """A value with every property that the SDK has, one of each."""
    kind = next(member for member in members(hint) if member is not type(None))
    origin = get_origin(kind)
    if is_input_class(kind):
        return {name: _fullest(each) for name, each in hints(kind).items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return [_fullest(get_args(kind)[0])]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"key": "value"}
    return {str: "text", int: 7, bool: True, float: 0.5}[kind]


def _strangers(body: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What a body has and Google's schema has not."""
    schema = _schemas()[schema["$ref"]] if "$ref" in schema else schema
    if isinstance(body, list):
        if schema.get("type") != "array":
            yield f"{path}: a list"
            return
        for item in body:
            yield from _strangers(item, schema["items"], f"{path}[]")
    elif isinstance(body, dict):
        if "additionalProperties" in schema:
            return
        for name, value in body.items():
            if name not in schema.get("properties", {}):
                yield f"{path}.{name}"
            else:
                yield from _strangers(value, schema["properties"][name], f"{path}.{name}")
    elif schema.get("type") in ("array", "object"):
        yield f"{path}: a scalar"


@settings(max_examples=40, deadline=None)
@given(_inputs(SERVICE))
def test_a_services_inputs_come_back_as_they_went(inputs: dict[str, Any]) -> None:
    assert from_rest(to_rest(inputs), single_port=True) == inputs


@settings(max_examples=40, deadline=None)
@given(_inputs(JOB))
def test_a_jobs_inputs_come_back_as_they_went(inputs: dict[str, Any]) -> None:
    assert from_rest(to_rest(inputs), single_port=False) == inputs


@pytest.mark.parametrize(("token", "schema"), [(SERVICE, "Service"), (JOB, "Job")])
def test_every_property_of_the_sdk_becomes_a_field_of_googles_api(token: str, schema: str) -> None:
    types = resource_type(token).inputs
    fullest = {name: _fullest(hint) for name, hint in types.items() if name not in OUTSIDE}
    strangers = set(_strangers(to_rest(fullest), {"$ref": f"GoogleCloudRunV2{schema}"}))
    assert strangers - NEWER == set()


def test_a_users_own_keys_are_left_alone() -> None:
    body = to_rest(
        {"labels": {"envs": "1"}, "template": {"containers": [{"resources": {"limits": {"ports": "2"}}}]}}
    )
    assert body["labels"] == {"envs": "1"}
    assert body["template"]["containers"][0]["resources"]["limits"] == {"ports": "2"}


def test_what_is_not_given_is_not_sent() -> None:
    assert to_rest({"template": {"timeout": None, "containers": []}}) == {"template": {"containers": []}}
