"""A plan gives each container what its contract says that it reads, and a plan that does not is found out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from stacks.plan.contracts import check_contracts, serve_contract
from stacks.plan.types import CloudRunPlan, StackPlan
from tests.unit.config_sources import good, plan


def with_deployment(found: StackPlan, **changes: Any) -> StackPlan:
    deployment = dataclasses.replace(found.deployments["assistant"], **changes)
    return dataclasses.replace(found, deployments={"assistant": deployment})


def break_contract(deployment: CloudRunPlan, how: str) -> dict[str, Any]:
    """Changes that leave a container without what it reads."""
    env, job, args = dict(deployment.env), deployment.weights, deployment.weights.args
    replace = dataclasses.replace
    changes: dict[str, dict[str, Any]] = {
        "MODEL_PATH": {"env": {**env, "MODEL_PATH": "/mnt/models/other"}},
        "is read and not given": {"env": {k: v for k, v in env.items() if k != "THREADS"}},
        "is given and not read": {"env": {**env, "BUCKET": "x"}},
        "port that": {"port": 8000},
        "mount path": {"volume": replace(deployment.volume, mount_path="/mnt/gcs")},
        "mounted bucket": {"volume": replace(deployment.volume, bucket="another")},
        "probed and not answered": {"startup_probe": replace(deployment.startup_probe, path="/healthz")},
        "probed and not listened on": {"liveness_probe": replace(deployment.liveness_probe, port=80)},
        "--dtype": {"weights": replace(job, args=(*args[:-1], "float16"))},
        "job command": {"weights": replace(job, args=("download", *args[1:]))},
        "job arguments": {"weights": replace(job, args=(*args, "--force", "yes"))},
        "job environment": {"weights": replace(job, env={"TOKEN": "x"})},
        "does not have": {"image": "torchserve"},
        "staged address": {"staged": replace(deployment.staged, uri="gs://elsewhere/x")},
    }
    return changes[how]


def test_a_built_plan_keeps_every_contract(tmp_path: Path) -> None:
    found = plan(good(), tmp_path)
    assert check_contracts(found) == []
    deployment = found.deployments["assistant"]
    assert set(deployment.env) == {k for k, v in serve_contract().environment.items() if v.required}
    assert deployment.startup_probe.path == serve_contract().routes["ready"].path


@pytest.mark.parametrize(
    "how",
    [
        "MODEL_PATH",
        "is read and not given",
        "is given and not read",
        "port that",
        "mount path",
        "mounted bucket",
        "probed and not answered",
        "probed and not listened on",
        "--dtype",
        "job command",
        "job arguments",
        "job environment",
        "does not have",
        "staged address",
    ],
)
def test_a_plan_that_breaks_a_contract_is_found_out(how: str, tmp_path: Path) -> None:
    found = plan(good(), tmp_path)
    changes = break_contract(found.deployments["assistant"], how)
    broken = check_contracts(with_deployment(found, **changes))
    assert any(how in f"{problem.path} {problem.value} {problem.reason}" for problem in broken)
