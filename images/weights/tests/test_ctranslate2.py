"""CTranslate2's layout: the bytes of its own converter, and the text and probabilities of transformers."""

import json
import shutil
import subprocess
import sys
from io import BytesIO
from math import prod
from pathlib import Path
from struct import calcsize, unpack

import numpy as np
import pytest
from plans import consume, convert, open_checkpoint
from t5_files import CONFIG, shapes, t5_folder
from tiny_models import make
from tool import assert_whole, weights
from weights.formats import ctranslate2
from weights.manifest import Request

pytestmark = pytest.mark.timeout(600)

SCRIPTS = Path(__file__).parent / "consumers"
HEAD = np.random.default_rng(3).normal(size=(40, 16)).astype(np.float32)
# Quantises a matrix with the real code.
QUANTISE = """
import json, sys
import numpy as np
from ctranslate2.specs import common_spec, model_spec
class Spec(model_spec.LayerSpec):
    def __init__(self, values):
        self.layer = common_spec.LinearSpec()
        self.layer.weight = values
spec = Spec(np.array(json.loads(sys.argv[1]), np.float32))
spec.validate()
spec._quantize("int8_float32")
print(json.dumps({
    "integers": spec.layer.weight.array.tolist(), "scales": spec.layer.weight_scale.array.tolist()
}))
"""
# Runs a command, and prints the peak of its resident memory in KiB.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
# More than ten layers, because the names of the layers are sorted as text.
MODELS = {
    "t5": {"kind": "t5", "more": {"num_layers": 1, "num_decoder_layers": 11}},
    "t5-bfloat16": {"kind": "t5", "dtype": "bfloat16"},
    "t5-float16": {"kind": "t5", "dtype": "float16", "shard": "20KB"},
    "gated": {"kind": "t5", "more": GATED | {"layer_norm_epsilon": 0.25}},
}
# By name: the model saved anew, whether with a head of its own, and how.
AGAIN = {
    "gated-own": ("gated", True, "safetensors", 1),
    "gated-pickled": ("gated", True, "tf", 2),
    "t5-pickled": ("t5", False, "zip", 1),
}
QUANTIZATIONS = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int8": "int8_float32",
}
SOURCES = ("t5", "t5-bfloat16", "t5-float16", "gated-own", "gated-pickled", "t5-pickled")
CASES = [(name, dtype) for name in SOURCES for dtype in QUANTIZATIONS]
PLAIN = "gated-own-float32-plain"
REQUEST = Request("acme/tiny", "0" * 40, "ctranslate2", "float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Sources, each with a tokenizer, and below ``targets`` every one of them in every dtype."""
    folder = tmp_path_factory.mktemp("ctranslate2")
    sources = folder / "sources"
    make(sources, MODELS)
    jobs = [
        {"source": str(sources / name), "folder": str(sources / key)}
        | {"own_head": own, "layout": layout, "shards": shards}
        for key, (name, own, layout, shards) in AGAIN.items()
    ]
    consume((SCRIPTS / "resave_models.py").read_text(), json.dumps(jobs))
    consume((SCRIPTS / "make_t5_tokenizer.py").read_text(), *sources.iterdir())
    for name, dtype in CASES:
        convert(ctranslate2.plan, sources / name, folder / "targets" / f"{name}-{dtype}", dtype)
    return folder


@pytest.fixture(scope="module")
def computed(folder) -> dict[str, dict]:
    """What computing with ours gave; below ``reference`` is what the real converter made."""

    def job(name: str, dtype: str, conversion: str) -> dict:
        return {
            "name": conversion,
            "source": str(folder / "sources" / name),
            "target": str(folder / "targets" / f"{name}-{dtype}"),
            "quantization": QUANTIZATIONS[dtype],
            "plain": conversion == PLAIN,
            "compute": dtype in ("float32", "int8") and conversion != PLAIN,
        }

    jobs = [job(name, dtype, f"{name}-{dtype}") for name, dtype in CASES]
    jobs.append(job("gated-own", "float32", PLAIN))
    (folder / "reference").mkdir()
    script = (SCRIPTS / "run_ctranslate2.py").read_text()
    return json.loads(consume(script, folder / "reference", json.dumps(jobs), needs="ctranslate2"))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_model_and_vocabulary_have_the_bytes_of_the_real_converter(folder, computed, name, dtype):
    assert computed
    target, reference = (folder / place / f"{name}-{dtype}" for place in ("targets", "reference"))
    for file in ("model.bin", "shared_vocabulary.json"):
        assert (target / file).read_bytes() == (reference / file).read_bytes(), file
    ours, theirs = (json.loads((place / "config.json").read_text()) for place in (target, reference))
    if name.startswith("gated"):  # whose norms have another epsilon, which the converter leaves out
        assert (ours.pop("layer_norm_epsilon"), theirs.pop("layer_norm_epsilon")) == (0.25, None)
        assert ours == theirs
    else:
        assert (target / "config.json").read_bytes() == (reference / "config.json").read_bytes()


@pytest.mark.parametrize("name", SOURCES)
def test_it_generates_the_text_of_transformers_with_its_probabilities(computed, name):
    found = computed[f"{name}-float32"]
    assert found["equal"] == 1
    assert found["distance"] < 1e-3


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("t5")])
def test_eight_bits_change_probabilities_by_little(computed, name):
    assert 0 < computed[f"{name}-int8"]["distance"] < 0.3


def test_outputs_are_scaled_only_where_the_configuration_says_so_unlike_by_the_real_converter(
    folder, computed
):
    assert computed
    ours, theirs = (
        variables((folder / place).read_bytes())
        for place in ("targets/gated-own-float32/model.bin", f"reference/{PLAIN}/model.bin")
    )
    assert theirs.pop("decoder/scale_outputs") == np.float32(32**-0.5).tobytes()
    assert ours == theirs


def variables(content: bytes) -> dict[str, bytes]:
    """The bytes by name of what the file holds; of an alias the name that it stands for."""
    stream = BytesIO(content)

    def number(form: str) -> int:
        return unpack(f"<{form}", stream.read(calcsize(form)))[0]

    def text() -> str:
        return stream.read(number("H"))[:-1].decode()

    assert (number("I"), text(), number("I")) == (6, "TransformerSpec", 7)
    found = {}
    for _ in range(number("I")):
        name = text()
        stream.read(4 * number("B"))
        number("B")
        found[name] = stream.read(number("I"))
    found |= {text(): text().encode() for _ in range(number("I"))}
    assert not stream.read()
    return found


def test_the_folder_is_what_ctranslate2_reads_with_the_tokenizer_and_nothing_of_transformers_weights(folder):
    found = {path.name for path in (folder / "targets" / "t5-int8").iterdir()}
    assert found == {
        "model.bin",
        "config.json",
        "shared_vocabulary.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


@pytest.mark.parametrize("dtype", QUANTIZATIONS)
def test_a_checkpoint_without_the_library_is_planned_to_its_last_byte_by_one_command(tmp_path, dtype):
    source, target = t5_folder(tmp_path / "in"), tmp_path / "out"
    done = weights(
        "convert", "--source", source, "--target", target, "--format", "ctranslate2", "--dtype", dtype
    )
    assert done.returncode == 0, done.stderr
    manifest = assert_whole(target)
    assert (manifest["format"], manifest["dtype"]) == ("ctranslate2", dtype)
    assert json.loads((target / "generation_config.json").read_text()) == {
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    assert variables((target / "model.bin").read_bytes())["encoder/embeddings_0/weight"] == (
        b"decoder/embeddings/weight"
    )


def test_the_vocabulary_has_a_token_for_each_row(tmp_path):
    convert(ctranslate2.plan, t5_folder(tmp_path / "in"), tmp_path / "out", "float32")
    tokens = json.loads((tmp_path / "out" / "shared_vocabulary.json").read_text())
    assert tokens[:6] == ["<pad>", "</s>", "<unk>", "a", "<extra_id_0>", "<extra_id_0>"]
    assert tokens[-1] == f"<extra_id_{40 - 5 - 1}>"
    assert len(tokens) == 40


def test_special_tokens_come_from_the_tokenizers_files(tmp_path):
    source = t5_folder(tmp_path / "in", CONFIG | {"decoder_start_token_id": 3})
    (source / "tokenizer_config.json").write_text('{"eos_token": {"content": "a"}, "pad_token": null}')
    (source / "special_tokens_map.json").write_text('{"eos_token": "<unk>", "pad_token": "</s>"}')
    convert(ctranslate2.plan, source, tmp_path / "out", "float32")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["eos_token"], config["bos_token"], config["unk_token"]) == ("a", "</s>", "<unk>")
    assert config["decoder_start_token"] == "a"


def test_a_head_of_its_own_is_stored_and_changes_the_recipe(tmp_path):
    tied, own = t5_folder(tmp_path / "tied"), t5_folder(tmp_path / "own", lm_head__weight=HEAD)
    recipes = set()
    for source in (tied, own):
        outputs = ctranslate2.plan(open_checkpoint(source)[1], REQUEST)
        recipes.add(outputs[0].recipe)
    assert len(recipes) == 2
    convert(ctranslate2.plan, own, tmp_path / "out", "float32")
    found = variables((tmp_path / "out" / "model.bin").read_bytes())
    assert found["decoder/projection/weight"] == HEAD.tobytes()


@pytest.mark.parametrize("scale", [1e-42, 1e-20, 1e30])
def test_rows_of_zeros_and_very_small_or_large_numbers_are_as_the_real_quantisation_has_them(tmp_path, scale):
    values = np.random.default_rng(5).normal(size=(40, 16)).astype(np.float32) * np.float32(scale)
    values[7] = 0
    source = t5_folder(tmp_path / "in", lm_head__weight=values)
    convert(ctranslate2.plan, source, tmp_path / "out", "int8")
    found = variables((tmp_path / "out" / "model.bin").read_bytes())
    integers = np.frombuffer(found["decoder/projection/weight"], np.int8).reshape(40, 16)
    scales = np.frombuffer(found["decoder/projection/weight_scale"], np.float32)
    wanted = json.loads(consume(QUANTISE, json.dumps(values.tolist()), needs="ctranslate2"))
    assert integers.tolist() == wanted["integers"]
    assert scales.tolist() == wanted["scales"]
    assert scales[7] == 1


def test_a_model_larger_than_the_memory_is_converted_in_less_than_a_quarter_gibibyte(tmp_path):
    source, target = large_folder(tmp_path / "in"), tmp_path / "out"
    arguments = ("--source", source, "--target", target, "--format", "ctranslate2", "--dtype", "int8")
    command = [
        sys.executable,
        "-c",
        MEASURED,
        sys.executable,
        "-m",
        "weights",
        "convert",
        *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 256 * 1024
    assert (target / "model.bin").stat().st_size > 70_000_000
    shutil.rmtree(target)


def large_folder(folder: Path) -> Path:
    """A T5 of 300 MB, all zeros, which take no room on the disk."""
    config = CONFIG | {"vocab_size": 32_128, "d_model": 1024, "d_ff": 16_384, "num_layers": 1}
    t5_folder(folder)
    tensors, position = {}, 0
    for name, shape in shapes(config).items():
        end = position + 4 * prod(shape)
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, end]}
        position = end
    header = json.dumps(tensors).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + position)
    (folder / "config.json").write_text(json.dumps(config))
    assert position > 256 * 2**20
    return folder
