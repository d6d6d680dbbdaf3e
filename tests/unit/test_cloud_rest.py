"""Google's own clients against the REST face."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import google.auth
import httpx
import pytest
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import id_token, service_account
from googleapiclient.discovery import build_from_document
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

from rehearsal.cloud.discovery import Api, Router
from rehearsal.world import DEPLOYER, Fault
from tests.unit.cloud_world import (
    ACCOUNT,
    BUCKET,
    JOB,
    LOCATION,
    STRANGER,
    Running,
    job_body,
)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    started = Running(tmp_path / "world")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(started.folder / "adc.json"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One cloud process for tests whose requests only read, or are refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSTACK_RUNNER", "process")
        started = Running(tmp_path_factory.mktemp("cloud") / "world")
        started.world.objects.put(BUCKET, "digits", b"0123456789")
        started.world.insert("run.job", JOB, job_body("exit", "0"))
        yield started
        started.stop()


def api(running: Running, name: str, version: str) -> Any:
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    # The client takes only the host from an endpoint option and uploads with https then.
    documents = resources.files("googleapiclient.discovery_cache.documents")
    document = json.loads((documents / f"{name}.{version}.json").read_text())
    return build_from_document({**document, "rootUrl": running.base_url + "/"}, credentials=credentials)


def session() -> AuthorizedSession:
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return AuthorizedSession(credentials)


def test_an_object_comes_back_as_it_was_uploaded_in_chunks_with_its_checksum_and_metadata(running):
    storage = api(running, "storage", "v1")
    content = bytes(range(256)) * 4096
    media = MediaIoBaseUpload(io.BytesIO(content), "application/x-test", chunksize=256 * 1024, resumable=True)
    body = {"name": "models/a b/w.bin", "metadata": {"sha256": "abc"}}
    made = storage.objects().insert(bucket=BUCKET, body=body, media_body=media).execute()
    assert made["size"] == str(len(content))
    assert made["contentType"] == "application/x-test"
    meta = storage.objects().get(bucket=BUCKET, object="models/a b/w.bin").execute()
    assert meta["metadata"] == {"sha256": "abc"}
    assert meta["crc32c"] == made["crc32c"]
    got = io.BytesIO()
    reader = MediaIoBaseDownload(
        got, storage.objects().get_media(bucket=BUCKET, object="models/a b/w.bin"), chunksize=300_000
    )
    while not reader.next_chunk()[1]:
        pass
    assert got.getvalue() == content
    assert (running.folder / "buckets" / BUCKET / "models/a b/w.bin").read_bytes() == content


def test_a_multipart_upload_holds_exactly_the_media_part(running):
    storage = api(running, "storage", "v1")
    content = b"--not a boundary\r\n\r\n\x00tail\r\n"
    media = MediaIoBaseUpload(io.BytesIO(content), "text/x-odd", resumable=False)
    storage.objects().insert(bucket=BUCKET, body={"name": "odd"}, media_body=media).execute()
    assert storage.objects().get_media(bucket=BUCKET, object="odd").execute() == content
    assert storage.objects().get(bucket=BUCKET, object="odd").execute()["contentType"] == "text/x-odd"


def test_listing_folds_prefixes_and_gives_every_name_once_over_its_pages(running):
    for name in ("a/1", "a/2", "b", "c/d/e", "f"):
        running.world.objects.put(BUCKET, name, b"x")
    objects = api(running, "storage", "v1").objects()
    request, seen = objects.list(bucket=BUCKET, delimiter="/", maxResults=2), []
    while request is not None:
        page = request.execute()
        seen += [*page.get("prefixes", []), *(item["name"] for item in page["items"])]
        request = objects.list_next(request, page)
    assert sorted(seen) == ["a/", "b", "c/", "f"]


def test_a_resumable_upload_goes_on_where_it_was_cut_and_can_be_given_up(running):
    http = session()
    start = f"{running.base_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=big"
    address = http.post(start, json={}).headers["location"]
    first = b"a" * 262144
    answer = httpx.put(address, content=first, headers={"content-range": "bytes 0-262143/262150"})
    assert (answer.status_code, answer.headers["range"]) == (308, "bytes=0-262143")
    asked = httpx.put(address, headers={"content-range": "bytes */262150"})
    assert (asked.status_code, asked.headers["range"]) == (308, "bytes=0-262143")
    gap = httpx.put(address, content=b"z", headers={"content-range": "bytes 262149-262149/262150"})
    assert gap.status_code == 400
    done = httpx.put(address, content=b"bcdefg", headers={"content-range": "bytes 262144-262149/262150"})
    assert (done.status_code, done.json()["size"]) == (200, "262150")
    second = http.post(start.replace("big", "given-up"), json={}).headers["location"]
    assert httpx.delete(second).status_code == 499
    assert httpx.put(second, content=b"x").status_code == 404
    assert running.world.objects.stat(BUCKET, "given-up") is None


def test_bytes_with_a_wrong_checksum_never_become_an_object(running):
    url = f"{running.base_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=bad"
    answer = session().post(url, data=b"content", headers={"x-goog-hash": "crc32c=AAAAAA=="})
    assert answer.status_code == 400
    assert "CRC32C" in answer.json()["error"]["message"]
    assert running.world.objects.stat(BUCKET, "bad") is None


def test_a_generation_that_does_not_match_is_refused(running):
    url = f"{running.base_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=once&ifGenerationMatch=0"
    http = session()
    assert http.post(url, data=b"1").status_code == 200
    assert http.post(url, data=b"2").status_code == 412
    assert running.world.objects.path(BUCKET, "once").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=10-", 416, None),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_a_range_gives_exactly_its_bytes(unchanging, monkeypatch, header, status, content):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(unchanging.folder / "adc.json"))
    url = f"{unchanging.base_url}/storage/v1/b/{BUCKET}/o/digits?alt=media"
    answer = session().get(url, headers={"range": header})
    assert answer.status_code == status
    assert content is None or answer.content == content


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "says"),
    [
        ("get", f"/storage/v1/b/{BUCKET}/o?maxresults=1", None, 400, "maxresults"),
        ("get", f"/storage/v1/b/{BUCKET}/o?maxResults=many", None, 400, "maxResults"),
        ("get", f"/storage/v1/b/{BUCKET}/o?projection=all", None, 400, "projection"),
        ("get", "/storage/v1/b/none/o", None, 404, "does not exist"),
        ("get", f"/storage/v1/b/{BUCKET}/o/none", None, 404, "No such object"),
        ("put", f"/storage/v1/b/{BUCKET}/o/none", {}, 501, "storage.objects.update"),
        ("get", "/v2/elsewhere", None, 404, "not found"),
        ("post", f"/v2/{LOCATION}/jobs/stage:run", {"override": {}}, 400, "override"),
        (
            "post",
            f"/v2/{LOCATION}/jobs/stage:run",
            {"overrides": {"taskCount": "one"}},
            400,
            "overrides.taskCount",
        ),
        ("post", f"/v2/{LOCATION}/jobs/none:run", {}, 404, "none"),
        ("post", f"/v2/{LOCATION}/services", {}, 501, "run.projects.locations.services.create"),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(
    unchanging, monkeypatch, verb, path, body, status, says
):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(unchanging.folder / "adc.json"))
    answer = session().request(verb, unchanging.base_url + path, json=body)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]


def test_a_verb_after_a_name_is_not_taken_for_a_part_of_the_name():
    router = Router([Api("run.v2")])
    service = "/v2/projects/p/locations/l/services/s"
    assert router.route("GET", f"{service}:getIamPolicy", []).method.id.endswith("services.getIamPolicy")
    assert router.route("GET", service, []).method.id.endswith("services.get")


@pytest.mark.parametrize(("value", "status"), [("True", 200), ("true", 200), ("yes", 400)])
def test_a_truth_value_is_taken_as_googles_command_line_writes_it(unchanging, monkeypatch, value, status):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(unchanging.folder / "adc.json"))
    url = f"{unchanging.base_url}/storage/v1/b/{BUCKET}/o?includeFoldersAsPrefixes={value}"
    assert session().get(url).status_code == status


def test_without_credentials_or_with_foreign_ones_nothing_is_told(running):
    url = f"{running.base_url}/storage/v1/b/{BUCKET}/o"
    nobody = httpx.get(url)
    assert nobody.status_code == 401
    assert "authentication" in nobody.json()["error"]["message"]
    assert httpx.get(url, headers={"authorization": "Bearer made-up"}).status_code == 401


def test_who_signs_with_another_key_gets_no_token(running):
    theirs = json.loads((running.folder / "adc.json").read_text())
    other = running.folder.parent / "other"
    other.mkdir()
    from rehearsal.cloud.tokens import write_credentials

    theirs["private_key"] = json.loads(write_credentials(other, "p", 1).read_text())["private_key"]
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = service_account.Credentials.from_service_account_info(theirs, scopes=scopes)
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant"):
        credentials.refresh(Request())


def test_an_identity_token_names_who_asked_and_for_what(running):
    token = id_token.fetch_id_token(Request(), "https://echo.example")
    claims = google.auth.jwt.decode(token, verify=False)
    assert (claims["email"], claims["aud"]) == (DEPLOYER.partition(":")[2], "https://echo.example")
    assert httpx.get(
        f"{running.base_url}/storage/v1/b/{BUCKET}/o", headers={"authorization": f"Bearer {token}"}
    ).is_client_error


def test_credentials_of_an_account_are_given_to_who_may_act_as_it(running):
    credentials = api(running, "iamcredentials", "v1")
    name = f"projects/-/serviceAccounts/{STRANGER}"
    body = {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}
    token = credentials.projects().serviceAccounts().generateAccessToken(name=name, body=body).execute()
    url = f"{running.base_url}/storage/v1/b/{BUCKET}/o"
    answer = httpx.get(url, headers={"authorization": f"Bearer {token['accessToken']}"})
    assert answer.status_code == 403
    message = answer.json()["error"]["message"]
    assert "storage.objects.list" in message
    assert BUCKET in message
    assert STRANGER in message


def test_a_fault_that_is_injected_reaches_the_client_once(running):
    running.world.faults.add(
        Fault("503", provider="storage.googleapis.com", operation="storage.objects.list")
    )
    http, url = session(), f"{running.base_url}/storage/v1/b/{BUCKET}/o"
    assert [httpx.get(url, headers=_bearer(http)).status_code for _ in range(2)] == [503, 200]


def test_the_internal_address_needs_the_folders_secret(running):
    url = f"{running.base_url}/rehearsal/v1/shutdown"
    assert httpx.post(url, headers={"x-llmstack-secret": "guess"}).status_code == 403
    assert (running.folder / "cloud.secret").stat().st_mode & 0o077 == 0
    assert running.client.status()["folder"] == str(running.folder)


def test_a_secret_is_read_by_its_accessor_only(running):
    secret = "secretmanager.googleapis.com/projects/acme-test/secrets/hub"
    running.world.insert("secretmanager.secret", secret, {})
    running.world.insert("secretmanager.version", f"{secret}/versions/1", {"state": "ENABLED"})
    running.world.secrets.put(f"{secret}/versions/1", b"hf_planted")
    versions = api(running, "secretmanager", "v1").projects().secrets().versions()
    found = versions.access(name="projects/acme-test/secrets/hub/versions/latest").execute()
    assert found["payload"]["data"] == "aGZfcGxhbnRlZA=="
    account = api(running, "iamcredentials", "v1").projects().serviceAccounts()
    body = {"scope": ["x"]}
    token = account.generateAccessToken(name=f"projects/-/serviceAccounts/{ACCOUNT}", body=body).execute()
    url = f"{running.base_url}/v1/projects/acme-test/secrets/hub/versions/latest:access"
    refused = httpx.get(url, headers={"authorization": f"Bearer {token['accessToken']}"})
    assert refused.json()["error"]["status"] == "PERMISSION_DENIED"
    assert b"hf_planted" not in (running.folder / "world.db").read_bytes()


def _bearer(http: AuthorizedSession) -> dict[str, str]:
    http.credentials.refresh(Request())
    return {"authorization": f"Bearer {http.credentials.token}"}
