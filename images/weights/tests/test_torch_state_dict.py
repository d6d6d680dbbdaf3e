"""The state dict for Beam: loaded as Beam loads it, into the real class, and compared with the original."""

import json
import zipfile
from pathlib import Path

import pytest
from checkpoint import safetensors
from plans import consume, convert
from tiny_models import make
from tool import safetensors as framed
from weights.errors import Failure
from weights.formats import safetensors as safetensors_format
from weights.formats import torch_state_dict

# Some fixtures start processes that import the large libraries; on a busy machine each takes half a minute.
pytestmark = pytest.mark.timeout(600)

SCRIPTS = Path(__file__).parent / "consumers"
DTYPES = ("float32", "float16", "bfloat16")
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

# By name: the model's type, further settings, and how many names share a storage with others.
MODELS = {
    "t5": ("t5", {}, 4),
    "t5-gated": ("t5", GATED, 3),
    "mt5": ("mt5", GATED, 3),
    "umt5": ("umt5", GATED, 3),
    "bart": ("bart", {}, 4),
    "gpt2": ("gpt2", {}, 2),
    "gpt-neox": ("gpt_neox", {}, 0),
    "llama": ("llama", {}, 0),
    "llama-tied": ("llama", {"tie_word_embeddings": True}, 2),
    "mistral": ("mistral", {}, 0),
    "gemma": ("gemma", {}, 2),
    "gemma2": ("gemma2", {}, 2),
    "gemma3": ("gemma3_text", {}, 2),
    "qwen2": ("qwen2", {}, 0),
    "qwen3": ("qwen3", {}, 0),
    "qwen3-tied": ("qwen3", {"tie_word_embeddings": True}, 2),
}
OWN_HEAD = [name for name, (_, more, _) in MODELS.items() if more == GATED]
# By name: how the original is saved, its type, and the one asked for.
CASTS = {
    f"{layout}-{given}-{wanted}": (layout, given, wanted)
    for layout in ("single", "sharded")
    for given in DTYPES
    for wanted in DTYPES
}
LAYOUTS = [(layout, shards) for layout in ("zip", "legacy", "tf") for shards in (1, 2)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    """The originals by name. Few processes make all of them: importing the libraries takes long."""
    folder = tmp_path_factory.mktemp("models")
    made = {name: {"kind": kind, "more": more} for name, (kind, more, _) in MODELS.items()}
    for name, (layout, given, _) in CASTS.items():
        made[name] = {"kind": "t5", "dtype": given} | ({"shard": "20KB"} if layout == "sharded" else {})
    make(folder / "made", made)
    sources = {name: folder / "made" / name for name in made}
    again = {name: (name, True, "safetensors", 1) for name in OWN_HEAD}
    for layout, shards in LAYOUTS:
        for name in ("t5", "t5-gated", "gpt2"):
            again[f"{name}-{layout}-{shards}"] = (name, name in OWN_HEAD, layout, shards)
    again |= {f"{name}-base": (name, False, "base", 1) for name in ("gpt2", "bart")}
    jobs = [
        {"source": str(sources[name]), "folder": str(folder / "again" / key)}
        | {"own_head": own, "layout": layout, "shards": shards}
        for key, (name, own, layout, shards) in again.items()
    ]
    (folder / "again").mkdir()
    consume((SCRIPTS / "resave_models.py").read_text(), json.dumps(jobs))
    return sources | {name: folder / "again" / name for name in again}


@pytest.fixture(scope="module")
def found(sources, tmp_path_factory) -> dict[str, list[dict]]:
    """What the real class says of every state dict."""
    folder = tmp_path_factory.mktemp("state_dicts")
    triples = {}
    for name, source in sources.items():
        dtype = CASTS[name][2] if name in CASTS else "float32"
        convert(torch_state_dict.plan, source, folder / name, dtype)
        triples[name] = (str(source), str(folder / name), dtype)
    reports = json.loads(
        consume((SCRIPTS / "load_state_dict.py").read_text(), json.dumps(list(triples.values())))
    )
    return dict(zip(triples, reports, strict=True))


def right(tied: int, dtype: str = "float32") -> dict:
    """What is found if all is well."""
    same = dict.fromkeys(("names", "equal", "contiguous", "ties", "logits"), True)
    return same | {"tied": tied, "dtype": f"torch.{dtype}"}


@pytest.mark.parametrize("name", MODELS)
def test_the_real_class_loads_it_strictly_with_tied_tensors_on_one_storage(found, name):
    assert found[name] == [right(MODELS[name][2])] * 3


@pytest.mark.parametrize(("name", "tied"), [("gpt2", 2), ("bart", 4)])
def test_a_checkpoint_without_the_names_of_the_head_gets_them(found, name, tied):
    assert found[f"{name}-base"] == [right(tied)] * 3


@pytest.mark.parametrize("name", CASTS)
def test_it_is_cast_as_the_library_casts_from_one_file_or_several(found, name):
    assert found[name] == [right(4, CASTS[name][2])] * 3


@pytest.mark.parametrize(("layout", "shards"), LAYOUTS)
@pytest.mark.parametrize(("name", "tied"), [("t5", 4), ("t5-gated", 3), ("gpt2", 2)])
def test_a_pickled_checkpoint_gives_the_same_as_safetensors(found, name, tied, layout, shards):
    assert found[f"{name}-{layout}-{shards}"] == [right(tied)] * 3


@pytest.fixture(scope="module")
def repacked(sources, tmp_path_factory) -> dict[str, dict]:
    """What the real class says of safetensors that are made of pickled checkpoints."""
    folder = tmp_path_factory.mktemp("repacked")
    names = [name for name in sources if name.endswith(("-1", "-2"))]
    for name in names:
        convert(safetensors_format.plan, sources[name], folder / name, "float32")
    pairs = [(str(sources[name]), str(folder / name)) for name in names]
    reports = json.loads(consume((SCRIPTS / "compare_weights.py").read_text(), json.dumps(pairs)))
    return dict(zip(names, reports, strict=True))


@pytest.mark.parametrize(("layout", "shards"), LAYOUTS)
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("t5", ["shared.weight"]),
        ("t5-gated", ["lm_head.weight", "shared.weight"]),
        ("gpt2", []),
    ],
)
def test_safetensors_made_of_it_hold_each_tied_tensor_once(repacked, name, head, layout, shards):
    assert repacked[f"{name}-{layout}-{shards}"] == {"fits": True, "equal": True, "ties": True, "head": head}


def original(folder: Path) -> Path:
    """A checkpoint in which all but the embedding is left out; config.json and a tokenizer are beside it."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "t5", "torch_dtype": "float32"}')
    (folder / "tokenizer.json").write_text("{}")
    tensors = {"shared.weight": ("F32", 1000), "odd": ("F32", 3), "steps": ("I64", 2), "none": ("F32", 0)}
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    return folder


def test_configuration_and_tokenizer_lie_beside_it(tmp_path):
    target = tmp_path / "target"
    convert(torch_state_dict.plan, original(tmp_path / "source"), target, "bfloat16")
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        "state_dict.pt",
        "tokenizer.json",
    ]
    assert json.loads((target / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_the_same_source_gives_the_same_bytes(tmp_path):
    source = original(tmp_path / "source")
    for name in ("first", "second"):
        convert(torch_state_dict.plan, source, tmp_path / name, "float16")
    first, second = (tmp_path / name / "state_dict.pt" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_other_zip_readers_find_every_checksum_right(tmp_path):
    convert(torch_state_dict.plan, original(tmp_path / "source"), tmp_path / "target", "float32")
    with zipfile.ZipFile(tmp_path / "target" / "state_dict.pt") as archive:
        assert archive.testzip() is None
        assert (
            archive.read("archive/data/2") == (tmp_path / "source" / "model.safetensors").read_bytes()[-16:]
        )


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({"model_type": "mamba"}, {"a": ("F32", 4)}, "model_type 'mamba', whose tied tensors are not known"),
        ({}, {"a": ("F32", 4)}, "model_type None"),
        ({"model_type": ["t5"]}, {"a": ("F32", 4)}, "model_type"),
        ({"model_type": "llama"}, {"model.embed_tokens.weight": ("F32", 4)}, "no tensor lm_head.weight"),
        ({"model_type": "t5"}, {"decoder.final": ("F32", 4)}, "no tensor encoder.embed_tokens.weight"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused_by_name(tmp_path, config, tensors, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(safetensors(tensors))
    with pytest.raises(Failure, match=message) as refused:
        convert(torch_state_dict.plan, tmp_path, tmp_path / "target", "float32")
    assert refused.value.kind == "unsupported"


@pytest.mark.parametrize("shape", [[], [1 << 50, 0]], ids=["a scalar", "empty rows"])
def test_zeros_are_not_made_by_the_rows_of_what_is_no_embedding(tmp_path, shape):
    content = b"" if shape else bytes(4)
    (tmp_path / "model.safetensors").write_bytes(framed({"model.shared.weight": ("F32", shape, content)}))
    (tmp_path / "config.json").write_text('{"model_type": "bart"}')
    with pytest.raises(Failure, match=r"model\.shared\.weight") as caught:
        convert(torch_state_dict.plan, tmp_path, tmp_path / "out", "float32")
    assert caught.value.kind == "unsupported"
