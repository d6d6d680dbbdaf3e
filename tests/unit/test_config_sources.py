"""A stack file and the engine say the same, and a file that cannot be read is told in one line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime import config as pulumi_config

from stacks.config import ConfigError, from_stack_file, hub_token
from stacks.config_yaml import load_yaml
from tests.unit.config_sources import TINY, both, good, through_engine, through_file

GOOD: dict[str, dict[str, Any]] = {
    "least": good(),
    "every key": {
        **good(
            revision="b" * 40,
            scaling={"min": 1, "max": 5, "concurrency": 4},
            resources={"cpu": 4, "memory": "8Gi"},
            access={"ingress": "internal", "invokers": ["user:ada@example.com", "allUsers"]},
            timeoutSeconds=600,
            limits={"maxInputTokens": 256, "maxNewTokens": 64, "queue": 4},
        ),
        "gcp:zone": "us-central1-a",
        "llm:hubToken": {"secure": "v1:ciphertext"},
        "llm:images": {"serve": {"digest": f"sha256:{'1' * 64}"}, "weights": {"base": "python:3.11-slim"}},
        "llm:labels": {"team": "search", "cost-center": "42"},
    },
    "inline model": good(model=TINY),
    "existing secret": {**good(), "llm:hubTokenSecret": "projects/acme-ml-dev/secrets/hub"},
    "object written as JSON text": {**good(), "llm:labels": '{"team": "search"}'},
    "key of another program": {**good(), "aws:region": "eu-west-1", "gcp:impersonateServiceAccount": "a@b.c"},
}


@pytest.mark.parametrize("case", GOOD)
def test_a_good_configuration_gives_equal_plans_from_both_sources(case: str, tmp_path: Path) -> None:
    outcome = both(GOOD[case], tmp_path)
    assert not isinstance(outcome, ConfigError), str(outcome)
    config, plan = outcome
    assert config.stack == plan.stack == "dev"
    assert set(plan.deployments) == set(config.deployments)


def test_every_key_of_a_deployment_reaches_the_plan(tmp_path: Path) -> None:
    outcome = through_file(GOOD["every key"], tmp_path)
    assert not isinstance(outcome, ConfigError), str(outcome)
    plan = outcome[1].deployments["assistant"]
    assert (plan.min_instances, plan.max_instances, plan.concurrency) == (1, 5, 4)
    assert (plan.cpu, plan.memory, plan.timeout_seconds) == ("4", "8Gi", 600)
    assert (plan.ingress, plan.invokers) == (
        "INGRESS_TRAFFIC_INTERNAL_ONLY",
        ("allUsers", "user:ada@example.com"),
    )
    assert plan.staged.revision == "b" * 40
    assert plan.env["MAX_INPUT_TOKENS"] == "256"
    assert plan.env["MAX_NEW_TOKENS"] == "64"
    assert plan.env["MAX_QUEUE"] == "4"
    assert plan.labels["cost-center"] == "42"
    assert outcome[1].images["serve"].digest == f"sha256:{'1' * 64}"
    assert outcome[1].images["weights"].build_args == {"BASE": "python:3.11-slim"}
    assert outcome[1].foundation.hub_token is not None
    assert outcome[1].foundation.hub_token.create


def test_the_value_of_a_secret_enters_neither_configuration_nor_plan(tmp_path: Path) -> None:
    config = GOOD["every key"]
    assert "hf_decrypted" not in repr(through_engine(config))
    assert "ciphertext" not in repr(through_file(config, tmp_path))


def test_the_running_program_gets_the_token_only_where_it_is_secret_and_then_as_a_secret_output() -> None:
    async def token_is_secret(secret_keys: list[str]) -> bool | None:
        pulumi_config.set_all_config({"llm:hubToken": "hf_planted"}, secret_keys)
        found = hub_token()
        return None if found is None else await found.is_secret()

    assert asyncio.run(token_is_secret(["llm:hubToken"])) is True
    assert asyncio.run(token_is_secret([])) is None


FILES = {
    "a list": ("- a\n- b\n", "is not a mapping", "config:"),
    "a text": ("hello", "is not a mapping", "config:"),
    "config a list": ("config: [1]\n", "is not a mapping", "llm:deployments"),
    "not YAML": ("config: {a: [1\n", "is not valid YAML at line 2", "correct"),
    "a tab": ("config:\n\tgcp:project: x\n", "is not valid YAML at line 2", "correct"),
    "a key twice": (
        "config:\n  gcp:project: a\n  gcp:project: b\n",
        "gcp:project is written twice",
        "correct",
    ),
    "a deployment twice": (
        "config:\n  llm:deployments:\n    a: {topology: cloud-run}\n    a: {}\n",
        "line 4, column 5: a is written twice",
        "correct",
    ),
    "a list as key": ("config:\n  ? [a]\n  : 1\n", "a key must be text", "correct"),
    "an unknown tag": ("config: {gcp:project: !secret x}\n", "is not valid YAML at line 1", "correct"),
    "text with a number's tag": (
        "config: {gcp:project: !!int abc}\n",
        "line 1, column 23: 'abc' has the tag !!int",
        "correct",
    ),
    "text with a truth value's tag": (
        "config: {gcp:project: !!bool maybe}\n",
        "has the tag !!bool",
        "correct",
    ),
    "text with a date's tag": (
        "config: {gcp:project: !!timestamp abc}\n",
        "has the tag !!timestamp",
        "correct",
    ),
    "nothing with a number's tag": ("config: {gcp:project: !!float }\n", "has the tag !!float", "correct"),
    "an anchor that is not there": (
        "config: {llm:labels: *labels}\n",
        "is not valid YAML at line 1",
        "correct",
    ),
    "an anchor in itself": ("config: &a {llm:labels: *a}\n", "is not valid YAML", "correct"),
    "a control character": ("config: {gcp:project: \x07}\n", "is not valid YAML", "correct"),
    "nested without end": (f"config: {'[' * 2000}{']' * 2000}\n", "nested too deeply", "fewer levels"),
    "a key with its namespace and without": (
        "config: {llm:deployments: {}, deployments: {}}\n",
        'has "llm:deployments" twice',
        "remove one",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_read_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    text, reason, remedy = FILES[case]
    (tmp_path / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        from_stack_file(tmp_path / "Pulumi.dev.yaml")
    first, second = str(caught.value).splitlines()
    assert first.startswith("Pulumi.dev.yaml: ")
    assert reason in first
    assert remedy in second


NOTHING = {
    "empty": "",
    "only a comment": "# nothing\n",
    "no config": "encryptionsalt: v1:x\n",
    "config without a value": "config:\n",
    "a mapping with a tag of Python's": "config: !!python/object:os.system {}\n",
    "a second document": "config: {}\n---\nconfig: {gcp:project: acme-ml-dev}\n",
}


@pytest.mark.parametrize("case", NOTHING)
def test_a_file_that_says_nothing_is_told_every_key_that_is_missing_as_by_the_engine(
    case: str, tmp_path: Path
) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(NOTHING[case], encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        from_stack_file(tmp_path / "Pulumi.dev.yaml")
    assert str(caught.value) == str(through_engine({}))
    assert [problem.path for problem in caught.value.problems] == [
        "gcp:project",
        "gcp:region",
        "llm:deployments",
        "llm:environment",
    ]


def test_a_key_without_namespace_is_the_projects_own_as_for_the_engine(tmp_path: Path) -> None:
    short = {key.removeprefix("llm:"): value for key, value in good().items()}
    assert through_file(short, tmp_path) == through_file(good(), tmp_path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_bytes(b"\xef\xbb\xbfconfig: {llm:environment: dev}\n")
    with pytest.raises(ConfigError) as caught:
        from_stack_file(tmp_path / "Pulumi.dev.yaml")
    assert len(caught.value.problems) == 3


def test_a_missing_file_names_the_stack_files_that_exist(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.prod.yaml").touch()
    with pytest.raises(ConfigError, match=r"Pulumi\.prd\.yaml: does not exist\n.*did you mean Pulumi\.prod"):
        from_stack_file(tmp_path / "Pulumi.prd.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_bytes(b"\xff\xfe\x00config")
    with pytest.raises(ConfigError, match="cannot be read"):
        from_stack_file(tmp_path / "Pulumi.dev.yaml")


def test_a_file_with_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a stack file\n.*Pulumi\.STACK\.yaml"):
        from_stack_file(tmp_path / "settings.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("1e3", 1000),
        ("2.0", 2),
        ("1.5", 1.5),
        ("1_000", 1000),
        ("010", 8),
        ("08", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", 3),
        ("-7", -7),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2**64),
        ("1" + "0" * 30, 1e30),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02 00:00:00 +0000 UTC"),
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05 +0000 UTC"),
        ("2026-13-45", "2026-13-45"),
        ("0x_", "0x_"),
        ("1e400", "1e400"),
        ("9" * 5000, "9" * 5000),
        ("!!float 3", 3),
        ("!!int '12'", 12),
    ],
)
def test_a_scalar_means_what_the_engine_makes_of_it(text: str, value: object) -> None:
    read = load_yaml(f"key: {text}")["key"]
    assert (read, type(read)) == (value, type(value))


def test_merged_keys_give_way_to_those_written_out() -> None:
    text = "base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\n"
    assert load_yaml(text)["use"] == {"a": 1, "b": 3}


def test_reading_a_stack_file_and_planning_it_imports_no_pulumi() -> None:
    code = (
        "import sys, stacks.config, stacks.plan, stacks.plan.contracts\n"
        "sys.exit(any(name.split('.')[0].startswith('pulumi') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
