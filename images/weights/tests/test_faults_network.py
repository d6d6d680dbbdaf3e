"""What a network and the services behind it do to a run, and how long it puts up with that."""

import json
import random
import re
import threading

import pytest
from checkpoint import single
from fake_hub import REVISION, Blob, FakeContent
from fake_metadata import FakeMetadata
from plans import consume
from weights.errors import Failure, TransientError
from weights.transport import Patience

MIB = 1024 * 1024
TOKEN = "ya29.planted-canary"
SNAPSHOT = """
import sys
from huggingface_hub import constants, snapshot_download
constants.HF_HUB_OFFLINE = False
print(snapshot_download("acme/tiny", revision=sys.argv[1], endpoint=sys.argv[2], local_dir=sys.argv[3]))
"""


def test_an_upload_that_breaks_off_in_the_middle_of_a_chunk_goes_on_where_the_store_stopped(
    hub, gcs, program, staged
):
    hub.blobs = single(elements=5_000_000)
    gcs.cut_uploads = 3
    result = program.run()
    assert result.returncode == 0, result.stderr
    assert staged()["model.safetensors"] == hub.blobs["model.safetensors"].content
    assert gcs.cut_uploads == 0
    assert gcs.received == sum(len(content) for content in staged().values())
    assert gcs.begun == len(staged())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_object_whose_completion_was_not_answered_is_asked_for_and_not_sent_again(
    hub, gcs, program, staged, dtype
):
    hub.blobs = single(elements=3_000_000)
    gcs.cut_completions = 10
    result = program.run(dtype=dtype)
    assert result.returncode == 0, result.stderr
    assert gcs.begun == len(staged())
    listed = {file["name"] for file in json.loads(staged()["manifest.json"])["files"]}
    assert listed == staged().keys() - {"manifest.json"}


def test_ranges_cut_again_and_again_on_the_other_host_are_resumed_where_they_broke(hub, program, staged):
    hub.blobs = single(elements=5_000_000)
    size = len(hub.blobs["model.safetensors"].content)
    hub.cuts = 8
    hub.cut_after = MIB
    with FakeContent(hub):
        result = program.run()
    assert result.returncode == 0, result.stderr
    assert hub.cuts == 0
    assert staged()["model.safetensors"] == hub.blobs["model.safetensors"].content
    assert hub.given["model.safetensors"] < size + 64 * 1024  # no byte of the tensors came twice


def test_an_answer_with_the_whole_file_instead_of_the_range_is_asked_again(hub, program, staged):
    hub.blobs = single(elements=5_000_000)
    hub.whole = 4
    result = program.run()
    assert result.returncode == 0, result.stderr
    assert staged()["model.safetensors"] == hub.blobs["model.safetensors"].content


def test_a_hub_that_never_serves_ranges_ends_the_run_with_a_line_that_says_so(hub, program, staged):
    hub.blobs = single(elements=5_000_000)
    hub.whole = 10**6
    result = program.run(WEIGHTS_RETRY_SECONDS="1")
    assert result.returncode == 20
    assert "does not serve model.safetensors from byte" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "model.safetensors" not in staged()


def test_a_file_that_always_ends_too_soon_is_given_up_and_never_becomes_an_object(hub, gcs, program, staged):
    hub.blobs = single(elements=5_000_000)
    hub.ends["model.safetensors"] = 15_000_000
    result = program.run(WEIGHTS_RETRY_SECONDS="1")
    assert result.returncode == 20
    assert "ended too soon" in result.stderr
    assert not {"model.safetensors", "manifest.json"} & staged().keys()
    assert gcs.sessions == {}


def test_wrong_bytes_of_the_right_size_which_the_hubs_own_client_takes_are_refused(
    hub, program, staged, tmp_path
):
    right = hub.blobs["model.safetensors"]
    wrong = Blob(right.content[:-4] + b"\0\0\0\0", large=True)
    assert wrong.content != right.content
    hub.stated["model.safetensors"] = right
    hub.blobs["model.safetensors"] = wrong
    taken = consume(SNAPSHOT, REVISION, hub.url, str(tmp_path / "taken"), needs="huggingface_hub")
    assert (tmp_path / "taken" / "model.safetensors").read_bytes() == wrong.content, taken
    assert program.run().returncode == 13
    assert not {"model.safetensors", "manifest.json"} & staged().keys()


def test_content_that_changes_between_two_requests_is_refused(hub, gcs, program, staged):
    hub.blobs = single(elements=5_000_000)
    content = hub.blobs["model.safetensors"].content
    # The two requests for the header and the first one for tensors are answered with the old content.
    hub.later["model.safetensors"] = (3, content[:-1] + bytes([content[-1] ^ 1]))
    result = program.run()
    assert result.returncode == 13
    assert "model.safetensors" in result.stderr
    assert not {"model.safetensors", "manifest.json"} & staged().keys()
    assert gcs.sessions == {}


def pauses(output: str) -> list[float]:
    return [float(found) for found in re.findall(r"next attempt in ([\d.]+) s", output)]


def test_retry_after_of_the_hub_is_respected(hub, program, staged):
    hub.storm, hub.storm_status, hub.retry_after = 1, 429, "2"
    result = program.run()
    assert result.returncode == 0
    assert "manifest.json" in staged()
    assert pauses(result.stdout)[0] >= 2
    assert hub.times[1] - hub.times[0] >= 2


def test_retry_after_of_the_store_is_respected(gcs, program, staged):
    gcs.refusals = [(429, "rateLimitExceeded", {"Retry_After": "2"})]
    result = program.run()
    assert result.returncode == 0
    assert "manifest.json" in staged()
    assert gcs.times[1] - gcs.times[0] >= 2


def test_a_retry_after_beyond_the_budget_ends_the_run_at_once(hub, program, staged):
    hub.storm, hub.storm_status, hub.retry_after = 10**6, 429, "3600"
    result = program.run()
    assert result.returncode == 20
    assert "429" in result.stderr
    assert len(hub.log) == 1
    assert staged() == {}


@pytest.mark.parametrize("side", ["hub", "gcs"])
def test_an_endless_storm_is_met_with_pauses_within_the_budget(hub, gcs, program, side):
    storming = {"hub": hub, "gcs": gcs}[side]
    storming.storm = 10**6
    result = program.run(WEIGHTS_RETRY_SECONDS="4")
    assert result.returncode == 20
    assert "(tried for 4 s)" in result.stderr
    assert result.stderr.count("\n") == 1
    waited = pauses(result.stdout)
    assert sum(waited) <= 4 + 0.05 * len(waited)  # each is printed rounded
    assert len(storming.log) == len(waited) + 1 > 2


def test_pauses_grow_and_are_random(monkeypatch):
    def fail() -> None:
        raise TransientError("no")

    def waits() -> list[float]:
        found: list[float] = []
        monkeypatch.setattr(threading.Event, "wait", lambda _event, timeout: found.append(timeout))
        with pytest.raises(Failure, match="tried for 20 s"):
            Patience(20, 20, lambda _line: None).run(fail)
        return found

    random.seed(1)  # once in thousands of draws every pause is short
    first, second = waits(), waits()
    assert first != second
    for found in (first, second):
        assert all(pause <= 0.5 * 2**attempt for attempt, pause in enumerate(found))
        assert max(found) > 1


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (403, "forbidden", 0),
        (403, "rateLimitExceeded", 0),
        (403, "quotaExceeded", 15),
        (507, "insufficientStorage", 15),
        (400, "invalid", 20),
        (500, "backendError", 0),
    ],
)
def test_a_refusal_of_the_store_is_taken_by_its_reason(gcs, program, staged, status, reason, code):
    gcs.refusals = [(status, reason, {})]
    result = program.run()
    assert result.returncode == code, result.stderr
    assert ("manifest.json" in staged()) == (code == 0)
    assert result.stderr.count("\n") == (1 if code else 0)


def test_a_permission_that_is_lost_in_the_middle_of_an_upload_and_comes_back_is_waited_for(
    hub, gcs, program, staged
):
    hub.blobs = single(elements=5_000_000)
    refused = []

    def refuse() -> None:
        if gcs.log[-1][0] == "PUT" and gcs.received > 8 * MIB and not refused:
            refused.append(gcs.received)
            gcs.denials = 2

    gcs.watch = refuse
    assert program.run().returncode == 0
    assert refused
    assert staged()["model.safetensors"] == hub.blobs["model.safetensors"].content


def test_a_token_that_the_platform_gives_late_is_waited_for(gcs, program, staged):
    gcs.token = TOKEN
    with FakeMetadata(TOKEN) as metadata:
        metadata.failures = 2
        result = program.run(**metadata.environment())
    assert result.returncode == 0, result.stderr
    assert metadata.failures == 0
    assert "manifest.json" in staged()
