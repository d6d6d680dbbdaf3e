"""What Vertex AI is sent for the models of the original, recorded: every change of it is seen.

`make goldens` renews the records and shows what changed.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable

import pytest
import yaml

from stacks.stack import build_stack
from tests.components.conftest import ROOT, Plan, Recorder

GOLDENS = ROOT / "tests/goldens/vertex"
KINDS = ("AiEndpoint", "Model", "ModelDeployment")
T4 = "machine: {type: n1-standard-8, accelerator: nvidia-tesla-t4}"
DEPLOYMENTS = {
    "gpt2": f"{{topology: vertex, model: gpt2, engine: torchserve, {T4}}}",
    "dolly": f"{{topology: vertex, model: databricks/dolly-v2-3b, engine: torchserve, {T4}, "
    "traffic: {steps: [10, 50, 100]}}",
    "flan-t5": "{topology: vertex, model: google/flan-t5-base}",
}
STACK = """
  gcp:project: acme-ml-dev
  gcp:region: europe-west4
  llm:environment: dev
  llm:deployments:
    chat: {deployment}
"""


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_what_is_sent_is_what_was_recorded(name: str, plan_of: Plan, run: Callable[..., Recorder]) -> None:
    plan = plan_of(STACK.format(deployment=DEPLOYMENTS[name]))
    recorded = run(lambda: build_stack(plan))
    sent = {kind: recorded.one(kind).inputs for kind in KINDS}
    text = yaml.safe_dump(sent, sort_keys=True, width=100)
    golden = GOLDENS / f"{name}.yaml"
    if os.environ.get("RENEW_GOLDENS"):
        before = golden.read_text(encoding="utf-8") if golden.exists() else ""
        print("\n".join(difflib.unified_diff(before.splitlines(), text.splitlines(), name, name)))
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == text
