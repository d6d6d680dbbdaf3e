"""What is refused before vLLM starts, each in one line, and what is taken from a model's files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from serve.engines import vllm_checkpoint
from serve.engines.base import GenerateRequest, UnsupportedError
from serve.engines.vllm_worker import sampling_params
from transformers import AutoModelForCausalLM, T5Config


@pytest.fixture
def own(gpt2: Path, tmp_path: Path) -> Path:
    """A model that a test may change."""
    return Path(shutil.copytree(gpt2, tmp_path / "own"))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_an_encoder_decoder_model_is_refused_with_the_engines_that_take_it(tmp_path: Path) -> None:
    T5Config(num_layers=1).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match=r"t5.*set ENGINE to transformers, or to ctranslate2"):
        vllm_checkpoint.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("no_repeat_ngram_size", 3), ("min_length", 5), ("suppress_tokens", [7]), ("stop_strings", ["."])],
)
def test_what_vllm_would_leave_out_of_the_generation_config_is_refused(
    own: Path, name: str, value: object
) -> None:
    change(own / "generation_config.json", **{name: value})
    with pytest.raises(UnsupportedError, match=f"asks for {name}, which vLLM does not do"):
        vllm_checkpoint.read(own)


def test_a_model_without_an_end_token_is_refused(own: Path) -> None:
    change(own / "generation_config.json", eos_token_id=None)
    with pytest.raises(ValueError, match="eos_token_id"):
        vllm_checkpoint.read(own)


def test_weights_are_counted_as_transformers_counts_them(gpt2: Path) -> None:
    read = vllm_checkpoint.read(gpt2)
    assert read.parameters == AutoModelForCausalLM.from_pretrained(gpt2).num_parameters()
    assert read.end_ids == {0}


def test_the_models_own_wishes_reach_every_request(own: Path) -> None:
    change(own / "generation_config.json", min_new_tokens=9)
    common = vllm_checkpoint.read(own).sampling
    params = sampling_params(GenerateRequest(id="1", prompt_ids=[5], max_new_tokens=4), common)
    assert (params.repetition_penalty, params.min_tokens, params.max_tokens) == (1.3, 4, 4)
