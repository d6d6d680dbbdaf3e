"""The typed resources of Vertex AI as a program uses them: what they send is what the provider takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from providers.base.values import decode_properties, encode_properties
from providers.modelops.provider import RESOURCES
from providers.modelops.validation import failures
from providers.modelops.vertexai.inputs import SHAPES
from stacks import modelops
from tests.unit.cloud_world import ACCOUNT, IMAGE, PROJECT, REGION
from tests.unit.vertexai import ENDPOINT, MODEL_NAME

PLACE = {"project": PROJECT, "location": REGION}
PROBE = modelops.ProbeArgs(
    http_get=modelops.HttpGetArgs(path="/ready", port=8080),
    initial_delay_seconds=1,
    period_seconds=2,
    timeout_seconds=3,
    failure_threshold=4,
    success_threshold=1,
)


class Recorder(mocks.Mocks):
    """An engine that creates whatever it is asked for."""

    def __init__(self) -> None:
        self.sent: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.sent[args.typ] = args.inputs
        computed = {"versionResourceName": f"{MODEL_NAME}@1", "deployedModelId": "7", "state": "SUCCEEDED"}
        return f"{args.name}-id", {**args.inputs, **computed}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        return {}, None


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    # Other tests of the same process end with no event loop, and Pulumi expects one.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    made = Recorder()
    mocks.set_mocks(made, preview=False)
    yield made
    loop.close()
    asyncio.set_event_loop(None)


def model() -> modelops.VertexModel:
    spec = modelops.ContainerSpecArgs(
        image_uri=pulumi.Output.from_input(IMAGE),
        command=["run"],
        args=["--fast"],
        env={"MODEL_PATH": "/mnt/models"},
        ports=[8080],
        predict_route="/predict",
        health_route="/health",
        shared_memory_size_mb=64,
        deployment_timeout_seconds=600,
        startup_probe=PROBE,
        health_probe=modelops.ProbeArgs(tcp_socket=modelops.TcpSocketArgs(port=8080)),
        liveness_probe=modelops.ProbeArgs(exec=modelops.ExecArgs(command=["true"])),
    )
    args = modelops.VertexModelArgs(
        **PLACE,
        model_id="assistant",
        display_name="Assistant",
        description="for people",
        container_spec=spec,
        version_aliases=["stable"],
        artifact_uri="gs://bucket/models",
        labels={"snake_case": "stays"},
        metrics={"eval_rougeL": 41.25},
    )
    return modelops.VertexModel("assistant-model", args)


def deployment(version: pulumi.Input[str]) -> modelops.VertexModelDeployment:
    args = modelops.VertexModelDeploymentArgs(
        **PLACE,
        endpoint=ENDPOINT,
        model=version,
        display_name="assistant",
        machine_type="g2-standard-8",
        accelerator_type="NVIDIA_L4",
        accelerator_count=1,
        min_replicas=1,
        max_replicas=2,
        autoscaling={"aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle": 70},
        service_account=ACCOUNT,
        traffic_steps=[10, 100],
        step_seconds=30,
        spot=True,
    )
    return modelops.VertexModelDeployment("assistant-deployment", args)


def custom_job() -> modelops.VertexCustomJob:
    pool = modelops.WorkerPoolSpecArgs(
        machine_spec=modelops.MachineSpecArgs(
            machine_type="a2-highgpu-1g", accelerator_type="NVIDIA_TESLA_A100", accelerator_count=1
        ),
        container_spec=modelops.JobContainerSpecArgs(
            image_uri=IMAGE, command=["a"], args=["b"], env={"A": "b"}
        ),
        replica_count=1,
        disk_spec=modelops.DiskSpecArgs(boot_disk_type="pd-ssd", boot_disk_size_gb=100),
    )
    spec = modelops.JobSpecArgs(
        worker_pool_specs=[pool],
        service_account=ACCOUNT,
        scheduling=modelops.SchedulingArgs(
            timeout_seconds=60,
            max_wait_seconds=0,
            strategy="SPOT",
            restart_job_on_worker_restart=True,
            disable_retries=False,
        ),
        base_output_directory="gs://bucket/out",
        enable_web_access=False,
    )
    args = modelops.VertexCustomJobArgs(
        **PLACE, display_name="train", job_spec=spec, labels={"a": "b"}, wait=True
    )
    return modelops.VertexCustomJob("train", args)


def pipeline_run() -> modelops.VertexPipelineRun:
    args = modelops.VertexPipelineRunArgs(
        **PLACE,
        run_id="train-1",
        display_name="Train",
        template={"pipelineInfo": {"name": "p"}, "root": {}},
        pipeline_root="gs://bucket/runs",
        parameters={"learning_rate": 0.5},
        service_account=ACCOUNT,
        labels={"a": "b"},
        wait=False,
    )
    return modelops.VertexPipelineRun("run", args)


@pulumi.runtime.test  # type: ignore[no-untyped-call]
def test_outputs_are_promises_by_name(recorder: Recorder) -> pulumi.Output[None]:
    made, job = model(), custom_job()

    def look(values: list[Any]) -> None:
        assert values == [f"{MODEL_NAME}@1", "7", "SUCCEEDED"]

    outputs = [
        made.version_resource_name,
        deployment(made.version_resource_name).deployed_model_id,
        job.state,
    ]
    return pulumi.Output.all(*outputs).apply(look)


@pulumi.runtime.test  # type: ignore[no-untyped-call]
def test_the_provider_accepts_every_input_that_a_program_can_give(recorder: Recorder) -> pulumi.Output[None]:
    made = model()
    every = [made, deployment(made.version_resource_name), custom_job(), pipeline_run()]

    def look(_: Any) -> None:
        tokens = {token for token in RESOURCES if token.startswith("modelops:vertex:")}
        assert set(recorder.sent) == tokens
        for token, sent in recorder.sent.items():
            shape = RESOURCES[token].inputs_type  # type: ignore[attr-defined]
            # As the provider gets it: numbers travel as doubles.
            assert failures(shape, token, decode_properties(encode_properties(sent)), SHAPES) == []
            assert set(sent) == set(shape.names()), "every input has an argument"
        assert recorder.sent["modelops:vertex:Model"]["labels"] == {"snake_case": "stays"}

    return pulumi.Output.all(*(each.urn for each in every)).apply(look)
