"""Whom the platform's access token is shown to, and what happens when it is refused."""

from fake_metadata import FakeMetadata

TOKEN = "ya29.planted-canary"


def test_the_platforms_token_goes_to_the_store_with_the_right_scope_and_nowhere_else(
    hub, gcs, program, staged
):
    gcs.token = TOKEN
    with FakeMetadata(TOKEN) as metadata:
        result = program.run(**metadata.environment())
        assert "devstorage.read_write" in metadata.requests("GET", "/token")[0]
    assert result.returncode == 0, result.stderr
    assert "manifest.json" in staged()
    assert not [headers for _, _, headers in hub.log if "Authorization" in headers]
    assert TOKEN not in result.stdout + result.stderr


def test_a_refused_token_is_replaced_by_a_new_one(gcs, program, staged):
    gcs.token = TOKEN
    with FakeMetadata("revoked", TOKEN) as metadata:
        assert program.run(**metadata.environment()).returncode == 0
    assert "manifest.json" in staged()


def test_a_token_that_stays_refused_ends_as_permission_and_is_not_printed(gcs, program, staged):
    gcs.token = "another"
    with FakeMetadata(TOKEN) as metadata:
        result = program.run(WEIGHTS_PERMISSION_SECONDS="0", **metadata.environment())
    assert result.returncode == 14
    assert "Invalid Credentials" in result.stderr
    assert TOKEN not in result.stdout + result.stderr
    assert staged() == {}
