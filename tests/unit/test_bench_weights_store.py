"""The benchmark's store: resumable uploads as Cloud Storage describes them, in front of fake-gcs-server.

cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest
import requests

from bench.weights.servers import BUCKET, STORE, Servers

CONTENT = bytes(range(256)) * 2048  # two chunks of 256 KiB
HALF = len(CONTENT) // 2
TOTAL = len(CONTENT)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    if not STORE.exists():
        # CI builds it beforehand, so there its absence is a failure.
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{STORE} is not built; scripts/install-bench builds it")
    folder = tmp_path_factory.mktemp("store")
    (folder / "hub").mkdir()
    with Servers(folder / "hub", folder / "store") as started:
        yield started


def begin(servers: Servers, name: str, generation: str = "0") -> str:
    answer = requests.post(
        f"{servers.storage}/upload/storage/v1/b/{BUCKET}/o",
        params={"uploadType": "resumable", "name": name, "ifGenerationMatch": generation},
        json={"name": name, "contentType": "text/x-thing", "metadata": {"recipe": "r", "other": "o"}},
        timeout=30,
    )
    assert answer.status_code == 200
    return answer.headers["Location"]


def put(place: str, content: bytes, span: str) -> requests.Response:
    return requests.put(place, data=content, headers={"Content-Range": f"bytes {span}/{TOTAL}"}, timeout=30)


def media(servers: Servers, name: str) -> requests.Response:
    place = f"{servers.storage}/storage/v1/b/{BUCKET}/o/{name}"
    return requests.get(place, params={"alt": "media"}, timeout=30)


def test_an_upload_in_chunks_becomes_an_object_with_its_checksum_and_metadata(servers: Servers) -> None:
    place = begin(servers, "whole")
    first = put(place, CONTENT[:HALF], f"0-{HALF - 1}")
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{HALF - 1}")
    assert media(servers, "whole").status_code == 404
    made = put(place, CONTENT[HALF:], f"{HALF}-{TOTAL - 1}").json()
    assert made["crc32c"] == base64.b64encode(google_crc32c.Checksum(CONTENT).digest()).decode()
    assert made["size"] == str(TOTAL)
    assert made["metadata"] == {"recipe": "r", "other": "o"}
    assert made["contentType"] == "text/x-thing"
    assert media(servers, "whole").content == CONTENT


def test_a_question_for_what_is_there_does_not_end_the_upload(servers: Servers) -> None:
    place = begin(servers, "asked")
    empty = put(place, b"", "*")
    assert empty.status_code == 308
    assert "Range" not in empty.headers
    put(place, CONTENT[:HALF], f"0-{HALF - 1}")
    asked = put(place, b"", "*")
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{HALF - 1}")
    assert media(servers, "asked").status_code == 404


def test_a_chunk_that_does_not_follow_is_refused(servers: Servers) -> None:
    place = begin(servers, "gap")
    assert put(place, CONTENT[HALF:], f"{HALF}-{TOTAL - 1}").status_code == 503
    assert put(place, CONTENT[:HALF], f"0-{HALF - 1}").status_code == 308


def test_a_cancelled_upload_leaves_nothing(servers: Servers) -> None:
    place = begin(servers, "cancelled")
    put(place, CONTENT[:HALF], f"0-{HALF - 1}")
    assert requests.delete(place, timeout=30).status_code == 499
    assert put(place, CONTENT[HALF:], f"{HALF}-{TOTAL - 1}").status_code == 404
    assert media(servers, "cancelled").status_code == 404


def test_an_object_that_is_there_is_not_overwritten_against_its_generation(servers: Servers) -> None:
    put(begin(servers, "twice"), CONTENT, f"0-{TOTAL - 1}")
    second = put(begin(servers, "twice"), CONTENT[::-1], f"0-{TOTAL - 1}")
    assert second.status_code == 412
    assert media(servers, "twice").content == CONTENT


def test_unfinished_uploads_are_on_the_disk_and_finished_ones_are_not(servers: Servers) -> None:
    unfinished = Path(servers.folder) / "unfinished"
    before = set(unfinished.iterdir())
    place = begin(servers, "disk")
    put(place, CONTENT[:HALF], f"0-{HALF - 1}")
    (one,) = set(unfinished.iterdir()) - before
    assert one.stat().st_size == HALF
    put(place, CONTENT[HALF:], f"{HALF}-{TOTAL - 1}")
    assert set(unfinished.iterdir()) == before


def test_the_store_counts_what_goes_through_it(servers: Servers) -> None:
    before = servers.store_counts()["finish"]
    put(begin(servers, "counted"), CONTENT, f"0-{TOTAL - 1}")
    after = servers.store_counts()["finish"]
    assert after["requests"] == before["requests"] + 1
    assert after["read"] == before["read"] + TOTAL
