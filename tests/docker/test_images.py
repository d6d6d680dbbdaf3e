"""What holds for every image: who it runs as, what starts it, and what it does not carry."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.docker.containers import Containers, docker_ok

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]
IMAGES = ["weights", "serve"]


@pytest.fixture(params=IMAGES)
def tag(request: pytest.FixtureRequest, image: Callable[[str], str]) -> str:
    """Each image in turn."""
    return image(request.param)


def test_the_image_starts_its_program_under_tini_as_a_user_without_rights(tag: str) -> None:
    config = json.loads(docker_ok("image", "inspect", "--format", "{{json .Config}}", tag))
    user = config["User"].partition(":")[0]
    assert user.isdigit(), "a platform that refuses root can only check a number"
    assert int(user) >= 10_000
    assert config["Entrypoint"][0] == "/usr/bin/tini"


def test_the_user_can_change_neither_the_program_nor_its_packages(containers: Containers, tag: str) -> None:
    # uv leaves an empty lock file, open to all, in an environment that it made.
    script = "find /app /opt /usr /etc -writable ! -type l ! -path '/opt/*/.lock' 2>/dev/null | head"
    done = containers.shell(tag, script)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_carries_no_compiler_no_installer_and_no_cache(containers: Containers, tag: str) -> None:
    tools = "cc gcc g++ make uv git curl"
    script = f"""
        for tool in {tools}; do command -v $tool; done
        find /root /tmp /home /var/cache/apt/archives /var/lib/apt/lists -type f ! -name lock ! -name '.*'
        find /app -name tests -o -name .venv -o -name uv.lock -o -name '*.pyc'
    """
    assert containers.shell(tag, script, "--user", "0").stdout.split() == []


def test_the_image_carries_no_package_that_only_tests_need(containers: Containers, tag: str) -> None:
    script = "python -c 'import importlib.util as u; print([m for m in (\"pytest\",) if u.find_spec(m)])'"
    assert containers.shell(tag, script).stdout.strip() == "[]"
