"""Looking at what is staged: ``verify`` reads all of it again, ``ls`` lists it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PREFIX
from tool import ENVIRONMENT, content, convert, sharded_folder, single_folder, weights

EXIT_CODES = json.loads((Path(__file__).parents[1] / "contract.json").read_text())["exit_codes"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A staged model."""
    assert weights(*convert(sharded_folder(tmp_path / "in"), tmp_path / "out")).returncode == 0
    return tmp_path / "out"


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_whole_model_is_verified_and_not_touched(model):
    before = content(model)
    result = weights("verify", model)
    assert (result.returncode, result.stderr) == (0, "")
    last = lines(result.stdout)[-1]
    assert last["severity"] == "NOTICE"
    assert last["bytes"] == sum(len(found) for name, found in before.items() if name != "manifest.json")
    assert content(model) == before


def test_one_flipped_bit_is_found_and_the_file_named(model):
    path = model / "model-00002-of-00003.safetensors"
    spoilt = bytearray(path.read_bytes())
    spoilt[-1] ^= 1
    path.write_bytes(spoilt)
    result = weights("verify", model)
    assert result.returncode == EXIT_CODES["integrity"]
    assert path.name in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_file_that_is_cut_or_gone_is_found(model, how):
    path = model / "tokenizer.json"
    if how == "cut":
        path.write_bytes(b"{")
    else:
        path.unlink()
    result = weights("verify", model)
    assert result.returncode == EXIT_CODES["integrity"]
    assert "tokenizer.json" in result.stderr


def test_a_model_in_a_bucket_is_verified_by_its_bytes_and_not_by_what_was_noted(program, gcs):
    assert program.run().returncode == 0
    place = f"gs://models/{PREFIX}"
    assert weights("verify", place, **program.environment).returncode == 0
    stored = gcs.objects[f"{PREFIX}/model.safetensors"]
    spoilt = stored.content[:-1] + bytes([stored.content[-1] ^ 1])
    gcs.put(f"{PREFIX}/model.safetensors", spoilt, **stored.metadata)
    result = weights("verify", place, **program.environment)
    assert result.returncode == EXIT_CODES["integrity"]
    assert "model.safetensors" in result.stderr


@pytest.mark.parametrize("place", ["in", "nowhere"])
def test_without_a_manifest_there_is_no_model_to_verify(tmp_path, place):
    single_folder(tmp_path / "in")
    result = weights("verify", tmp_path / place)
    assert result.returncode == EXIT_CODES["not_found"]
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("spoilt", [b"{ half", b'{"files": []}', b"\xff", b"[]"])
def test_a_manifest_that_is_none_is_not_found_and_nothing_crashes(model, spoilt):
    (model / "manifest.json").write_bytes(spoilt)
    assert weights("verify", model).returncode == EXIT_CODES["not_found"]
    result = weights("ls", model)
    assert result.returncode == 0
    assert lines(result.stdout)[0]["severity"] == "WARNING"


@pytest.mark.parametrize("name", ["../in/config.json", "/etc/hostname"])
def test_a_manifest_that_names_a_file_outside_its_folder_is_none(model, name):
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"] = [{"name": name, "size": 1, "sha256": "0" * 64}]
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert weights("verify", model).returncode == EXIT_CODES["not_found"]


def test_a_model_is_listed_with_its_files(model):
    found = lines(weights("ls", model).stdout)
    assert found[0]["complete"] is True
    manifest = json.loads((model / "manifest.json").read_text())
    assert [{key: line[key] for key in ("name", "size", "sha256")} for line in found[1:]] == manifest["files"]


def test_a_reader_of_the_output_that_leaves_ends_nothing(model, tmp_path):
    arguments = convert(sharded_folder(tmp_path / "more"), tmp_path / "new")
    for command in (["ls", str(model)], arguments):
        reading, writing = os.pipe()
        os.close(reading)
        result = subprocess.run(
            [sys.executable, "-m", "weights", *command],
            env=ENVIRONMENT,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writing)
        assert (result.returncode, result.stderr) == (0, "")
    assert weights("verify", tmp_path / "new").returncode == 0


def test_all_models_below_a_folder_are_listed_and_the_incomplete_one_is_marked(model, tmp_path):
    assert weights(*convert(single_folder(tmp_path / "b"), tmp_path / "models" / "b")).returncode == 0
    model.rename(tmp_path / "models" / "a")
    (tmp_path / "models" / "a" / "config.json").unlink()
    found = lines(weights("ls", tmp_path / "models").stdout)
    assert [(line["complete"], line["severity"]) for line in found] == [(False, "WARNING"), (True, "INFO")]


def test_all_models_below_a_prefix_are_listed(program):
    assert program.run().returncode == 0
    found = lines(weights("ls", "gs://models/models", **program.environment).stdout)
    assert found[0]["complete"] is True
    assert f"gs://models/{PREFIX}" in str(found[0]["message"])


def test_where_there_is_no_model_nothing_is_listed(tmp_path):
    result = weights("ls", tmp_path)
    assert result.returncode == EXIT_CODES["not_found"]
    assert result.stderr.count("\n") == 1
