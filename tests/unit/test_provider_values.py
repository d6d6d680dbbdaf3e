"""Property values between the engine's wire form and Python."""

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from providers.base.paths import format_path, parse_path
from providers.base.values import (
    UNKNOWN,
    Archive,
    Asset,
    ResourceReference,
    Secret,
    decode,
    decode_properties,
    encode,
    encode_properties,
    has_secret,
    has_unknown,
    mark_secret,
    strip_secrets,
)

SIGNATURE = "4dabf18193072939515e22adb298388d"
texts = st.text(max_size=8)
assets = st.builds(Asset, text=texts, hash=texts) | st.builds(Asset, path=texts, hash=texts)
archives = st.builds(Archive, path=texts, hash=texts) | st.builds(
    Archive, assets=st.dictionaries(texts, assets, max_size=2)
)
references = st.builds(
    ResourceReference,
    urn=texts,
    id=st.none() | st.just(UNKNOWN) | st.text(min_size=1, max_size=8),
    package_version=texts,
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.just(UNKNOWN)
    | assets
    | archives
    | references
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3) | st.builds(Secret, inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_encoded_is_decoded_to_the_same(properties):
    assert decode_properties(encode_properties(properties)) == properties


@given(values)
def test_a_value_without_secrets_has_none_at_any_depth(value):
    assert not has_secret(strip_secrets(value))


@given(st.lists(texts | st.integers(0, 99), min_size=1, max_size=5))
def test_a_path_is_parsed_to_what_it_was_formatted_from(path):
    if not any(isinstance(step, str) and step.endswith("\\") for step in path):
        assert parse_path(format_path(tuple(path))) == tuple(path)


def test_whole_numbers_come_as_integers_and_others_as_floats():
    decoded = decode_properties(encode_properties({"a": 3, "b": 3.5, "c": 2.0, "d": True}))
    assert [type(decoded[key]) for key in "abcd"] == [int, float, int, bool]


def test_an_integer_that_a_double_cannot_hold_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^disk: size: 9007199254740993 is too large"):
        encode_properties({"disk": {"size": 2**53 + 1}})


def test_every_typed_unknown_of_the_engine_is_unknown():
    number = struct_pb2.Value(string_value="3eeb2bf0-c639-47a8-9e75-3b44932eb421")
    mapping = struct_pb2.Value(string_value="dd056dcd-154b-4c76-9bd3-c8f88648b5ff")
    assert decode(number) is UNKNOWN
    assert decode(mapping) is UNKNOWN


def test_an_output_value_becomes_its_value_its_secret_or_unknown():
    output = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
    known = encode({"value": "x", "secret": True, "dependencies": ["urn"]})
    known.struct_value.fields[SIGNATURE].string_value = output
    unknown = encode({"dependencies": []})
    unknown.struct_value.fields[SIGNATURE].string_value = output
    assert decode(known) == Secret("x")
    assert decode(unknown) is UNKNOWN


def test_an_asset_of_which_only_the_hash_was_sent_keeps_it():
    elided = encode({"hash": "abc"})
    elided.struct_value.fields[SIGNATURE].string_value = "c44067f5952c0a294b673a41bacd8c17"
    assert decode(elided) == Asset(hash="abc")


def test_a_resource_reference_uses_the_engines_names():
    wire = encode(ResourceReference("urn:x", "id-1", "1.2.3")).struct_value.fields
    assert {key: value.string_value for key, value in wire.items() if key != SIGNATURE} == {
        "urn": "urn:x",
        "id": "id-1",
        "packageVersion": "1.2.3",
    }


def test_a_reference_to_a_resource_not_created_yet_has_an_unknown_id():
    wire = encode(ResourceReference("urn:x", "later"))
    wire.struct_value.fields["id"].string_value = ""
    assert decode(wire) == ResourceReference("urn:x", UNKNOWN)
    assert has_unknown({"network": [decode(wire)]})


def test_a_special_value_of_an_unknown_kind_is_refused():
    wire = encode({})
    wire.struct_value.fields[SIGNATURE].string_value = "something new"
    with pytest.raises(ValueError, match="something new"):
        decode(wire)


def test_what_is_no_property_value_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"^a: b: a set is no property value$"):
        encode_properties({"a": {"b": {1}}})


def test_a_secret_never_shows_its_value():
    assert "hunter2" not in repr({"password": Secret("hunter2")})


def test_secrets_are_marked_at_paths_and_through_wildcards():
    properties = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "keys": {"x": "3"}}
    assert mark_secret(properties, ["env[*].value", "keys.*", "absent.path"]) == {
        "env": [{"name": "A", "value": Secret("1")}, {"name": "B", "value": Secret("2")}],
        "keys": {"x": Secret("3")},
    }


def test_marking_twice_does_not_wrap_twice():
    once = mark_secret({"a": "1"}, ["a"])
    assert mark_secret(once, ["a"]) == once


@pytest.mark.parametrize("text", ["a..b", "a[", "a[x]", 'a["b', ".", "a[1"])
def test_text_that_is_no_property_path_is_refused(text):
    with pytest.raises(ValueError, match="is no property path"):
        parse_path(text)
