"""What the catalog says of a model is what transformers' own classes make of its shape."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from stacks.plan.architecture import cache_bytes, cache_bytes_per_token, count_parameters
from stacks.plan.catalog import catalog
from stacks.plan.spec import ModelSpec
from tests.images.serve_python import ROOT, SERVE_PYTHON, needs_torch

pytestmark = [pytest.mark.images, needs_torch]

FEW = 3


def tokens_of(model: ModelSpec) -> list[int]:
    """A few tokens, and with local layers more than their window holds."""
    window = model.architecture.sliding_window
    return [FEW, window + FEW] if window else [FEW]


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Every model of the catalog, built without memory."""
    entries = [
        {**model.model_dump(by_alias=True, mode="json"), "tokens": tokens_of(model)}
        for model in catalog().values()
    ]
    done = subprocess.run(
        [SERVE_PYTHON, "-m", "tests.images.count_models"],
        cwd=ROOT,
        input=json.dumps(entries),
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", catalog())
def test_the_parameters_are_those_of_the_real_class(measured: dict[str, Any], name: str) -> None:
    model = catalog()[name]
    assert measured[name]["parameters"] == model.parameters
    assert measured[name]["parameters"] == count_parameters(model.architecture) + model.vision_parameters


@pytest.mark.parametrize("name", catalog())
def test_the_cache_is_that_of_a_real_pass(measured: dict[str, Any], name: str) -> None:
    shape, found = catalog()[name].architecture, measured[name]["cached"]
    # An encoder-decoder caches one token of the answer besides the prompt.
    tokens = FEW + 1 if shape.encoder_layers else FEW
    assert found[str(FEW)] == cache_bytes(shape, tokens, 1) == tokens * cache_bytes_per_token(shape, 1)


@pytest.mark.parametrize("name", [name for name in catalog() if catalog()[name].architecture.sliding_window])
def test_a_local_layer_caches_its_window(measured: dict[str, Any], name: str) -> None:
    shape = catalog()[name].architecture
    beyond = shape.sliding_window + FEW
    local = shape.decoder_layers - shape.decoder_layers // shape.global_every
    one_token = local * cache_bytes_per_token(shape, 1) // shape.decoder_layers
    # Between two steps a local layer leaves out the token that the next step brings.
    assert measured[name]["cached"][str(beyond)] == cache_bytes(shape, beyond, 1) - one_token
