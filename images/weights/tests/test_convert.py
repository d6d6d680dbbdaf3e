"""Conversions between places and element types, read back by transformers and compared exactly."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
from conftest import PREFIX
from fake_hub import REVISION, Blob
from plans import consume
from tool import (
    assert_whole,
    content,
    convert,
    floats,
    read_back,
    safetensors,
    sharded_folder,
    single_folder,
    weights,
)

CONSUMERS = Path(__file__).parent / "consumers"
EXIT_CODES = json.loads((Path(__file__).parents[1] / "contract.json").read_text())["exit_codes"]


def make(folder: Path, dtype: str, how: str) -> Path:
    folder.mkdir()
    consume((CONSUMERS / "make_checkpoint.py").read_text(), folder, dtype, how, needs="transformers")
    return folder


def compare(before: Path, after: Path, dtype: str) -> int:
    return int(
        consume((CONSUMERS / "compare.py").read_text(), before, after, dtype, needs="transformers").split()[
            -1
        ]
    )


@pytest.mark.parametrize(
    ("how", "before", "after"),
    [
        ("t5", "float32", "bfloat16"),
        ("t5 sharded", "float32", "float16"),
        ("llama sharded", "float16", "bfloat16"),
        ("llama pickle", "bfloat16", "float32"),
    ],
)
def test_transformers_reads_a_converted_checkpoint_as_it_reads_the_source_and_casts_it(
    tmp_path, how, before, after
):
    source = make(tmp_path / "in", before, how)
    result = weights(*convert(source, tmp_path / "out", after))
    assert result.returncode == 0, result.stderr
    assert_whole(tmp_path / "out")
    files = compare(source, tmp_path / "out", after)
    assert files > 1 if "sharded" in how else files == 1


def test_a_checkpoint_of_the_wanted_type_is_copied_byte_for_byte(tmp_path):
    source = sharded_folder(tmp_path / "in")
    assert weights(*convert(source, tmp_path / "out", "float32")).returncode == 0
    assert_whole(tmp_path / "out")
    copied = content(tmp_path / "out")
    del copied["manifest.json"]
    expected = content(source)
    del expected["training.log"]
    assert copied == expected


def test_scalars_and_empty_tensors_are_kept_and_whole_numbers_are_not_cast(tmp_path):
    source = single_folder(tmp_path / "in")
    assert weights(*convert(source, tmp_path / "out", "float16")).returncode == 0
    before = read_back(source / "model.safetensors")
    after = read_back(tmp_path / "out" / "model.safetensors")
    assert after["positions"] == before["positions"]
    assert after["nothing"] == ("F16", [0, 3], b"")
    assert (after["scale"][:2], len(after["scale"][2])) == (("F16", []), 2)


def test_tensors_begin_where_their_type_wants_it_whatever_order_the_source_has(tmp_path):
    source = single_folder(tmp_path / "in")
    tensors = {"a": ("F32", [3], floats(3)), "flag": ("U8", [4], b"abcd"), "b": ("I64", [1], bytes(8))}
    (source / "model.safetensors").write_bytes(safetensors(tensors))
    assert weights(*convert(source, tmp_path / "out")).returncode == 0
    raw = (tmp_path / "out" / "model.safetensors").read_bytes()
    entries = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert entries["b"]["data_offsets"][0] % 8 == 0
    assert entries["a"]["data_offsets"][0] % 2 == 0
    after = read_back(tmp_path / "out" / "model.safetensors")
    assert (after["flag"], after["b"]) == (tensors["flag"], tensors["b"])


def test_the_same_source_has_the_same_revision_wherever_it_lies_and_another_has_another(tmp_path):
    revisions = set()
    for name in ("a", "b"):
        single_folder(tmp_path / name)
        assert weights(*convert(tmp_path / name, tmp_path / f"{name}-out")).returncode == 0
        revisions.add(assert_whole(tmp_path / f"{name}-out")["revision"])
    single_folder(tmp_path / "c", elements=2000)
    assert weights(*convert(tmp_path / "c", tmp_path / "c-out")).returncode == 0
    (revision,) = revisions
    assert str(revision).startswith("sha256:")
    assert assert_whole(tmp_path / "c-out")["revision"] != revision


def test_a_staged_model_is_converted_in_the_bucket_and_keeps_its_revision(program, gcs):
    assert program.run().returncode == 0
    target = "gs://models/converted"
    result = weights(*convert(f"gs://models/{PREFIX}", target), **program.environment)
    assert result.returncode == 0, result.stderr
    manifest = json.loads(gcs.objects["converted/manifest.json"].content)
    assert (manifest["repository"], manifest["revision"]) == ("acme/tiny", REVISION)
    assert (manifest["format"], manifest["dtype"]) == ("safetensors", "bfloat16")
    for file in manifest["files"]:
        stored = gcs.objects[f"converted/{file['name']}"].content
        assert hashlib.sha256(stored).hexdigest() == file["sha256"]
    assert weights("verify", target, **program.environment).returncode == 0


def test_a_folder_goes_to_a_bucket_and_back_and_is_the_same(tmp_path, program):
    source = sharded_folder(tmp_path / "in")
    up = weights(*convert(source, "gs://models/there", "float32"), **program.environment)
    assert up.returncode == 0, up.stderr
    back = weights(*convert("gs://models/there", tmp_path / "out", "float32"), **program.environment)
    assert back.returncode == 0, back.stderr
    assert_whole(tmp_path / "out")
    assert content(tmp_path / "out").items() >= {
        (name, found) for name, found in content(source).items() if name != "training.log"
    }


def test_a_checkpoint_is_staged_from_the_hub_into_a_folder(hub, program, tmp_path):
    target = tmp_path / "out"
    result = program.run(target=str(target), dtype="float16")
    assert result.returncode == 0, result.stderr
    assert assert_whole(target)["revision"] == REVISION
    assert read_back(target / "model.safetensors")["embed"][0] == "F16"


def test_an_overflow_is_told_with_the_tensor_and_how_to_avoid_it(tmp_path):
    source = single_folder(tmp_path / "in")
    tensors = {"large": ("F32", [2], floats(1) + struct.pack("<f", 1e30))}
    (source / "model.safetensors").write_bytes(safetensors(tensors))
    result = weights(*convert(source, tmp_path / "out", "float16"))
    assert result.returncode == 0
    warnings = [line for line in map(json.loads, result.stdout.splitlines()) if line["severity"] == "WARNING"]
    assert "large" in warnings[0]["message"]
    assert "bfloat16" in warnings[0]["message"]
    assert warnings[0]["overflows"] == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no config", ["unsupported", "config.json"]),
        ("no weights", ["unsupported", "safetensors"]),
        ("a shard is missing", ["integrity", "model-00002-of-00003.safetensors"]),
        ("the index lies", ["unsupported", "layer.0.weight"]),
        ("float64", ["unsupported", "float64"]),
        ("only integers", ["unsupported", "no floating-point"]),
        ("quantised", ["unsupported", "quantised", "original weights"]),
        ("config is a list", ["unsupported", "config.json"]),
        ("config is huge", ["unsupported", "config.json"]),
        ("nothing there", ["not_found", "nothing in"]),
        ("no folder", ["not_found", "cannot be read"]),
    ],
)
def test_what_cannot_be_converted_is_named_and_leaves_nothing(tmp_path, kind, words):
    source = sharded_folder(tmp_path / "in") if kind != "no folder" else tmp_path / "in"
    first, second = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"
    index = source / "model.safetensors.index.json"
    single = source / "model.safetensors"
    spoil = {
        "no config": lambda: (source / "config.json").unlink(),
        "no weights": lambda: [path.unlink() for path in source.glob("model*")],
        "a shard is missing": lambda: (source / second).unlink(),
        "the index lies": lambda: index.write_text(index.read_text().replace(first, second)),
        "float64": lambda: single.write_bytes(safetensors({"a": ("F64", [1], bytes(8))})),
        "only integers": lambda: single.write_bytes(safetensors({"a": ("I64", [1], bytes(8))})),
        "quantised": lambda: (source / "config.json").write_text('{"quantization_config": {}}'),
        "config is a list": lambda: (source / "config.json").write_text("[1]"),
        "config is huge": lambda: (source / "config.json").write_text(" " * 2_000_000 + "{}"),
        "nothing there": lambda: [path.unlink() for path in source.iterdir()],
        "no folder": lambda: None,
    }
    spoil[kind]()
    result = weights(*convert(source, tmp_path / "out"))
    assert result.returncode == EXIT_CODES[words[0]], result.stderr
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["", "/inside"])
def test_a_target_in_its_own_source_is_refused(tmp_path, place):
    source = single_folder(tmp_path / "in")
    before = content(source)
    result = weights(*convert(source, f"{source}{place}"))
    assert result.returncode == EXIT_CODES["usage"]
    assert content(source) == before


def test_a_quantised_checkpoint_is_copied_if_its_own_type_is_asked_for(tmp_path):
    source = single_folder(tmp_path / "in")
    (source / "config.json").write_text('{"quantization_config": {}}')
    assert weights(*convert(source, tmp_path / "out", "float32")).returncode == 0
    assert content(tmp_path / "out")["model.safetensors"] == content(source)["model.safetensors"]


def test_a_pickled_checkpoint_of_the_hub_becomes_safetensors(hub, program, tmp_path):
    made = make(tmp_path / "made", "float32", "t5 pickle")
    hub.blobs = {path.name: Blob(path.read_bytes(), large=path.suffix == ".bin") for path in made.iterdir()}
    result = program.run(target=str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert compare(made, tmp_path / "out", "float32") == 1
    assert not list((tmp_path / "out").glob("*.bin"))


def test_a_listing_that_ends_with_an_empty_token_ends(program, gcs):
    gcs.last_page = {"nextPageToken": ""}
    assert program.run().returncode == 0
    result = weights("ls", "gs://models/models", **program.environment)
    assert result.returncode == 0, result.stderr
    assert f"gs://models/{PREFIX}" in result.stdout


def test_objects_without_a_checksum_are_read_only_if_a_manifest_states_their_digests(program, gcs):
    assert program.run().returncode == 0
    gcs.unstated = True
    staged = weights(*convert(f"gs://models/{PREFIX}", "gs://models/a"), **program.environment)
    assert staged.returncode == 0, staged.stderr
    del gcs.objects[f"{PREFIX}/manifest.json"]
    result = weights(*convert(f"gs://models/{PREFIX}", "gs://models/b"), **program.environment)
    assert result.returncode == EXIT_CODES["integrity"], result.stderr
    assert "no crc32c of" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not [name for name in gcs.objects if name.startswith("b/")]


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_an_object_that_changes_while_it_is_converted_makes_no_model(program, gcs, how):
    assert program.run().returncode == 0
    name = f"{PREFIX}/tokenizer.json"
    stored = gcs.objects[name]

    def change(_completing: str) -> None:
        gcs.before_completion = lambda _name: None
        if how == "replaced":
            gcs.put(name, stored.content, **stored.metadata)
        else:
            gcs.objects.pop(name)

    gcs.before_completion = change
    result = weights(*convert(f"gs://models/{PREFIX}", "gs://models/converted"), **program.environment)
    assert result.returncode == EXIT_CODES["unavailable"], result.stderr
    assert "tokenizer.json" in result.stderr
    assert "converted/manifest.json" not in gcs.objects


def test_an_upload_is_imported_under_the_repository_and_revision_that_are_given(tmp_path: Path) -> None:
    source = single_folder(tmp_path / "upload")
    target = tmp_path / "staged"
    given = ("--source", str(source), "--repo", "acme/mine", "--revision", "a" * 40, "--target", str(target))
    assert weights("import", *given, "--format", "safetensors", "--dtype", "float32").returncode == 0
    manifest = json.loads((target / "manifest.json").read_text())
    assert (manifest["repository"], manifest["revision"]) == ("acme/mine", "a" * 40)
    branch = ("--source", str(source), "--repo", "acme/mine", "--revision", "main", "--target", str(target))
    refused = weights("import", *branch, "--format", "safetensors", "--dtype", "float32")
    assert refused.returncode == EXIT_CODES["usage"]
