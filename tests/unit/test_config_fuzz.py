"""Whatever a stack file holds, the answer is a plan or every problem, and the same from both sources."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stacks.config import ConfigError
from stacks.config_models import CloudRunDeployment
from stacks.config_reader import KNOWN_KEYS
from stacks.plan.spec import ModelSpec
from tests.unit.config_sources import TINY, Outcome, both, good

TOKEN = "hf_PlainTextToken0123456789"
KEYS = sorted(
    {
        info.alias or name
        for model in (CloudRunDeployment, ModelSpec)
        for name, info in model.model_fields.items()
    }
    | {"min", "max", "cpu", "memory", "gpu", "ingress", "invokers", "queue", "serve", "digest", "team", TOKEN}
)
WORDS = (
    "cloud-run",
    "vertex",
    "gpt2",
    "google/flan-t5-base",
    "nvidia-l4",
    "4Gi",
    "dev",
    "prod",
    "allUsers",
    TOKEN,
)

texts = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.sampled_from([0.5, -1.25]) | texts
keys = st.sampled_from(KEYS) | texts
values = st.recursive(
    scalars | st.just({"secure": "v1:x"}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
deployments = st.fixed_dictionaries(
    {},
    optional={
        "topology": st.sampled_from(["cloud-run", "cloud-rum", "vertex"]) | values,
        "model": st.sampled_from(["gpt2", "gpt3", TINY]) | values,
        "scaling": st.dictionaries(st.sampled_from(["min", "max", "mx"]), scalars) | values,
        "resources": st.dictionaries(st.sampled_from(["cpu", "memory", "gpu"]), scalars) | values,
        "limits": values,
        "access": values,
        "engine": values,
        "dtype": values,
        "colour": values,
    },
)


def answered(config: dict[str, Any]) -> Outcome:
    """The outcome of both sources, which shows no token."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = both(config, Path(folder))
    if isinstance(outcome, ConfigError):
        assert outcome.problems
        assert TOKEN not in str(outcome)
        lines = str(outcome).splitlines()
        assert len(lines) == 2 * len(outcome.problems)
        assert all(re.match(r"Pulumi\.dev\.yaml: |    \S", line) for line in lines)
    return outcome


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KNOWN_KEYS) | keys.map("llm:{}".format), values, max_size=6))
def test_any_values_of_any_keys_are_answered(config: dict[str, Any]) -> None:
    answered(config)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["a", "b-2", "Chat"]) | texts, deployments | values, max_size=3))
def test_any_deployments_are_answered(found: dict[str, Any]) -> None:
    answered({**good(), "llm:deployments": found})


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(KEYS), values)
def test_any_value_of_one_key_of_a_model_is_answered(key: str, value: Any) -> None:
    answered(good(model={**TINY, key: value}))
