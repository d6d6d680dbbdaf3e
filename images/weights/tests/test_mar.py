"""TorchServe's archive: what the real tools write and load, small, and the same each time."""

import json
import zipfile
from pathlib import Path

import pytest
from plans import consume, convert, open_checkpoint
from tiny_models import make
from weights.errors import Failure
from weights.formats import mar, safetensors
from weights.manifest import Request

CONSUMERS = Path(__file__).parent / "consumers"
MODEL = {"more": {"tie_word_embeddings": False}, "kind": "llama"}


def script(name: str) -> str:
    return (CONSUMERS / name).read_text()


def stage(folder: Path, **config) -> Path:
    """A checkpoint without the library: one tensor, which the archive does not look at."""
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    stated = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]} | config
    (folder / "config.json").write_text(json.dumps(stated))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def archive(folder: Path, repository: str = "acme/tiny", dtype: str = "float16") -> bytes:
    """The planned archive's bytes."""
    outputs = mar.plan(open_checkpoint(folder)[1], Request(repository, "0" * 40, "mar", dtype))
    output = next(output for output in outputs if output.name == "model.mar")
    return b"".join(bytes(part) for segment in output.segments for part in segment.parts(None))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_the_real_loader_finds_the_handler_and_it_the_weights_beside_the_archive(
    tmp_path, shard, monkeypatch
):
    make(tmp_path, {"source": MODEL | {"shard": shard}})
    target = tmp_path / "target"
    convert(mar.plan, tmp_path / "source", target, "float16", "mar")
    monkeypatch.setenv("MODEL_PATH", str(target))
    printed = consume(
        script("load_mar.py"), target / "model.mar", tmp_path / "unpacked", CONSUMERS, "[3, 4, 5]", needs="ts"
    )
    found = json.loads(printed.splitlines()[-1])
    assert found["module"] == "weights_handler"
    assert found["name"] == "tiny"
    names = sorted(path.name for path in target.glob("*.safetensors"))
    assert found["config"]["handler"] == {
        "architecture": "LlamaForCausalLM",
        "dtype": "float16",
        "repository": "acme/tiny",
        "revision": "0" * 40,
        "weights": names,
    }
    assert (len(names) > 1) == (shard == "20KB")
    token, dtype = found["answer"][0]
    assert 0 <= token < 96
    assert dtype == "torch.float16"


def test_the_manifest_is_the_one_that_the_real_archiver_writes_but_for_the_time(tmp_path):
    content = archive(stage(tmp_path / "source"))
    (tmp_path / "ours.mar").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "ours.mar") as opened:
        ours = json.loads(opened.read("MAR-INF/MANIFEST.json"))
        (tmp_path / "model-config.yaml").write_bytes(opened.read("model-config.yaml"))
        assert sorted(opened.namelist()) == ["MAR-INF/MANIFEST.json", "model-config.yaml"]
    (tmp_path / "theirs").mkdir()
    arguments = ("tiny", CONSUMERS, tmp_path / "model-config.yaml", tmp_path / "theirs")
    theirs = json.loads(consume(script("make_mar.py"), *arguments, needs="model_archiver"))
    # That tool packs the handler as a file; the worker takes the suffix off and imports it by its name.
    theirs["model"]["handler"] = theirs["model"]["handler"].removesuffix(".py")
    assert ours.keys() == theirs.keys()
    del ours["createdOn"], theirs["createdOn"]
    assert ours == theirs


def test_the_weights_are_beside_the_archive_as_the_format_safetensors_has_them(tmp_path):
    source = stage(tmp_path / "source")
    convert(mar.plan, source, tmp_path / "with", "bfloat16")
    convert(safetensors.plan, source, tmp_path / "without", "bfloat16")
    files = {path.name: path.read_bytes() for path in (tmp_path / "with").iterdir()}
    assert len(files.pop("model.mar")) < 2000
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "without").iterdir()}


def test_the_same_request_gives_the_same_archive_and_another_another(tmp_path):
    source = stage(tmp_path / "source")
    assert archive(source) == archive(source)
    assert archive(source) != archive(source, dtype="float32")


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("google/flan-t5-base", "flan-t5-base"),
        ("gs://b/a.b_c-1/", "a.b_c-1"),
        ("/models/-odd", "model"),
        ("x/ä", "model"),
    ],
)
def test_the_model_has_a_name_that_torchserve_takes(repository, name):
    assert mar.model_name(Request(repository, "0" * 40, "mar", "float32")) == name


def test_a_model_that_names_no_architecture_is_refused(tmp_path):
    with pytest.raises(Failure, match="names no architecture") as caught:
        archive(stage(tmp_path / "source", architectures=[]))
    assert caught.value.exit_code == 12
