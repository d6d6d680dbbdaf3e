"""Parts that need no server."""

import json
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from weights import __version__
from weights.contract import contract
from weights.formats import FORMATS
from weights.settings import read_settings
from weights.tensors import CODES
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
        (format_datetime(datetime.now(UTC) + timedelta(hours=12), usegmt=True), 3600, 12 * 3600),
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


@pytest.mark.parametrize("header", ["", "soon", "\N{SUPERSCRIPT TWO}"])
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


def test_the_readme_lists_every_exit_code_format_and_variable_of_the_contract():
    text = (ROOT / "README.md").read_text()
    terms = json.loads((ROOT / "contract.json").read_text())
    codes = terms["exit_codes"]
    assert len(set(codes.values())) == len(codes)
    assert [name for name, code in codes.items() if f"| {code} | {name} |" not in text] == []
    assert [name for name in (*terms["formats"], *terms["environment"]) if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("name", contract().formats)
def test_each_format_of_the_contract_has_a_plan_and_known_types(name):
    assert callable(FORMATS[name].plan)
    assert set(FORMATS[name].dtypes) <= {*CODES, "int8"}


def test_the_program_starts_without_the_libraries_of_any_format_but_its_own():
    script = "import sys; import weights.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "safetensors", "tqdm", "weights.formats.jetstream"} & set(loaded)
