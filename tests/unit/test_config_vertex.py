"""What is wrong with a configuration of topology `vertex`, told with the key and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.config_sources import problems
from tests.unit.vertex_stacks import T4, refusals, stack

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no replica": ({"scaling": {"min": 0}}, "scaling.min", "write a number of at least 1"),
    "least above most": ({"scaling": {"min": 3, "max": 2}}, "scaling.min", "is above max (2)"),
    "target of no metric": ({"scaling": {"target": 70}}, "scaling.target", "is a target of no metric"),
    "target above all": (
        {"scaling": {"max": 2, "metric": "cpu-utilization", "target": 101}},
        "scaling.target",
        "is above 100",
    ),
    "metric of GPUs without one": (
        {"scaling": {"max": 2, "metric": "accelerator-duty-cycle"}},
        "scaling.metric",
        "is of GPUs, and the machine has none; write cpu-utilization",
    ),
    "GPU by Vertex AI's own name": (
        {"machine": {"accelerator": "NVIDIA_TESLA_T4"}},
        "machine.accelerator",
        "did you mean nvidia-tesla-t4?",
    ),
    "count of no GPUs": ({"machine": {"count": 1}}, "machine.count", "counts GPUs, and there are none"),
    "count for a machine without GPUs": (
        {"machine": {"type": "e2-standard-4", "count": 1}},
        "machine.count",
        "counts GPUs, and e2-standard-4 has none",
    ),
    "several GPUs of no machine": (
        {"engine": "torchserve", "machine": {"accelerator": "nvidia-tesla-t4", "count": 2}},
        "machine.count",
        "needs a machine type beside it",
    ),
    "machine that is none": (
        {"machine": {"type": "n1-standard-7"}},
        "machine.type",
        "is no machine type that Vertex AI serves with; did you mean n1-standard-",
    ),
    "machine below the list": (
        {"machine": {"type": "n1-standard-1"}},
        "machine.type",
        "is no machine type that Vertex AI serves with",
    ),
    "GPU that an E2 machine cannot have": (
        {"machine": {"type": "e2-standard-8", "accelerator": "nvidia-tesla-t4"}},
        "machine.accelerator",
        "cannot be had with e2-standard-8; leave it out, or write type: n1-standard-4",
    ),
    "L4 on N1": (
        {"machine": {"type": "n1-standard-8", "accelerator": "nvidia-l4"}},
        "machine.accelerator",
        "cannot be had with n1-standard-8; leave it out, or write type: g2-standard-4",
    ),
    "GPU of another machine": (
        {"machine": {"type": "g2-standard-8", "accelerator": "nvidia-tesla-t4"}},
        "machine.accelerator",
        "does not go with g2-standard-8, which has nvidia-l4",
    ),
    "more GPUs than the machine has": (
        {"engine": "torchserve", "machine": {"type": "g2-standard-24", "count": 3}},
        "machine.count",
        "is more than the 2 nvidia-l4 of g2-standard-24; write at most 2",
    ),
    "GPUs in a number that the machine does not take": (
        {"engine": "torchserve", "machine": {**T4, "count": 3}},
        "machine.count",
        "is no number of nvidia-tesla-t4 that n1-standard-8 takes; write 1 or 2 or 4",
    ),
    "several GPUs for an engine that uses one": (
        {"machine": {**T4, "count": 2}},
        "machine.count",
        "is more GPUs than transformers uses in this version",
    ),
    "machine that is to be had as spot alone": (
        {"machine": {"type": "a3-highgpu-1g"}},
        "machine.type",
        "is to be had as spot alone; write spot: true",
    ),
    "machine too small for the model": (
        {"model": "databricks/dolly-v2-3b", "machine": {"type": "e2-standard-2"}},
        "machine.type",
        "and e2-standard-2 has 8.00 GiB; write machine: {type: e2-highmem-4",
    ),
    "GPU too small for the model": (
        {"model": "google/flan-t5-xxl", "machine": {"accelerator": "nvidia-l4"}},
        "machine.accelerator",
        "and nvidia-l4 has 22.35 GiB; write machine: {type: ",
    ),
    "memory of the machine too small for what passes through it": (
        {"model": "Qwen/Qwen3-8B", "machine": {"type": "g2-standard-4"}, "dtype": "bfloat16"},
        "machine.type",
        "pass through it",
    ),
    "steps that fall": (
        {"traffic": {"steps": [50, 10, 100]}},
        "traffic.steps",
        "does not rise to 100; write rising percents that end in 100",
    ),
    "step of nothing": ({"traffic": {"steps": [0, 100]}}, "traffic.steps[0]", "is below 1"),
    "step above all": ({"traffic": {"steps": [50, 101]}}, "traffic.steps[1]", "is above 100"),
    "more steps than one waits for": (
        {"traffic": {"steps": [*range(10, 100, 9), 100]}},
        "traffic.steps",
        "at most 10",
    ),
    "steps in the past": ({"traffic": {"stepSeconds": -1}}, "traffic.stepSeconds", "is below 0"),
    "steps too far apart": ({"traffic": {"stepSeconds": 3601}}, "traffic.stepSeconds", "is above 3600"),
    "no GPUs of a GPU": (
        {"machine": {"accelerator": "nvidia-l4", "count": 0}},
        "machine.count",
        "is below 1",
    ),
    "no replica at most": ({"scaling": {"max": 0}}, "scaling.max", "is below 1"),
    "metric that is none": (
        {"scaling": {"max": 2, "metric": "memory"}},
        "scaling.metric",
        "valid here: accelerator-duty-cycle, cpu-utilization",
    ),
    "kind of endpoint that is none": (
        {"endpoint": {"kind": "private"}},
        "endpoint.kind",
        "valid here: dedicated, private-service-connect, public",
    ),
    "revision that moves": ({"revision": "main"}, "revision", "commit"),
    "element type that is none": ({"dtype": "fp16"}, "dtype", "valid here: bfloat16, float16, float32"),
    "steps that stand still": ({"traffic": {"steps": [50, 50, 100]}}, "traffic.steps", "does not rise"),
    "steps that end early": ({"traffic": {"steps": [10, 50]}}, "traffic.steps", "does not rise to 100"),
    "no steps": ({"traffic": {"steps": []}}, "traffic.steps", "at least 1"),
    "projects of an endpoint in the open": (
        {"endpoint": {"projects": ["acme-apps"]}},
        "endpoint.projects",
        "is for kind: private-service-connect",
    ),
    "project that is none": (
        {"endpoint": {"kind": "private-service-connect", "projects": ["Acme"]}},
        "endpoint.projects[0]",
        "is not a project ID",
    ),
    "everybody": (
        {"access": {"invokers": ["allUsers"]}},
        "access.invokers[0]",
        "is everybody, whom Vertex AI does not take",
    ),
    "nobody's address": (
        {"access": {"invokers": ["bob"]}},
        "access.invokers[0]",
        "serviceAccount:ADDRESS or domain:NAME",
    ),
    "role of Google's": (
        {"access": {"role": "roles/aiplatform.admin"}},
        "access.role",
        "is no role of a project or an organization; write projects/PROJECT/roles/NAME",
    ),
    "machine type that is none": ({"machine": {"type": "N1"}}, "machine.type", "for instance n1-standard-8"),
    "machine with TPUs": (
        {"machine": {"type": "ct5lp-hightpu-1t"}},
        "machine.type",
        "has TPUs, which no container of topology vertex computes on; write a machine type with GPUs",
    ),
    "engine of another topology": ({"engine": "beam"}, "engine", "does not run on vertex"),
    "weights in another element type than TorchServe computes in": (
        {"engine": "torchserve", "weights": {"dtype": "bfloat16"}},
        "weights.dtype",
        "its weights are staged in just that",
    ),
    "runner without a cluster": (
        {"weights": {"runner": "kubernetes"}},
        "weights.runner",
        "topology vertex has none",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_told_with_its_key_and_a_remedy(case: str, tmp_path: Path) -> None:
    deployment, key, text = CASES[case]
    found = refusals(tmp_path, **deployment)
    assert list(found) == [key]
    assert text in found[key]


def test_a_region_without_vertex_ai_is_refused_for_the_deployment_and_its_weights(tmp_path: Path) -> None:
    found = problems(stack(region="northamerica-south1"), tmp_path).problems
    assert [each.path for each in found] == [
        "llm:deployments.chat.topology",
        "llm:deployments.chat.weights.runner",
    ]
    assert all("where Vertex AI has no address" in each.reason for each in found)


def test_a_model_that_no_machine_holds_is_told_with_the_sum(tmp_path: Path) -> None:
    shape = {
        "kind": "llama",
        "dModel": 65536,
        "dFf": 262144,
        "decoderLayers": 128,
        "heads": 512,
        "kvHeads": 512,
        "headDim": 128,
        "vocab": 100000,
        "tiedEmbeddings": True,
    }
    huge = {
        "repository": "acme/huge",
        "revision": "0" * 40,
        "family": "decoder",
        "architecture": shape,
        "context": 256,
    }
    (told,) = refusals(tmp_path, model=huge).items()
    assert told[0] == "model"
    assert "(weights " in told[1]
    assert told[1].endswith("choose a smaller model (llmstack models)")
