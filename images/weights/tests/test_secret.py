"""The Hub token that the job reads itself: from where, as whom, and how that fails."""

from collections.abc import Iterator

import pytest
from fake_metadata import FakeMetadata
from fake_secrets import VERSION, FakeSecrets

ACCESS = "ya29.platform-token"
TOKEN = "hf_planted-canary"


@pytest.fixture
def secrets(hub, gcs) -> Iterator[FakeSecrets]:
    """The secret that the gated repository's token is in."""
    hub.gated = TOKEN
    gcs.token = ACCESS
    with FakeSecrets(ACCESS, TOKEN.encode() + b"\n") as fake:
        yield fake


def run(program, secrets: FakeSecrets, **changes: str):
    with FakeMetadata(ACCESS) as metadata:
        result = program.run(**{**metadata.environment(), **secrets.environment(), **changes})
        scopes = metadata.requests("GET", "/token")
    assert TOKEN not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result, scopes


def test_the_token_is_read_as_the_platforms_identity_and_shown_to_the_hub_alone(
    hub, gcs, program, staged, secrets
):
    result, scopes = run(program, secrets)
    assert result.returncode == 0, result.stderr
    assert "manifest.json" in staged()
    assert secrets.requests("GET") == [f"/v1/{VERSION}:access"]
    assert any("cloud-platform" in path for path in scopes)
    assert any(headers.get("Authorization") == f"Bearer {TOKEN}" for _, _, headers in hub.log)
    shown = [str(headers) for fake in (gcs, secrets) for _, _, headers in fake.log]
    assert not any(TOKEN in headers for headers in shown)


def test_a_token_that_is_given_needs_no_secret(program, staged, secrets):
    result, _ = run(program, secrets, HF_TOKEN=TOKEN)
    assert result.returncode == 0, result.stderr
    assert secrets.log == []


def test_a_model_that_is_staged_already_needs_no_secret(program, staged, secrets):
    assert run(program, secrets)[0].returncode == 0
    secrets.log.clear()
    assert run(program, secrets)[0].returncode == 0
    assert secrets.log == []


def test_a_refusal_that_passes_and_a_failure_that_passes_are_waited_for(program, staged, secrets):
    secrets.statuses = [403, 503, 429]
    result, _ = run(program, secrets)
    assert result.returncode == 0, result.stderr
    assert len(secrets.log) == 4


def test_a_refusal_that_stays_names_the_role_and_the_secret(program, staged, secrets):
    secrets.statuses = [403] * 50
    result, _ = run(program, secrets, WEIGHTS_PERMISSION_SECONDS="0.1")
    assert result.returncode == 16
    assert "roles/secretmanager.secretAccessor on projects/acme/secrets/hub-token (tried" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert staged() == {}


@pytest.mark.parametrize(
    ("status", "payload", "says"),
    [
        (404, b"", "there is no such version"),
        (400, b"", "enable a version of projects/acme/secrets/hub-token"),
        (200, b"", "is empty"),
        (200, b"\xff\xfe", "holds no text"),
        (200, b"hf_planted canary", "holds a character that no Hub token has"),
    ],
)
def test_a_secret_without_a_token_is_named_and_not_shown(program, secrets, status, payload, says):
    secrets.statuses, secrets.payload = [status], payload
    result, _ = run(program, secrets)
    assert result.returncode == 16
    assert "weights: secret: " in result.stderr
    assert says in result.stderr
    assert "planted canary" not in result.stderr


def test_a_version_that_is_not_written_in_full_is_refused(program, secrets):
    result, _ = run(program, secrets, HF_TOKEN_SECRET="hub-token")
    assert result.returncode == 2
    assert "projects/PROJECT/secrets/SECRET/versions/VERSION" in result.stderr
    assert secrets.log == []
