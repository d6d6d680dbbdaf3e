"""What is checked before TorchServe is started, and how it is configured."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import environment
from weights_handler import settings, start
from weights_handler.errors import StartupError
from weights_handler.settings import Settings


def begin(folder: Path, scratch: Path, **more: object) -> list[str]:
    scratch.mkdir(exist_ok=True)
    return start.command(environment(folder, **more), scratch)


def properties(scratch: Path) -> dict[str, str]:
    lines = (scratch / "config.properties").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    assert len({key for key, _, _ in pairs}) == len(pairs)
    return {key: value for key, _, value in pairs}


def repack(folder: Path, **changes: object) -> None:
    """Writes other values into the manifest of a staged archive, and its size into the model's."""
    path = folder / "model.mar"
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["MAR-INF/MANIFEST.json"])
    manifest["model"] |= changes
    files["MAR-INF/MANIFEST.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    staged = json.loads((folder / "manifest.json").read_text())
    for file in staged["files"]:
        file["size"] = (folder / file["name"]).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(staged))


def test_the_contract_names_every_variable_that_a_deployment_sets():
    aliases = {field.alias for field in Settings.model_fields.values()}
    assert aliases - {"HOST", "LOOPBACK_PORT"} == set(settings.contract()["environment"])
    required = {name for name, each in settings.contract()["environment"].items() if each["required"]}
    assert required == {field.alias for field in Settings.model_fields.values() if field.is_required()}
    assert settings.contract()["port"] == Settings.model_fields["port"].default


def test_only_the_inference_port_is_open_to_others(gpt2, tmp_path):
    begin(gpt2, tmp_path, HOST="0.0.0.0", PORT=9000)
    found = properties(tmp_path)
    assert found.pop("inference_address") == "http://0.0.0.0:9000"
    addresses = {key: value for key, value in found.items() if key.endswith("address")}
    assert len(addresses) == 4
    assert all("127.0.0.1" in value for value in addresses.values())
    assert found["disable_token_authorization"] == "true"
    assert found["enable_envvars_config"] == "false"


def test_a_temporary_folder_too_long_for_a_socket_goes_by_a_shorter_name(tmp_path):
    short, long = Path("/tmp/torchserve-a"), tmp_path / ("a" * 100)
    assert start.short_name(short) == str(short)
    long.mkdir()
    name = start.short_name(long)
    # Whoever has the folder as its current one, as Java has it, reaches it so.
    with contextlib.chdir(long), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{name}/.ts.sock.65535")
        assert (long / ".ts.sock.65535").is_socket()


def test_the_platforms_port_goes_before_ours(gpt2, tmp_path):
    begin(gpt2, tmp_path, PORT=9000, AIP_HTTP_PORT=7080)
    assert properties(tmp_path)["inference_address"] == "http://127.0.0.1:7080"


def test_the_archive_that_is_served_has_the_deployments_settings_beside_its_own(gpt2, tmp_path):
    before = (gpt2 / "model.mar").read_bytes()
    begin(gpt2, tmp_path, WORKERS=2, BATCH_SIZE=5, BATCH_DELAY_MS=30, RESPONSE_SECONDS=40, STARTUP_SECONDS=50)
    with zipfile.ZipFile(tmp_path / "models/model.mar") as archive:
        found = yaml.safe_load(archive.read("model-config.yaml"))
    assert found.pop("handler")["architecture"] == "GPT2LMHeadModel"
    assert found == {
        "minWorkers": 2,
        "maxWorkers": 2,
        "batchSize": 5,
        "maxBatchDelay": 30,
        "responseTimeout": 40,
        "startupTimeout": 50,
        "maxRetryTimeoutInSec": 50,
    }
    assert (gpt2 / "model.mar").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"BATCH_SIZE": 0}, "BATCH_SIZE is '0'"),
        ({"DTYPE": "int8"}, "DTYPE is 'int8'"),
        ({"MODEL_PATH": ""}, "MODEL_PATH is not set (folder of a model staged in the format mar"),
        ({"AIP_HEALTH_ROUTE": "/health"}, "answers at '/ping'"),
        ({"AIP_PREDICT_ROUTE": "/predict"}, "answers at '/predictions/gpt2'"),
        ({"PATH": "", "JAVA_HOME": ""}, "install Java 17"),
    ],
)
def test_a_wrong_environment_is_refused_by_name(gpt2, tmp_path, changes, words):
    with pytest.raises(StartupError) as caught:
        begin(gpt2, tmp_path, **changes)
    assert words in str(caught.value)
    assert caught.value.code == 2


def test_all_wrong_variables_are_named_at_once(gpt2, tmp_path):
    with pytest.raises(StartupError, match=r"PORT is 'x'.*; THREADS is '-1'"):
        begin(gpt2, tmp_path, PORT="x", THREADS=-1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "manifest.json").unlink(), "the model was never staged"),
        (lambda f: (f / "manifest.json").write_text("{"), "is not a manifest"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"short"), "has 5 bytes, the manifest says"),
        (lambda f: repack(f, handler="custom_handler.py"), "has the handler 'custom_handler.py'"),
        (lambda f: repack(f, modelName=""), "is no archive of TorchServe: modelName"),
    ],
)
def test_a_model_that_is_not_whole_is_refused_before_java_starts(own_gpt2, damage, words):
    damage(own_gpt2)
    ended = subprocess.run(
        [sys.executable, "-m", "weights_handler"], env=environment(own_gpt2), capture_output=True, text=True
    )
    assert ended.returncode == 13
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
