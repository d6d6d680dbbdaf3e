"""The structural diff of properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base.diff import Kind, changed_paths, diff_properties, touching
from providers.base.paths import format_path
from providers.base.provider import DiffResponse
from providers.base.values import UNKNOWN, Archive, Asset, Secret

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.text(max_size=2), plain, max_size=3)


def kinds(old, new):
    return {format_path(change.path): change.kind for change in diff_properties(old, new)}


@given(mappings)
def test_nothing_differs_from_itself(properties):
    assert diff_properties(properties, properties) == []


@given(mappings, mappings)
def test_backwards_the_same_paths_differ_with_additions_and_deletions_swapped(old, new):
    swapped = {Kind.ADD: Kind.DELETE, Kind.DELETE: Kind.ADD, Kind.UPDATE: Kind.UPDATE}
    assert kinds(new, old) == {path: swapped[kind] for path, kind in kinds(old, new).items()}


def test_a_change_deep_inside_is_named_by_the_engines_path():
    old = {"template": {"containers": [{"image": "a", "cpu": 1}]}, "labels": {"a-b": "1"}}
    new = {"template": {"containers": [{"image": "b", "cpu": 1}]}, "labels": {"a-b": "2"}}
    assert kinds(old, new) == {"template.containers[0].image": Kind.UPDATE, 'labels["a-b"]': Kind.UPDATE}


def test_additions_and_deletions_are_told_apart_in_mappings_and_lists():
    assert kinds({"a": 1, "l": [1, 2]}, {"b": 1, "l": [1]}) == {
        "a": Kind.DELETE,
        "b": Kind.ADD,
        "l[1]": Kind.DELETE,
    }


def test_null_and_absence_are_the_same():
    assert kinds({"a": None, "b": {"c": None}}, {"b": {}}) == {}


def test_whether_a_value_is_secret_does_not_count():
    assert kinds({"a": Secret({"b": 1})}, {"a": {"b": Secret(1)}}) == {}
    assert kinds({"a": Secret(1)}, {"a": 2}) == {"a": Kind.UPDATE}


def test_an_unknown_differs_from_everything_even_inside_what_is_new():
    assert kinds({"a": 1, "c": {"d": 1}}, {"a": UNKNOWN, "b": UNKNOWN, "c": {"d": Secret(UNKNOWN)}}) == {
        "a": Kind.UPDATE,
        "b": Kind.ADD,
        "c.d": Kind.UPDATE,
    }
    assert kinds({"a": UNKNOWN}, {"a": UNKNOWN}) == {"a": Kind.UPDATE}


def test_true_is_not_one():
    assert kinds({"a": True}, {"a": 1}) == {"a": Kind.UPDATE}


def test_whole_floats_equal_integers():
    assert kinds({"a": 1.0}, {"a": 1}) == {}


def test_assets_and_archives_are_compared_by_hash():
    assert kinds({"a": Asset(hash="x")}, {"a": Asset(text="content", hash="x")}) == {}
    assert kinds({"a": Archive(hash="x")}, {"a": Archive(path=".", hash="y")}) == {"a": Kind.UPDATE}
    assert kinds({"a": Asset(hash="x")}, {"a": Archive(hash="x")}) == {"a": Kind.UPDATE}
    assert kinds({"a": Asset(path="f")}, {"a": Asset(path="g")}) == {"a": Kind.UPDATE}


@pytest.mark.parametrize(
    ("old", "new", "pattern", "touched"),
    [
        ({"c": [{"image": "a"}]}, {"c": [{"image": "b"}]}, "c[*].image", ["c[0].image"]),
        ({"c": [{"cpu": 1}]}, {"c": [{"cpu": 2}]}, "c[*].image", []),
        ({"n": {"id": "a"}}, {"n": {"id": "b"}}, "n", ["n.id"]),
        ({}, {"settings": {"tier": "x"}}, "settings.tier", ["settings"]),
        ({}, {"settings": {"size": 1}}, "settings.tier", []),
        ({"settings": {"size": 1}}, {"settings": UNKNOWN}, "settings.tier", ["settings"]),
        ({"l": [{"k": 1}]}, {}, "l[*].k", ["l"]),
    ],
)
def test_a_change_touches_a_pattern_at_below_or_around_it(old, new, pattern, touched):
    assert changed_paths(touching(diff_properties(old, new), [pattern])) == touched


def test_a_response_replaces_only_for_what_forces_it():
    changes = diff_properties({"name": "a", "size": 1}, {"name": "b", "size": 2})
    response = DiffResponse.of(changes, replace_on=["name"], delete_before_replace=True)
    assert (response.replaces, response.delete_before_replace) == (["name"], True)
    unforced = DiffResponse.of(changes[1:], replace_on=["name"], delete_before_replace=True)
    assert (unforced.replaces, unforced.delete_before_replace) == ([], False)
