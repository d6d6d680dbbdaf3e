"""What a `StagedModel` takes, and how it speaks of what it does not take."""

import asyncio

import pytest

from providers.base.errors import ProviderError
from providers.base.provider import CheckRequest
from providers.base.values import UNKNOWN
from providers.modelops import polling
from tests.unit.modelops.calls import INPUTS, check


def test_inputs_are_checked_where_they_are_known(provider):
    inputs, reasons = check(
        provider,
        {
            "job": UNKNOWN,
            "target": "gs://bucket",
            "repository": 3,
            "revision": "abc",
            "format": "safetensors",
            "targetLabel": "Not A Label",
            "colour": "red",
        },
    )
    assert inputs["retain"] is True
    assert reasons == {
        "target": "'gs://bucket' is not gs://BUCKET/PREFIX without a trailing slash",
        "repository": "input should be a valid string, got 3",
        "dtype": "is required",
        "targetLabel": "'Not A Label' is not a label's value: 1 to 63 of a-z, 0-9, _ and -",
        "colour": "is no input of StagedModel",
    }
    assert check(provider, {**INPUTS, "target": UNKNOWN})[1] == {}


def test_a_type_that_the_provider_does_not_have_is_refused_by_name(provider):
    with pytest.raises(
        ProviderError, match="modelops has no resource a:b:C; it has modelops:index:StagedModel"
    ):
        asyncio.run(provider.check(CheckRequest("urn", "a:b:C", "x", {}, {})))


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0s"), (59.9, "59s"), (80, "1m20s"), (3600, "1h00m"), (7500, "2h05m")]
)
def test_time_spans_are_said_as_people_say_them(seconds, said):
    assert polling.duration(seconds) == said
