"""JetStream's layout: computes what the source computes, and is refused where the server would not."""

import json
from pathlib import Path

import numpy as np
import pytest
from plans import consume, convert, open_checkpoint
from tensor_files import read_tensor_file, tensor_file
from tiny_models import make
from weights.errors import Failure
from weights.formats import jetstream
from weights.manifest import Request
from weights.selection import select

RUN = (Path(__file__).parent / "consumers" / "run_jetstream.py").read_text()

SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
TIKTOKEN = b"IQ== 0\nIg== 1\nIw== 2\n"

LLAMA = {"rms_norm_eps": 1e-5}
LLAMA3 = LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
MODELS = {
    "llama-2": {"kind": "llama", "more": LLAMA | {"num_key_value_heads": 4}},
    "llama-2-sharded": {"kind": "llama", "more": LLAMA, "shard": "20KB", "dtype": "bfloat16"},
    "llama-3": {"kind": "llama", "more": LLAMA3},
    "gemma": {"kind": "gemma", "more": {"head_dim": 16}},
}


def add_tokenizer(folder: Path, model: str) -> None:
    """The tokenizer where the Hub's repositories have it."""
    if model == "llama-3":
        (folder / "original").mkdir()
        (folder / "original" / "tokenizer.model").write_bytes(TIKTOKEN)
    else:
        (folder / "tokenizer.model").write_bytes(SENTENCEPIECE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Sources, and targets in float32, bfloat16 and eight bits."""
    folder = tmp_path_factory.mktemp("jetstream")
    sources, targets = folder / "sources", folder / "targets"
    make(sources, MODELS)
    for model in MODELS:
        add_tokenizer(sources / model, model)
        for kind, dtype in (
            ("jetstream", "float32"),
            ("jetstream", "bfloat16"),
            ("jetstream-int8", "bfloat16"),
        ):
            convert(jetstream.plan, sources / model, targets / f"{model}-{kind}-{dtype}", dtype, kind)
    return sources, targets


@pytest.fixture(scope="module")
def computed(folders) -> dict[str, dict]:
    """What computing with each target gave against its source."""
    sources, targets = folders
    pairs = {path.name: path.name[: path.name.index("-jetstream")] for path in targets.iterdir()}
    return json.loads(consume(RUN, sources, targets, json.dumps(pairs)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("written", "tolerance"),
    [("jetstream-float32", 1e-4), ("jetstream-bfloat16", 0.03), ("jetstream-int8-bfloat16", 0.06)],
)
def test_the_published_computation_on_it_gives_the_logits_of_the_source(computed, model, written, tolerance):
    found = computed[f"{model}-{written}"]
    assert found["left"] == []
    assert found["difference"] < tolerance
    assert found["tokens"] > 0.8


def test_another_number_of_heads_in_the_configuration_makes_another_recipe(tmp_path):
    llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    recipes = set()
    for heads, head in ((2, 4), (4, 2)):
        config |= {"num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": head}
        (tmp_path / "config.json").write_text(json.dumps(config))
        _, checkpoint = open_checkpoint(tmp_path)
        request = Request("acme/tiny", "0" * 40, "jetstream", "float32")
        recipes.add(jetstream.plan(checkpoint, request)[0].recipe)
    assert len(recipes) == 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", MODELS)
def test_a_target_is_one_weights_file_and_the_tokenizer_that_the_server_reads(folders, model):
    target = folders[1] / f"{model}-jetstream-bfloat16"
    assert sorted(path.name for path in target.iterdir()) == ["model.safetensors", "tokenizer.model"]
    wanted = TIKTOKEN if model == "llama-3" else SENTENCEPIECE
    assert (target / "tokenizer.model").read_bytes() == wanted


def llama(
    folder: Path, *, head: int = 4, hidden: int = 8, dtype: str = "float32", **config
) -> dict[str, np.ndarray]:
    """A llama of one layer, written without the library; gives its tensors."""
    random = np.random.default_rng(5)
    layer, width = "model.layers.0.", {"Q": 2 * head, "D": hidden, "F": 16, "V": 24}
    shapes = {
        "model.embed_tokens": "VD",
        f"{layer}self_attn.q_proj": "QD",
        f"{layer}self_attn.k_proj": "QD",
        f"{layer}self_attn.v_proj": "QD",
        f"{layer}self_attn.o_proj": "DQ",
        f"{layer}mlp.gate_proj": "FD",
        f"{layer}mlp.up_proj": "FD",
        f"{layer}mlp.down_proj": "DF",
        f"{layer}input_layernorm": "D",
        f"{layer}post_attention_layernorm": "D",
        "model.norm": "D",
        "lm_head": "VD",
    }
    tensors = {
        f"{name}.weight": random.normal(size=[width[letter] for letter in shape]).astype(dtype)
        for name, shape in shapes.items()
    }
    stated = {
        "model_type": "llama",
        "hidden_size": hidden,
        "head_dim": head,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 24,
        "num_hidden_layers": 1,
        "rms_norm_eps": 1e-5,
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(stated | config))
    (folder / "model.safetensors").write_bytes(tensor_file(tensors))
    (folder / "tokenizer.model").write_bytes(SENTENCEPIECE)
    return tensors


def test_rows_of_each_head_are_paired_and_all_else_is_in_its_order(tmp_path):
    tensors = llama(tmp_path / "source")
    convert(jetstream.plan, tmp_path / "source", tmp_path / "target", "float32", "jetstream")
    written = read_tensor_file((tmp_path / "target" / "model.safetensors").read_bytes())
    order = [0, 2, 1, 3, 4, 6, 5, 7]
    for name, target in (("q", "wq"), ("k", "wk")):
        source = tensors[f"model.layers.0.self_attn.{name}_proj.weight"]
        assert np.array_equal(written[f"layers.0.attention.{target}.weight"], source[order])
    assert np.array_equal(
        written["layers.0.attention.wv.weight"], tensors["model.layers.0.self_attn.v_proj.weight"]
    )
    assert np.array_equal(
        written["layers.0.feed_forward.w2.weight"], tensors["model.layers.0.mlp.down_proj.weight"]
    )


def test_the_order_of_rows_is_right_where_heads_straddle_the_chunks_of_the_source(tmp_path):
    tensors = llama(tmp_path / "source", head=6, hidden=200_000)  # a head of 4.8 MB, chunks of 8 MiB
    convert(jetstream.plan, tmp_path / "source", tmp_path / "target", "float32", "jetstream")
    written = read_tensor_file((tmp_path / "target" / "model.safetensors").read_bytes())
    source = tensors["model.layers.0.self_attn.k_proj.weight"]
    assert np.array_equal(
        written["layers.0.attention.wk.weight"], source[[0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]]
    )


def test_eight_bits_have_a_scale_for_each_row_and_for_each_column_of_the_embedding(tmp_path):
    tensors = llama(tmp_path / "source")
    convert(jetstream.plan, tmp_path / "source", tmp_path / "target", "bfloat16", "jetstream-int8")
    written = read_tensor_file((tmp_path / "target" / "model.safetensors").read_bytes())
    for name, target, axis in (("lm_head", "output", 1), ("model.embed_tokens", "tok_embeddings", 0)):
        integers, scales = written[f"{target}.weight"], written[f"{target}.weight_scaler"].astype(np.float64)
        source = tensors[f"{name}.weight"]
        assert integers.dtype == np.int8
        assert scales.shape == (source.shape[1 - axis],)
        spread = scales[:, None] if axis else scales[None]
        assert (np.abs(integers * spread - source) <= spread * (0.5 + 127 / 2**23)).all()
    assert {name for name, values in written.items() if values.dtype == np.int8} == {
        f"{name}.weight"
        for name in (
            "tok_embeddings",
            "output",
            *(f"layers.0.attention.{each}" for each in ("wq", "wk", "wv", "wo")),
        )
    } | {f"layers.0.feed_forward.{each}.weight" for each in ("w1", "w2", "w3")}


def plan(folder: Path, kind: str = "jetstream") -> None:
    jetstream.plan(open_checkpoint(folder)[1], Request("acme/tiny", "0" * 40, kind, "bfloat16"))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "mistral"}, "model_type 'mistral'"),
        ({"rope_theta": 1e6}, "base 1000000.0"),  # CodeLlama has llama-2's shapes
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "rope_theta": 500000.0},
            "scaled \\('llama3'\\)",
        ),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "scaled \\('linear'\\)"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps"),
        ({"num_hidden_layers": 2}, "no tensor model.layers.1.self_attn.q_proj.weight"),
        ({"num_key_value_heads": 1}, "k_proj.weight' has shape \\[8, 8\\], config.json implies \\[4, 8\\]"),
        ({"vocab_size": None}, "vocab_size None"),
    ],
)
def test_a_model_that_the_server_would_run_with_other_constants_is_refused(tmp_path, config, why):
    llama(tmp_path, **config)
    with pytest.raises(Failure, match=why) as caught:
        plan(tmp_path)
    assert caught.value.exit_code == 12


@pytest.mark.parametrize(
    "extra", ["model.layers.0.self_attn.q_proj.bias", "model.layers.1.mlp.up_proj.weight"]
)
def test_a_tensor_that_the_server_has_no_place_for_is_refused(tmp_path, extra):
    tensors = llama(tmp_path) | {extra: np.zeros(8, np.float32)}
    (tmp_path / "model.safetensors").write_bytes(tensor_file(tensors))
    with pytest.raises(Failure, match=extra):
        plan(tmp_path)


def test_inverse_frequencies_that_the_server_computes_are_left_out(tmp_path):
    tensors = llama(tmp_path) | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(2, np.float32)}
    (tmp_path / "model.safetensors").write_bytes(tensor_file(tensors))
    plan(tmp_path)


@pytest.mark.parametrize(
    ("theta", "content", "why"),
    [
        (10_000.0, None, "tokenizer of llama-2 as tokenizer.model, a sentencepiece model"),
        (10_000.0, TIKTOKEN, "tokenizer of llama-2 as tokenizer.model, a sentencepiece model"),
        (500_000.0, SENTENCEPIECE, "tokenizer of llama-3 as original/tokenizer.model, a tiktoken vocabulary"),
    ],
)
def test_a_checkpoint_without_the_tokenizer_of_its_kind_is_refused(tmp_path, theta, content, why):
    llama(tmp_path, rope_theta=theta)
    (tmp_path / "tokenizer.model").unlink()
    if content is not None:
        (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(Failure, match=why) as caught:
        plan(tmp_path)
    assert caught.value.exit_code == 12


def test_the_vocabulary_of_llama_3_is_among_the_files_chosen_and_other_folders_are_not(tmp_path):
    llama(tmp_path)
    for name in (
        "original/tokenizer.model",
        "original/params.json",
        "onnx/tokenizer.model",
        "a/b/tokenizer.model",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(TIKTOKEN)
    chosen = {file.name for file in select(open_checkpoint(tmp_path)[0])}
    assert chosen == {"config.json", "model.safetensors", "tokenizer.model", "original/tokenizer.model"}
