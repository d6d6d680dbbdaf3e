"""Whatever a stack file holds, the answer is a plan or every problem, and the same from both sources."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from stacks.config import ConfigError
from stacks.config_gke import ClusterConfig, CpuPool, GkeTpuDeployment, Tpu, TpuAccess, TpuServer, TpuWeights
from stacks.config_models import CloudRunDeployment
from stacks.config_reader import KNOWN_KEYS
from stacks.plan.spec import ModelSpec
from tests.unit.config_sources import TINY, Outcome, both, good

TOKEN = "hf_PlainTextToken0123456789"


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


ON_TPU = (GkeTpuDeployment, Tpu, TpuServer, TpuWeights, TpuAccess, ClusterConfig, CpuPool)
KEYS = sorted(
    {key for model in (CloudRunDeployment, ModelSpec, *ON_TPU) for key in _keys_of(model)}
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
    "gke-tpu",
    "jetstream",
    "v6e",
    "2x4",
    "ct5lp-hightpu-8t",
    "us-central1-a",
    "spot",
    "gateway",
    "gs://bucket/prefix",
    "10.0.0.0/8",
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
        "topology": st.sampled_from(["cloud-run", "cloud-rum", "vertex", "gke-tpu"]) | values,
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

on_tpu = st.fixed_dictionaries(
    {"topology": st.just("gke-tpu"), "model": st.sampled_from(["google/gemma-2b", "gpt2", TINY])},
    optional={
        "engine": st.sampled_from(["jetstream", "vllm-tpu", "vllm"]) | values,
        "tpu": st.dictionaries(st.sampled_from(_keys_of(Tpu)), values, max_size=4) | values,
        "scaling": st.dictionaries(st.sampled_from(["min", "max", "surge"]), scalars) | values,
        "server": st.dictionaries(st.sampled_from(_keys_of(TpuServer)), values, max_size=4) | values,
        "weights": st.dictionaries(st.sampled_from(_keys_of(TpuWeights)), values, max_size=3) | values,
        "access": st.dictionaries(st.sampled_from(_keys_of(TpuAccess)), values, max_size=3) | values,
        "dtype": st.sampled_from(["int8", "bfloat16"]) | values,
        "limits": values,
        "identity": values,
        "colour": values,
    },
)
clusters = st.dictionaries(st.sampled_from(_keys_of(ClusterConfig)), values, max_size=4) | values


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


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["a", "b-2"]), on_tpu, min_size=1, max_size=2), clusters)
def test_any_deployments_on_tpus_and_any_cluster_are_answered(found: dict[str, Any], cluster: Any) -> None:
    answered({**good(), "llm:hubTokenSecret": "hub-token", "llm:cluster": cluster, "llm:deployments": found})


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(KEYS), values)
def test_any_value_of_one_key_of_a_model_is_answered(key: str, value: Any) -> None:
    answered(good(model={**TINY, key: value}))
