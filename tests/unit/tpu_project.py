"""A checkout with a stack whose deployments are on topology `gke-tpu`, and what its engine says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STACK = """\
config:
  gcp:project: example-project
  gcp:region: us-west4
  llm:environment: dev
  llm:hubTokenSecret: hub-token
  llm:deployments:
    llama:
      topology: gke-tpu
      model: meta-llama/Llama-2-7b-hf
      engine: {engine}
      tpu: {{topology: 2x4, machine: ct5lp-hightpu-8t}}
      scaling: {{min: 2, max: 3}}
{more}    assistant:
      topology: cloud-run
      model: google/flan-t5-small
"""
METRICS = {"jetstream": "      server: {metricsPort: 9100}\n", "vllm-tpu": ""}
"""What each engine needs to be scaled by its own load."""


def make_project(root: Path, outputs: dict[str, Any] | None = None, engine: str = "jetstream") -> Path:
    """A checkout with the stack `dev`; its engine prints `outputs` and does nothing else."""
    (root / "stacks").mkdir(parents=True)
    (root / "Pulumi.yaml").write_text("name: llm\nruntime: python\n")
    (root / "Pulumi.dev.yaml").write_text(STACK.format(engine=engine, more=METRICS[engine]))
    commands = root / ".engine/bin"
    commands.mkdir(parents=True)
    (commands / "pulumi").write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(outputs or {})}\nEND\n")
    (commands / "pulumi").chmod(0o755)
    return root
