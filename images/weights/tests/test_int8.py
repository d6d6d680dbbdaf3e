"""Int8: read by the real library, compared with the source, in bounded memory."""

import json
from pathlib import Path

import numpy as np
import pytest
from plans import consume, convert, open_checkpoint
from tensor_files import read_tensor_file, tensor_file
from tiny_models import make
from weights.errors import Failure
from weights.formats import int8
from weights.manifest import Request

READ = (Path(__file__).parent / "consumers" / "load_int8.py").read_text()

# Kind, and how many matrices of a tiny model are linear layers.
KINDS = {
    "llama": 14,
    "mistral": 14,
    "gemma": 14,
    "gemma2": 14,
    "gemma3_text": 14,
    "qwen2": 14,
    "qwen3": 14,
    "t5": 32,
    "mt5": 36,
    "umt5": 36,
    "bart": 16,
    "gpt_neox": 8,
}
SHARDED = "llama-sharded-bfloat16"
COUNTS = {**KINDS, SHARDED: 14}
CONFIG = {"model_type": "llama", "num_hidden_layers": 1}
MATRIX = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict[str, dict]:
    """What the real library found in each converted model."""
    folder = tmp_path_factory.mktemp("int8")
    models = {kind: {"kind": kind} for kind in KINDS}
    models[SHARDED] = {"kind": "llama", "dtype": "bfloat16", "shard": "20KB"}
    make(folder / "sources", models)
    for name, model in models.items():
        (folder / "sources" / name / "tokenizer.json").write_text("{}")
        convert(
            int8.plan, folder / "sources" / name, folder / "targets" / name, model.get("dtype", "float32")
        )
        assert (folder / "targets" / name / "tokenizer.json").read_text() == "{}"
    assert len(list((folder / "targets" / SHARDED).glob("model-*-of-*.safetensors"))) > 1
    arguments = (folder / "sources", folder / "targets", json.dumps(list(models)))
    return json.loads(consume(READ, *arguments, needs="compressed_tensors"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", COUNTS)
def test_the_real_library_loads_it_within_half_a_scale_and_generates(loaded, name):
    found = loaded[name]
    assert found["unfit"] == []
    assert found["quantised"] == found["linear"] == COUNTS[name]
    # compressed-tensors multiplies in the scales' type: bfloat16, of 8 significant bits, rounds the product.
    product = 127 * 2**-8 if name == SHARDED else 1e-4
    assert 0 < found["worst"] <= 0.5 + product
    assert found["same"]
    assert found["tokens"] >= 1
    assert found["distance"] < 0.05


def quantised(folder: Path, values: np.ndarray, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Integers and scales of one matrix, read from the bytes of the target."""
    source, target = folder / "source", folder / "target"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(CONFIG))
    (source / "model.safetensors").write_bytes(tensor_file({MATRIX: values}))
    convert(int8.plan, source, target, dtype)
    tensors = read_tensor_file((target / "model.safetensors").read_bytes())
    words, scales = tensors[f"{MATRIX}_packed"], tensors[f"{MATRIX}_scale"]
    assert tensors[f"{MATRIX}_shape"].tolist() == list(values.shape)
    return words.view(np.uint8).astype(np.int16) - 128, scales


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 8), (24, 16), (5, 40000), (2, 300_000)])
def test_every_value_is_within_half_its_scale_of_the_integer_times_the_scale(tmp_path, dtype, shape):
    values = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    values[0, 0] = 40.0
    values[-1] *= 1e-3
    integers, scales = quantised(tmp_path, values, dtype)
    distance = np.abs(integers * scales.astype(np.float64) - values)
    assert (distance <= scales.astype(np.float64) * (0.5 + 127 / 2**23)).all()
    assert np.abs(integers).max(axis=1).min() >= 126  # the range is used: a scale is rounded up by little


def test_a_row_of_zeros_stays_zero_and_subnormal_numbers_do_no_harm(tmp_path):
    values = np.zeros((2, 8), np.float32)
    values[1] = 1e-42
    integers, scales = quantised(tmp_path, values)
    assert not integers.any()
    assert (scales > 0).all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("columns", [8, 200_000])
def test_a_value_that_is_not_finite_is_refused_with_the_tensor(tmp_path, value, columns):
    values = np.ones((4, columns), np.float32)
    values[2, 5] = value
    with pytest.raises(Failure, match=r"up_proj.*cannot be quantised; use the format safetensors") as caught:
        quantised(tmp_path, values)
    assert caught.value.exit_code == 12


def test_a_scale_beyond_float16_is_refused_instead_of_clipped(tmp_path):
    with pytest.raises(Failure, match="too large for scales of type F16"):
        quantised(tmp_path, np.full((4, 8), 1e8, np.float32), "float16")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2', whose linear layers are not known here"),
        ({}, "model_type None"),
        ({"model_type": "llama", "quantization_config": {}}, "quantised already"),
    ],
)
def test_a_model_whose_linear_layers_are_not_known_is_refused(tmp_path, config, why):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(tensor_file({MATRIX: np.ones((4, 8), np.float32)}))
    with pytest.raises(Failure, match=why):
        int8.plan(open_checkpoint(tmp_path)[1], Request("acme/tiny", "0" * 40, "safetensors-int8", "float32"))


def test_a_matrix_that_fills_no_whole_words_is_kept_and_listed_as_left_out(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    (source / "config.json").write_text(json.dumps(CONFIG))
    (source / "model.safetensors").write_bytes(tensor_file({MATRIX: values}))
    convert(int8.plan, source, target, "float32")
    assert np.array_equal(read_tensor_file((target / "model.safetensors").read_bytes())[MATRIX], values)
    config = json.loads((target / "config.json").read_text())
    assert MATRIX.removesuffix(".weight") in config["quantization_config"]["ignore"]


def test_a_row_larger_than_a_part_is_read_a_second_time_and_others_once(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    wide = np.ones((2, 3_000_000), np.float32)  # a row of 12 MB
    (source / "config.json").write_text(json.dumps(CONFIG))
    for values, readings in ((wide, 2), (wide.reshape(-1, 8), 1)):
        content = tensor_file({MATRIX: values})
        (source / "model.safetensors").write_bytes(content)
        given = convert(int8.plan, source, target, "float32").given
        assert readings * values.nbytes <= given < readings * values.nbytes + 2 * 8 * 2**20
