"""What holds for every image: who it runs as, what starts it, and what it does not carry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.containers import (
    ROOT,
    Containers,
    build_arguments,
    docker,
    docker_ok,
    folder,
    layers,
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]
IMAGES = ["weights", "serve", "serve-ctranslate2"]


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
    script = "find /app /opt /usr /etc -writable ! -type l 2>/dev/null | head"
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


@pytest.mark.parametrize("name", IMAGES)
def test_a_change_of_the_code_leaves_the_layer_of_its_dependencies(
    image: Callable[[str], str], base: str, tmp_path: Path, name: str
) -> None:
    context, changed = tmp_path / name, f"llmstack/{name}:docker-tier-changed"
    source = ROOT / "images" / folder(name)
    shutil.copytree(source, context, ignore=shutil.ignore_patterns(".venv", "tests*"))
    with (context / "src" / folder(name) / "__init__.py").open("a") as code:
        code.write("# changed\n")
    before = layers(image(name))
    docker_ok("build", *build_arguments(name, base), "--tag", changed, str(context), seconds=600)
    try:
        after = layers(changed)
    finally:
        docker("rmi", changed)
    # Debian's packages are the first layer above the base image's, the environment is the second.
    kept = len(layers(base)) + 2
    assert after != before
    assert after[:kept] == before[:kept]
