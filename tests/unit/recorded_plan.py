"""The resources that a plan's components register, recorded from an engine in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pulumi.runtime import mocks
from pulumi.runtime import stack as pulumi_stack

from stacks.plan.naming import DEPLOYMENT_NAME, LABEL_KEY, LABEL_VALUE
from stacks.plan.types import StackPlan
from stacks.stack import build_stack
from tests.components.conftest import Recorder, RecordingMonitor, Registered
from tests.unit.config_sources import TINY, through_file

TOKEN = "hf_not_a_token"


class GoogleLike(Recorder):
    """A recorder whose resources have names as Google gives them, because others are given those."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        given, outputs = super().new_resource(args)
        if args.typ == "gcp:secretmanager/secret:Secret":
            return f"projects/some-project/secrets/{args.inputs['secretId']}", outputs
        if args.typ == "gcp:artifactregistry/repository:Repository":
            outputs["name"] = args.inputs["repositoryId"]
        if args.typ == "gcp:serviceaccount/account:Account":
            outputs["name"] = f"projects/some-project/serviceAccounts/{outputs['email']}"
        return given, outputs


def registered(plan: StackPlan) -> list[Registered]:
    """Everything that a plan's components ask the engine for."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    recorder = GoogleLike()
    mocks.set_mocks(recorder, project="llm", stack="test", preview=False, monitor=RecordingMonitor(recorder))
    token = plan.foundation.hub_token

    async def program() -> None:
        build_stack(plan, TOKEN if token and token.create else None)

    try:
        loop.run_until_complete(pulumi_stack.run_pulumi_func(program))
    finally:
        loop.close()
        asyncio.set_event_loop(None)
    return recorder.resources


def planned(config: dict[str, Any], folder: Path) -> StackPlan:
    """The plan of a configuration, which must be accepted."""
    outcome = through_file(config, folder)
    assert isinstance(outcome, tuple), str(outcome)
    return outcome[1]


def configurations() -> st.SearchStrategy[dict[str, Any]]:
    """Configurations that a person could write, without a fault."""
    return st.builds(
        _configuration,
        project=st.sampled_from(["acme-ml-dev", "a12345", "p" * 30]),
        environment=st.sampled_from(["local", "dev", "staging", "prod"]),
        token=st.sampled_from(
            [
                {"llm:hubTokenSecret": "shared-token"},
                {"llm:hubTokenSecret": "projects/acme-shared/secrets/hub_token"},
                {"llm:hubToken": {"secure": "v1:x:y"}},
            ]
        ),
        labels=_labels(),
        images=st.sampled_from([{}, {"llm:images": {"serve": {"digest": "sha256:" + "b" * 64}}}]),
        deployments=st.dictionaries(
            st.from_regex(DEPLOYMENT_NAME, fullmatch=True),
            _deployments() | _on_vertex() | _on_tpu(),
            min_size=1,
            max_size=3,
        ),
    )


def _labels() -> st.SearchStrategy[dict[str, str]]:
    keys = st.from_regex(LABEL_KEY, fullmatch=True).filter(lambda key: key.isascii() and "\n" not in key)
    values = st.from_regex(LABEL_VALUE, fullmatch=True)
    ours = {"deployment", "environment", "llm-target", "managed-by", "stack"}
    return st.dictionaries(keys.filter(lambda key: key not in ours), values, max_size=4)


def _deployments() -> st.SearchStrategy[dict[str, Any]]:
    models = ["google/flan-t5-small", "google/flan-t5-base", "gpt2", TINY, {**TINY, "gated": True}]
    machines = [{}, {"cpu": 4, "memory": "8Gi"}, {"gpu": "nvidia-l4"}, {"gpu": "nvidia-rtx-pro-6000"}]
    invokers = [[], ["allUsers"], ["group:ml@example.com", "domain:example.com"]]
    return st.builds(
        _deployment,
        model=st.sampled_from(models),
        resources=st.sampled_from(machines),
        scaling=st.tuples(st.integers(0, 100), st.integers(1, 100), st.integers(1, 1000)),
        ingress=st.sampled_from(["all", "internal", "internal-and-load-balancer"]),
        invokers=st.sampled_from(invokers),
        timeout=st.integers(1, 3600),
        weights=st.sampled_from([{}, {"runner": "cloud-run"}, {"runner": "vertex", "dtype": "float16"}]),
    )


def _on_vertex() -> st.SearchStrategy[dict[str, Any]]:
    private = {"kind": "private-service-connect", "projects": ["acme-apps"]}
    return st.fixed_dictionaries(
        {"topology": st.just("vertex"), "model": st.sampled_from(["google/flan-t5-base", "gpt2"])},
        optional={
            "engine": st.sampled_from(["transformers", "torchserve"]),
            "machine": st.sampled_from(
                [
                    {"accelerator": "nvidia-l4"},
                    {"type": "n1-standard-8", "accelerator": "nvidia-tesla-t4", "spot": True},
                    {"type": "a2-highgpu-8g"},
                    {"type": "e2-highmem-4"},
                ]
            ),
            "scaling": st.sampled_from(
                [{"min": 2}, {"max": 4, "metric": "cpu-utilization"}, {"min": 1, "max": 1}]
            ),
            "endpoint": st.sampled_from([{"kind": "public"}, {"kind": "dedicated"}, private]),
            "traffic": st.sampled_from([{"steps": [10, 50, 100], "stepSeconds": 0}, {"stepSeconds": 3600}]),
            "access": st.sampled_from([{"invokers": ["group:ml@example.com", "domain:example.com"]}]),
            "weights": st.sampled_from([{"runner": "cloud-run"}, {"runner": "vertex"}]),
            "metadataStore": st.booleans(),
        },
    )


def _on_tpu() -> st.SearchStrategy[dict[str, Any]]:
    gateway = {"expose": "gateway", "host": "llm.example.com", "certificateMap": "llm"}
    return st.fixed_dictionaries(
        {
            "topology": st.just("gke-tpu"),
            "model": st.sampled_from(["google/gemma-2b", "meta-llama/Llama-2-7b-hf"]),
            "engine": st.sampled_from(["jetstream", "vllm-tpu"]),
        },
        optional={
            "tpu": st.sampled_from(
                [
                    {"accelerator": "v6e", "capacity": "spot"},
                    {"capacity": "flex-start", "maxRunHours": 24},
                    {"capacity": "reservation", "reservation": "bought"},
                ]
            ),
            "scaling": st.builds(
                lambda least, surge: {"min": least, "surge": surge}, _few, st.integers(0, 1)
            ),
            "weights": st.sampled_from([{"volume": "disk"}, {"runner": "cloud-run"}, {"runner": "vertex"}]),
            "identity": st.sampled_from(["direct", "service-account"]),
            "access": st.sampled_from(
                [{"expose": "internal"}, {**gateway, "invokers": ["group:ml@example.com"]}]
            ),
        },
    )


_few = st.integers(1, 4)


def _deployment(
    model: Any,
    resources: Any,
    scaling: tuple[int, int, int],
    ingress: str,
    invokers: list[str],
    timeout: int,
    weights: dict[str, Any],
) -> dict[str, Any]:
    least, more, concurrency = scaling
    return {
        "topology": "cloud-run",
        "model": model,
        "resources": resources,
        "scaling": {"min": least, "max": least + more, "concurrency": concurrency},
        "limits": {"queue": concurrency},
        "access": {"ingress": ingress, "invokers": invokers},
        "timeoutSeconds": timeout,
        "weights": weights,
    }


def _configuration(
    project: str,
    environment: str,
    token: dict[str, Any],
    labels: dict[str, str],
    images: dict[str, Any],
    deployments: dict[str, Any],
) -> dict[str, Any]:
    return {
        "gcp:project": project,
        "gcp:region": "us-central1",
        "llm:environment": environment,
        "llm:labels": labels,
        "llm:deployments": deployments,
        **token,
        **images,
    }
