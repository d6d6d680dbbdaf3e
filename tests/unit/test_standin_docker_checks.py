"""An image that could not be built, or never start, is refused before it is built."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from providers.base.provider import CheckRequest
from rehearsal.standins.docker_build import TYPE, DockerBuildStandin
from rehearsal.standins.docker_checks import check_image
from rehearsal.world import World
from stacks.plan.images import BASE

IMAGES = Path(__file__).parents[2] / "images"


def image(folder: Path, dockerfile: str, **others: str) -> Path:
    context = folder / "image"
    context.mkdir()
    for name, text in {"Dockerfile": dockerfile, **others}.items():
        (context / name.replace("_", ".")).write_text(text)
    return context


def failures(context: Path, **arguments: str) -> list[str]:
    return check_image(context, context / "Dockerfile", arguments).failures


def warnings(context: Path, **arguments: str) -> list[str]:
    return check_image(context, context / "Dockerfile", arguments).warnings


@pytest.mark.parametrize("name", ["serve", "weights"])
def test_our_own_images_pass(name: str) -> None:
    context = IMAGES / name
    found = check_image(context, context / "Dockerfile", {"BASE": BASE})
    assert (found.failures, found.warnings) == ([], [])


@pytest.mark.parametrize("word", ["CMD", "ENTRYPOINT"])
def test_a_variable_in_exec_form_is_never_expanded(word: str, tmp_path: Path) -> None:
    context = image(tmp_path, f'FROM python:3.11\n{word} ["$APP_HOME/entrypoint.sh"]\n')
    (failure,) = failures(context)
    assert failure.startswith(f"{word} ")
    assert "no variable is expanded" in failure


def test_a_base_image_with_an_entry_point_of_its_own_may_expand_it(tmp_path: Path) -> None:
    context = image(tmp_path, 'FROM pytorch/torchserve:latest-cpu\nCMD ["$MODEL"]\n')
    assert failures(context) == []
    assert "no variable is expanded" in warnings(context)[0]


@pytest.mark.parametrize(
    "start", ['CMD ["sh", "-c", "exec $APP"]', "CMD $APP_HOME/run.sh", 'ENTRYPOINT ["/run.sh"]\nCMD ["$X"]']
)
def test_a_variable_that_a_program_gets_to_see_is_no_failure(start: str, tmp_path: Path) -> None:
    assert failures(image(tmp_path, f"FROM python:3.11\n{start}\n")) == []


def test_only_the_last_stage_starts(tmp_path: Path) -> None:
    text = 'FROM python:3.11 AS build\nCMD ["$X"]\nFROM build\nCMD ["python"]\n'
    assert failures(image(tmp_path, text)) == []


@pytest.mark.parametrize("base", ["python:3.11-buster", "debian:stretch-slim", "ubuntu:bionic-20230530"])
def test_a_base_image_without_updates_is_warned_of(base: str, tmp_path: Path) -> None:
    context = image(tmp_path, "ARG BASE=python:3.11-bookworm\nFROM ${BASE}\n")
    assert warnings(context) == []
    assert "no security updates" in warnings(context, BASE=base)[0]


def test_a_requirement_in_condas_way_fails_the_build(tmp_path: Path) -> None:
    text = (
        "transformers==4.31\npytorch-cuda=11.7\n# torch=2\n--find-links x\ntorch>=2 ; python_version > '3'\n"
    )
    context = image(
        tmp_path, "FROM python:3.11\nRUN pip install -r requirements.txt\n", requirements_txt=text
    )
    (failure,) = failures(context)
    assert failure.startswith("requirements.txt:2: pip cannot read 'pytorch-cuda=11.7'")


def test_a_requirements_file_that_nobody_installs_is_not_read(tmp_path: Path) -> None:
    context = image(tmp_path, "FROM python:3.11\nCOPY . /app\n", requirements_txt="pytorch-cuda=11.7\n")
    assert failures(context) == []


def test_a_script_without_its_executable_bit_is_warned_of(tmp_path: Path) -> None:
    text = 'FROM python:3.11\nCOPY . /app\nENTRYPOINT ["tini", "--", "/app/run.sh"]\n'
    context = image(tmp_path, text, run_sh="#!/bin/sh\n")
    assert "run.sh is not executable" in warnings(context)[0]
    (context / "run.sh").chmod(0o755)
    assert warnings(context) == []
    (context / "run.sh").chmod(0o644)
    (context / "Dockerfile").write_text(f"{text}RUN chmod +x /app/run.sh\n")
    assert warnings(context) == []


def test_a_tool_that_is_gone_is_warned_of(tmp_path: Path) -> None:
    context = image(tmp_path, "FROM python:3.11\nRUN curl http://x | apt-key add -\n")
    assert "apt-key" in warnings(context)[0]


def test_the_stand_in_refuses_such_an_image_in_the_preview(tmp_path: Path) -> None:
    context = image(tmp_path, 'FROM python:3.11\nCMD ["$APP_HOME/entrypoint.sh"]\n')
    (tmp_path / "world").mkdir()
    standin = DockerBuildStandin("docker-build", "0.0.22", World(tmp_path / "world"))
    inputs = {"push": False, "context": {"location": str(context)}}
    request = CheckRequest(f"urn:pulumi:dev::llm::{TYPE}::i", TYPE, "i", {}, inputs, b"seed")
    (failure,) = asyncio.run(standin.check(request)).failures
    assert "no variable is expanded" in failure.reason
