"""Parts that need no server."""

import io
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from weights import __version__
from weights.progress import Progress
from weights.settings import read_settings
from weights.transport import origin, retry_after

ROOT = Path(__file__).parents[1]


def test_the_version_in_manifests_is_the_projects():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_the_dockerfile_starts_the_program_behind_an_init():
    last = (ROOT / "Dockerfile").read_text().splitlines()[-1]
    assert last == 'ENTRYPOINT ["/usr/bin/tini", "--", "python", "-m", "weights"]'


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("17", 17, 17),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 3000, 3600),
        (format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True), 0, 0),
    ],
    ids=["seconds", "a date to come", "a date gone by"],
)
def test_retry_after_is_understood(header, low, high):
    response = requests.Response()
    response.headers["Retry-After"] = header
    seconds = retry_after(response)
    assert seconds is not None
    assert low <= seconds <= high


@pytest.mark.parametrize("header", ["", "soon"])
def test_another_retry_after_is_as_none(header):
    response = requests.Response()
    response.headers["Retry-After"] = header
    assert retry_after(response) is None


def test_an_emulator_without_a_scheme_is_taken_as_http():
    settings = read_settings({"STORAGE_EMULATOR_HOST": "127.0.0.1:9000"})
    assert (settings.storage, settings.emulated) == ("http://127.0.0.1:9000", True)


def test_the_settings_do_not_show_the_token():
    assert "planted" not in repr(read_settings({"HF_TOKEN": "hf_planted"}))


@pytest.mark.parametrize("other", ["http://hub", "https://hub:444", "https://hub.evil", "https://cdn.hub"])
def test_another_scheme_port_or_host_is_another_origin(other):
    assert origin("https://hub/a") == origin("https://hub:443/b?c")
    assert origin(f"{other}/a") != origin("https://hub/a")


def test_a_terminal_gets_plain_lines():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    progress = Progress(terminal)
    progress.expect(2 * 1024 * 1024)
    progress.add(2 * 1024 * 1024)
    assert terminal.getvalue().startswith("2.0 of 2.0 MiB, ")
