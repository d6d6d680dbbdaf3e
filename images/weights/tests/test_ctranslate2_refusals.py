"""What the format ctranslate2 cannot be made of: named in one line, with what to do."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from plans import convert, open_checkpoint
from t5_files import CONFIG, t5_folder
from weights.errors import Failure
from weights.formats import ctranslate2
from weights.manifest import Request


@pytest.mark.parametrize("kind", ["gpt2", "bart", "umt5", "mt5", "llama", None])
def test_another_kind_of_model_is_refused_with_what_to_use(tmp_path, kind):
    source = t5_folder(tmp_path / "in")
    (source / "config.json").write_text(json.dumps({"model_type": kind}))
    refused(source, f"model_type {kind!r}", "is made of t5; use the format safetensors")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"quantization_config": {"bits": 8}}, "quantised already; use a repository of the original weights"),
        ({"feed_forward_proj": "gated-mish"}, "feed_forward_proj 'gated-mish'"),
        ({"feed_forward_proj": "odd-gelu"}, "feed_forward_proj 'odd-gelu'"),
        ({"feed_forward_proj": ["relu"]}, "feed_forward_proj"),
        ({"dense_act_fn": ["relu"]}, "feed_forward_proj"),
        ({"feed_forward_proj": "gated-gelu"}, "no tensor 'encoder.block.0.layer.1.DenseReluDense.wi_0"),
        ({"num_heads": 40_000}, "num_heads 40000"),
        ({"num_layers": 10**9}, "num_layers 1000000000"),
        ({"num_layers": 3}, "no tensor 'encoder.block.2."),
        ({"num_layers": 1, "num_decoder_layers": 2}, "a tensor 'encoder.block.1."),
        ({"d_model": "16"}, "d_model '16'"),
        ({"d_ff": True}, "d_ff True"),
        ({"d_ff": 25}, r"has shape \[24, 16\], config.json implies \[25, 16\]"),
        ({"layer_norm_epsilon": -1.0}, "layer_norm_epsilon -1.0"),
        ({"tie_word_embeddings": False}, "no tensor lm_head.weight"),
        ({"decoder_start_token_id": 40}, "decoder_start_token_id 40"),
        ({"vocab_size": 2**31 - 1}, r"has shape \[40, 16\], config.json implies \[2147483647, 16\]"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_and_named(tmp_path, config, why):
    source = t5_folder(tmp_path / "in")
    (source / "config.json").write_text(json.dumps(CONFIG | config))
    refused(source, why)


@pytest.mark.parametrize(
    ("tokenizer", "why"),
    [
        ({"model": {"vocab": {"<pad>": 0, "</s>": 1, "<unk>": 3}}}, "not numbered one after another"),
        ({"model": {"vocab": {"</s>": 0, "<unk>": 1}}}, "pad_token '<pad>' is not in the vocabulary"),
        (
            {"model": {"vocab": {f"{n}": n for n in range(41)}}},
            "41 tokens and the embeddings have 40 rows",
        ),
        ({"model": {}}, "tokenizer.json cannot be read"),
        ([], "tokenizer.json cannot be read"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused_and_named(tmp_path, tokenizer, why):
    refused(t5_folder(tmp_path / "in", tokenizer=tokenizer), why, "save_pretrained")


def test_a_checkpoint_without_tokenizer_json_is_refused_with_what_to_do(tmp_path):
    source = t5_folder(tmp_path / "in")
    (source / "tokenizer.json").unlink()
    (source / "spiece.model").write_bytes(b"pieces")
    refused(source, "it has no tokenizer.json", "save_pretrained")


def test_a_tensor_that_t5_has_not_is_refused(tmp_path):
    refused(t5_folder(tmp_path / "in", classifier__weight=np.ones((2, 2), np.float32)), "'classifier.weight'")


def test_elements_that_are_no_small_floats_are_refused(tmp_path):
    norm = {"encoder__final_layer_norm__weight": np.ones(16, np.int64)}
    refused(t5_folder(tmp_path / "in", **norm), "is I64, and it has to be one of F32, F16, BF16")


def refused(source: Path, *why: str) -> None:
    with pytest.raises(Failure) as caught:
        ctranslate2.plan(open_checkpoint(source)[1], Request("acme/tiny", "0" * 40, "ctranslate2", "float32"))
    assert caught.value.kind == "unsupported"
    for each in why:
        assert re.search(each, str(caught.value)), str(caught.value)


def test_a_value_that_is_not_finite_is_refused_in_eight_bits(tmp_path):
    bad = np.ones((24, 16), np.float32)
    bad[3, 4] = np.nan
    source = t5_folder(tmp_path / "in", encoder__block__1__layer__1__DenseReluDense__wi__weight=bad)
    with pytest.raises(Failure, match=r"encoder\.block\.1.*cannot be quantised"):
        convert(ctranslate2.plan, source, tmp_path / "out", "int8")
