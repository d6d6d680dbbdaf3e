"""What ends a run: one line, the contract's exit code, and no manifest."""

import json
from pathlib import Path

import pytest
from checkpoint import safetensors, sharded, single
from fake_hub import Blob, FakeContent

EXIT_CODES = json.loads((Path(__file__).parents[1] / "contract.json").read_text())["exit_codes"]
TOKEN = "hf_planted-canary"


def refused(result, staged, kind: str, *words: str) -> None:
    assert result.returncode == EXIT_CODES[kind], result.stderr
    assert result.stderr.startswith(f"weights: {kind}: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert "manifest.json" not in staged()


def test_wrong_bytes_of_the_right_size_are_refused_and_never_become_an_object(hub, program, staged):
    right = hub.blobs["model.safetensors"]
    hub.stated["model.safetensors"] = right
    hub.blobs["model.safetensors"] = Blob(right.content[:-1] + b"\x7f", large=True)
    refused(program.run(), staged, "integrity", "model.safetensors", "sha256")
    assert "model.safetensors" not in staged()


def test_the_upload_of_wrong_bytes_is_cancelled(hub, gcs, program):
    hub.stated = single(elements=5_000_000)
    spoilt = hub.stated["model.safetensors"].content[:-1] + b"\x7f"
    hub.blobs = hub.stated | {"model.safetensors": Blob(spoilt, large=True)}
    assert program.run().returncode == EXIT_CODES["integrity"]
    assert gcs.sessions == {}


def test_wrong_bytes_of_a_small_file_are_refused(hub, program, staged):
    hub.stated["config.json"] = hub.blobs["config.json"]
    hub.blobs["config.json"] = Blob(b'{"model_type": "t6"}', large=False)
    refused(program.run(), staged, "integrity", "config.json")


def test_a_file_of_another_size_than_stated_is_refused(hub, program, staged):
    hub.stated["tokenizer.json"] = Blob(b"short", large=True)
    refused(program.run(), staged, "integrity", "tokenizer.json")


@pytest.mark.parametrize("place", ["http://[::1", "http://localhost:99999"])
def test_a_redirect_to_no_address_is_refused(hub, program, staged, place):
    hub.content_url = place
    refused(program.run(), staged, "unavailable", "address")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_without_any_stated_digest_is_refused(hub, program, staged, name):
    hub.stated[name] = Blob(hub.blobs[name].content, large=False, more={"oid": None})
    refused(program.run(), staged, "integrity", name, "digest")


def test_an_empty_file_that_was_stated_to_have_another_digest_is_refused(hub, program, staged):
    hub.stated["chat_template.jinja"] = Blob(b"", large=False, more={"oid": "0" * 40})
    refused(program.run(), staged, "integrity", "chat_template.jinja")


def test_a_negative_size_is_no_answer_of_a_hub(hub, program, staged):
    hub.stated["tokenizer_config.json"] = Blob(b"{}", large=False, more={"size": -1})
    refused(program.run(), staged, "unavailable", "API")


def test_an_object_whose_checksum_the_store_states_otherwise_is_deleted(gcs, program, staged):
    gcs.spoil = True
    refused(program.run(), staged, "integrity", "crc32c")
    assert staged() == {}


def test_a_gated_repository_without_token_names_what_to_set(hub, program, staged):
    hub.gated = TOKEN
    refused(program.run(), staged, "gated", "HF_TOKEN", "llm:hubToken")


def test_a_gated_repository_with_a_refused_token_does_not_print_it(hub, program, staged):
    hub.gated = TOKEN
    result = program.run(HF_TOKEN="hf_another")
    refused(result, staged, "gated", "HF_TOKEN", "llm:hubToken")
    assert "hf_another" not in result.stderr + result.stdout


def test_the_token_goes_to_the_hub_and_not_to_the_host_it_redirects_to(hub, program):
    hub.gated = TOKEN
    with FakeContent(hub) as content:
        result = program.run(HF_TOKEN=TOKEN)
        assert result.returncode == 0, result.stderr
        assert content.requests("GET", "model.safetensors")
        assert not [headers for _, _, headers in content.log if "Authorization" in headers]
    assert all(headers["Authorization"] == f"Bearer {TOKEN}" for _, _, headers in hub.log)
    assert TOKEN not in result.stdout + result.stderr


def test_a_token_with_a_line_break_inside_is_refused_without_printing_it(program, staged):
    result = program.run(HF_TOKEN="hf_planted\ncanary")
    refused(result, staged, "usage", "HF_TOKEN")
    assert "planted" not in result.stderr


def test_an_unknown_revision_is_not_found(program, staged):
    refused(program.run(revision="f" * 40), staged, "not_found", "f" * 40)


def test_an_unknown_repository_is_not_found(program, staged):
    refused(program.run(repo="acme/nothing"), staged, "not_found", "acme/nothing")


def test_an_unknown_bucket_is_not_found(program, staged):
    refused(program.run(target="gs://elsewhere/models/x"), staged, "not_found", "bucket elsewhere")


def test_a_repository_without_safetensors_is_unsupported(hub, program, staged):
    del hub.blobs["model.safetensors"]
    refused(program.run(), staged, "unsupported", "safetensors")


def test_a_type_that_cannot_be_cast_is_unsupported_and_named(hub, program, staged):
    hub.blobs["model.safetensors"] = Blob(safetensors({"embed": ("F64", 1000)}), large=True)
    refused(program.run(), staged, "unsupported", "float64", "embed")
    assert staged() == {}


def test_an_architecture_that_a_format_does_not_know_is_named_with_those_that_it_knows(hub, program, staged):
    hub.blobs["config.json"] = Blob(b'{"model_type": "mamba"}', large=False)
    for form in ("safetensors-int8", "torch-state-dict"):
        result = program.run(format=form)
        refused(result, staged, "unsupported", "mamba", "llama", "safetensors")
    assert staged() == {}


def test_a_revision_whose_content_is_replaced_between_two_runs_is_not_mixed(hub, program, staged, gcs):
    hub.blobs = sharded(elements=1_000_000)
    gcs.stop_at = 6_000_000
    process = program.start()
    assert gcs.reached.wait(60)
    process.kill()
    process.communicate()
    gcs.stop_at = 1 << 62
    gcs.go_on.set()
    assert "model-00001-of-00003.safetensors" in staged()
    hub.blobs = sharded(elements=2000)
    assert program.run().returncode == 0
    assert {name: staged()[name] for name in hub.blobs} == {
        name: blob.content for name, blob in hub.blobs.items()
    }


def test_a_file_that_is_replaced_after_the_listing_is_refused(hub, program, staged):
    hub.stated["tokenizer.json"] = hub.blobs["tokenizer.json"]
    size = len(hub.blobs["tokenizer.json"].content)
    hub.blobs["tokenizer.json"] = Blob(b"[" * size, large=True)
    refused(program.run(), staged, "integrity", "tokenizer.json")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: (1 << 62).to_bytes(8, "little") + content[8:],
        lambda content: content[:-4],
        lambda content: content.replace(b"[0, 4000]", b"[4, 4000]"),
        lambda content: content.replace(b'"F32"', b'"F31"'),
        lambda content: content[:8] + b"[" + content[9:],
        lambda _: b"short",
    ],
    ids=["huge header", "cut off", "wrong offsets", "unknown type", "no object", "no header"],
)
def test_a_malformed_weights_file_is_unsupported(hub, program, staged, spoil):
    content = safetensors({"embed": ("F32", 1000)})
    hub.blobs["model.safetensors"] = Blob(spoil(content), large=True)
    refused(program.run(), staged, "unsupported", "model.safetensors")


def test_a_full_bucket_has_its_own_code(gcs, program, staged):
    gcs.full = 1
    refused(program.run(), staged, "storage_full", "models")


@pytest.mark.parametrize(
    "changes",
    [
        {"revision": "main"},
        {"target": "s3://models/x"},
        {"target": "gs://models"},
        {"dtype": "int4"},
        {"format": "gguf"},
        {"repo": "../acme"},
        {"STORAGE_EMULATOR_HOST": "http://"},
        {"STORAGE_EMULATOR_HOST": "http://localhost:port"},
        {"HF_ENDPOINT": "http://localhost:99999"},
        {"HF_ENDPOINT": "http://[::1"},
        {"WEIGHTS_RETRY_SECONDS": "soon"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_arguments_and_variables_of_the_wrong_form_are_named(program, staged, changes):
    name, value = next(iter(changes.items()))
    refused(program.run(**changes), staged, "usage", name, value)


def test_a_path_that_is_no_text_is_refused_before_anything_is_made(program, staged):
    refused(program.run(target="/tmp/\udcff"), staged, "usage", "UTF-8")
