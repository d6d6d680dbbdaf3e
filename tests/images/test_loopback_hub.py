"""The Hub on loopback, asked by its real client and by plain HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.images.serve_python import ROOT, SERVE_PYTHON, needs_torch

OLD, NEW, GPT2, SECRET = "1" * 40, "2" * 40, "4" * 40, "5" * 40
TOKEN = "a-token-that-may-read"

pytestmark = pytest.mark.images


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two revisions of one repository, one without owner, one that is gated."""
    root = tmp_path_factory.mktemp("hub")
    write(root / "owner/tiny" / OLD, {"config.json": b"{}"})
    weights = {"model.safetensors": bytes(range(256)) * 40, "onnx/model.onnx": b"junk"}
    write(root / "owner/tiny" / NEW, {"config.json": b'{"new": true}'} | weights)
    os.utime(root / "owner/tiny" / OLD, (1, 1))
    write(root / "gpt2" / GPT2, {"config.json": b"{}", "sub folder/odd name+.txt": b"odd"})
    write(root / "owner/secret" / SECRET, {"config.json": b"{}"})
    (root / "owner/secret/gated").write_text(TOKEN + "\n")
    (root / "outside.txt").write_text("not for download")
    return root


def start(root: Path, folder: Path, *more: str) -> tuple[subprocess.Popen[bytes], str]:
    """A Hub process and its address."""
    port_file = folder / "port"
    command = [
        sys.executable,
        "-m",
        "rehearsal.hub.server",
        "--root",
        str(root),
        "--port-file",
        str(port_file),
    ]
    process = subprocess.Popen([*command, *more], cwd=ROOT)
    while not port_file.exists():
        assert process.poll() is None, "the Hub ended before it listened"
        time.sleep(0.02)
    return process, f"http://127.0.0.1:{port_file.read_text().strip()}"


@pytest.fixture(scope="module")
def hub(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Hub over `repositories`."""
    process, address = start(repositories, tmp_path_factory.mktemp("run"))
    yield address
    process.terminate()
    process.wait()


@pytest.fixture
def client(hub: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hub) as opened:
        yield opened


def test_model_info_names_the_commit_and_the_files(client: httpx.Client) -> None:
    info = client.get(f"/api/models/owner/tiny/revision/{OLD}").json()
    assert (info["id"], info["sha"], info["gated"]) == ("owner/tiny", OLD, False)
    assert info["siblings"] == [{"rfilename": "config.json"}]


@pytest.mark.parametrize("path", ["/api/models/owner/tiny", "/api/models/owner/tiny/revision/main"])
def test_without_a_revision_or_for_main_the_newest_is_meant(client: httpx.Client, path: str) -> None:
    assert client.get(path).json()["sha"] == NEW


def test_a_repository_may_have_no_owner(client: httpx.Client) -> None:
    assert client.get("/api/models/gpt2").json()["sha"] == GPT2
    assert client.get(f"/gpt2/resolve/{GPT2}/config.json").content == b"{}"


def test_the_tree_gives_sizes_and_hashes_as_git_and_lfs_compute_them(client: httpx.Client) -> None:
    tree = client.get(f"/api/models/owner/tiny/tree/{NEW}", params={"recursive": "true"}).json()
    entries = {entry["path"]: entry for entry in tree}
    config, weights = b'{"new": true}', bytes(range(256)) * 40
    assert set(entries) == {"config.json", "model.safetensors", "onnx/model.onnx"}
    assert entries["config.json"]["oid"] == hashlib.sha1(b"blob 13\0" + config).hexdigest()
    assert "lfs" not in entries["config.json"]
    lfs = entries["model.safetensors"]["lfs"]
    assert (lfs["oid"], lfs["size"]) == (hashlib.sha256(weights).hexdigest(), len(weights))


def test_a_small_file_comes_at_once_with_its_commit_and_hash(client: httpx.Client) -> None:
    response = client.get(f"/owner/tiny/resolve/{NEW}/config.json")
    assert response.content == b'{"new": true}'
    assert response.headers["X-Repo-Commit"] == NEW
    assert (
        response.headers["ETag"] == f'"{hashlib.sha1(b"blob 13" + bytes(1) + response.content).hexdigest()}"'
    )


def test_a_large_file_is_a_redirect_that_carries_its_hash(client: httpx.Client) -> None:
    weights = bytes(range(256)) * 40
    head = client.head(f"/owner/tiny/resolve/{NEW}/model.safetensors")
    assert head.status_code == 302
    assert head.headers["X-Linked-ETag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
    assert head.headers["X-Linked-Size"] == str(len(weights))
    assert head.headers["X-Repo-Commit"] == NEW
    location = httpx.URL(head.headers["Location"])
    assert location.port != client.base_url.port, "another host, so that clients do not hand their token on"
    assert client.get(location).content == weights
    assert client.get(location, headers={"Authorization": "Bearer any"}).status_code == 400


def test_part_of_a_file_can_be_asked_for(client: httpx.Client) -> None:
    url = f"/owner/tiny/resolve/{NEW}/model.safetensors"
    part = client.get(url, headers={"Range": "bytes=10000-"}, follow_redirects=True)
    assert part.status_code == 206
    assert part.headers["Content-Range"] == "bytes 10000-10239/10240"
    assert part.content == (bytes(range(256)) * 40)[10000:]
    beyond = client.get(url, headers={"Range": "bytes=10240-"}, follow_redirects=True)
    assert beyond.status_code == 416


def test_a_name_with_blanks_and_signs_is_served(client: httpx.Client) -> None:
    assert client.get(f"/gpt2/resolve/{GPT2}/sub%20folder/odd%20name%2B.txt").content == b"odd"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/models/owner/absent", 401, "RepoNotFound"),
        (f"/owner/absent/resolve/{NEW}/config.json", 401, "RepoNotFound"),
        (f"/api/models/owner/tiny/revision/{'9' * 40}", 404, "RevisionNotFound"),
        (f"/owner/tiny/resolve/{'9' * 40}/config.json", 404, "RevisionNotFound"),
        (f"/owner/tiny/resolve/{NEW}/absent.json", 404, "EntryNotFound"),
        (f"/owner/secret/resolve/{SECRET}/config.json", 401, "GatedRepo"),
    ],
)
def test_what_cannot_be_had_is_named_as_the_hub_names_it(
    client: httpx.Client, path: str, status: int, code: str
) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["X-Error-Code"]) == (status, code)
    assert response.headers["X-Error-Message"]


def test_a_client_with_a_token_learns_that_a_repository_does_not_exist(client: httpx.Client) -> None:
    response = client.get("/api/models/owner/absent", headers={"Authorization": "Bearer any"})
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RepoNotFound")


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 200), ("another", 403)])
def test_a_gated_file_needs_a_token_that_may_read_it(client: httpx.Client, token: str, status: int) -> None:
    url = f"/owner/secret/resolve/{SECRET}/config.json"
    assert client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        f"/owner/tiny/resolve/{NEW}/%2e%2e/%2e%2e/%2e%2e/outside.txt",
        f"/owner/tiny/resolve/{NEW}/..%2f..%2f..%2foutside.txt",
        f"/owner/tiny/resolve/{NEW}/%2fetc/passwd",
        "/owner/tiny/resolve/%2e%2e/gated",
        f"/%2e%2e/resolve/{NEW}/outside.txt",
        f"/owner/%2e%2e/resolve/{GPT2}/config.json",
        f"/cdn/{'0' * 64}/owner/tiny/{NEW}/-/%2e%2e/%2e%2e/%2e%2e/outside.txt",
        f"/cdn/{'0' * 64}/owner/secret/{SECRET}/-/config.json",
    ],
)
def test_no_path_leads_out_of_a_revision(hub: str, path: str) -> None:
    response = httpx.get(hub + path)
    assert response.status_code in (401, 404)
    assert "not for download" not in response.text


@needs_torch
def test_the_real_client_downloads_a_snapshot(hub: str, repositories: Path, tmp_path: Path) -> None:
    program = f"""
import json, sys
from huggingface_hub import HfApi, snapshot_download, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError)
api = HfApi()
info = api.model_info("owner/tiny", revision="{NEW}", files_metadata=True)
def failure(repository, **more):
    try:
        hf_hub_download(repository, **({{"filename": "config.json"}} | more))
    except Exception as error:
        return type(error).__name__
print(json.dumps({{
    "folder": snapshot_download("owner/tiny", revision="{NEW}", allow_patterns=["*.json", "*.safetensors"]),
    "main": snapshot_download("gpt2"),
    "lfs": next(f.lfs.sha256 for f in info.siblings if f.rfilename == "model.safetensors"),
    "failures": [
        failure("owner/absent"), failure("owner/tiny", revision="{"9" * 40}"),
        failure("owner/tiny", filename="absent"), failure("owner/secret"),
        failure("owner/secret", token="another"), failure("owner/secret", token="{TOKEN}")],
}}))
"""
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [SERVE_PYTHON, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    result = json.loads(done.stdout)
    folder = Path(result["folder"])
    source = repositories / "owner/tiny" / NEW
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert Path(result["main"]).name == GPT2
    assert result["lfs"] == hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    assert result["failures"] == [
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "GatedRepoError",
        "GatedRepoError",
        None,
    ]


def test_the_hub_ends_with_the_process_it_was_started_for(repositories: Path, tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process, address = start(repositories, tmp_path, "--exit-with-parent", str(owner.pid))
    assert httpx.get(f"{address}/api/models/gpt2").status_code == 200
    assert process.poll() is None
    owner.communicate(b"\n")
    assert process.wait(timeout=30) == 0
    assert not psutil.pid_exists(process.pid)
