"""What staging puts into the bucket, and what it leaves alone."""

import hashlib
import json

from checkpoint import sharded, single
from conftest import PREFIX
from fake_hub import REVISION, Blob

WANTED = [
    "chat_template.jinja",
    "config.json",
    "model.safetensors",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
]


def test_only_what_serving_needs_is_staged_and_the_manifest_describes_it(hub, gcs, program, staged):
    result = program.run()
    assert (result.returncode, result.stderr) == (0, "")
    objects = staged()
    manifest = json.loads(objects.pop("manifest.json"))
    assert objects == {name: hub.blobs[name].content for name in WANTED}
    files = manifest.pop("files")
    assert files == [
        {"name": name, "size": len(objects[name]), "sha256": hashlib.sha256(objects[name]).hexdigest()}
        for name in WANTED
    ]
    assert manifest.pop("created").endswith("Z")
    assert manifest.pop("tool").startswith("weights/")
    assert manifest == {
        "version": 1,
        "repository": "acme/tiny",
        "revision": REVISION,
        "format": "safetensors",
        "dtype": "float32",
    }


def test_the_manifest_is_the_last_object_written(gcs, program):
    assert program.run().returncode == 0
    newest = max(gcs.objects, key=lambda name: gcs.objects[name].generation)
    assert newest == f"{PREFIX}/manifest.json"


def test_output_is_json_lines_with_severity_when_no_terminal_reads_it(program):
    lines = [json.loads(line) for line in program.run().stdout.splitlines()]
    assert {line["severity"] for line in lines} <= {"INFO", "NOTICE"}
    counted = [line for line in lines if {"bytes", "total", "rate", "eta"} <= line.keys()]
    assert counted[-1]["bytes"] == counted[-1]["total"] > 0


def test_a_second_run_sends_nothing_and_does_not_ask_the_hub(hub, gcs, program):
    assert program.run().returncode == 0
    hub.log.clear()
    gcs.log.clear()
    result = program.run()
    assert result.returncode == 0
    assert "staged already" in result.stdout
    assert hub.log == []
    assert {method for method, _, _ in gcs.log} == {"GET"}


def test_a_sharded_checkpoint_is_staged_with_its_index(hub, program, staged):
    hub.blobs = sharded()
    assert program.run().returncode == 0
    assert set(staged()) == {*hub.blobs, "manifest.json"}


def test_a_file_of_several_chunks_arrives_whole_when_the_store_keeps_part_of_each(hub, gcs, program, staged):
    hub.blobs = single(elements=5_000_000)
    gcs.take = 3 * 1024 * 1024
    assert program.run().returncode == 0
    assert staged()["model.safetensors"] == hub.blobs["model.safetensors"].content


def test_a_deleted_file_is_staged_again_and_the_others_are_not(gcs, program, staged):
    assert program.run().returncode == 0
    before = staged()
    del gcs.objects[f"{PREFIX}/config.json"]
    gcs.log.clear()
    assert program.run().returncode == 0
    begun = gcs.requests("POST")
    assert len(begun) == 2
    assert "config.json" in begun[0]
    assert "manifest.json" in begun[1]
    assert staged().keys() == before.keys()


def test_a_file_of_another_size_is_replaced(hub, gcs, program, staged):
    assert program.run().returncode == 0
    gcs.put(f"{PREFIX}/config.json", b"{}")
    assert program.run().returncode == 0
    assert staged()["config.json"] == hub.blobs["config.json"].content


def test_what_only_a_stale_manifest_of_another_model_lists_is_removed(hub, gcs, program, staged):
    hub.blobs = sharded()
    assert program.run().returncode == 0
    hub.name, hub.blobs = "acme/other", single()
    assert program.run(repo="acme/other").returncode == 0
    assert set(staged()) == {*WANTED, "manifest.json"}
    assert json.loads(staged()["manifest.json"])["repository"] == "acme/other"


def test_what_an_interrupted_run_for_another_model_finished_is_removed(hub, gcs, program, staged):
    gcs.put(f"{PREFIX}/model-00001-of-00002.safetensors", b"of another", recipe="0" * 64, sha256="0" * 64)
    gcs.put(f"{PREFIX}/below/model.safetensors", b"a model of its own", recipe="0" * 64, sha256="0" * 64)
    gcs.put(f"{PREFIX}/notes.txt", b"a person's")
    assert program.run().returncode == 0
    assert set(staged()) == {*WANTED, "manifest.json", "below/model.safetensors", "notes.txt"}


def test_a_manifest_that_cannot_be_read_is_replaced(gcs, program, staged):
    gcs.put(f"{PREFIX}/manifest.json", b"{ half")
    assert program.run().returncode == 0
    assert len(json.loads(staged()["manifest.json"])["files"]) == len(WANTED)


def test_a_single_file_goes_before_shards(hub, program, staged):
    hub.blobs = sharded() | single()
    assert program.run().returncode == 0
    assert set(staged()) == {*WANTED, "manifest.json"}


def test_an_index_that_names_a_file_elsewhere_is_refused(hub, program, staged):
    index = {"weight_map": {"a": "../../other/model.safetensors"}}
    hub.blobs = {
        "config.json": Blob(b"{}", large=False),
        "model.safetensors.index.json": Blob(json.dumps(index).encode(), large=False),
    }
    result = program.run()
    assert result.returncode == 12
    assert "model.safetensors.index.json" in result.stderr
    assert staged() == {}
