"""Typed resources of our own provider `modelops`, used as those of a generated Pulumi SDK are."""

from stacks.modelops.staged_model import StagedModel
from stacks.modelops.vertex_deployment import VertexModelDeployment, VertexModelDeploymentArgs
from stacks.modelops.vertex_model import (
    ContainerSpecArgs,
    ExecArgs,
    HttpGetArgs,
    ProbeArgs,
    TcpSocketArgs,
    VertexModel,
    VertexModelArgs,
)
from stacks.modelops.vertex_runs import (
    DiskSpecArgs,
    JobContainerSpecArgs,
    JobSpecArgs,
    MachineSpecArgs,
    SchedulingArgs,
    VertexCustomJob,
    VertexCustomJobArgs,
    VertexPipelineRun,
    VertexPipelineRunArgs,
    WorkerPoolSpecArgs,
)

__all__ = [
    "ContainerSpecArgs",
    "DiskSpecArgs",
    "ExecArgs",
    "HttpGetArgs",
    "JobContainerSpecArgs",
    "JobSpecArgs",
    "MachineSpecArgs",
    "ProbeArgs",
    "SchedulingArgs",
    "StagedModel",
    "TcpSocketArgs",
    "VertexCustomJob",
    "VertexCustomJobArgs",
    "VertexModel",
    "VertexModelArgs",
    "VertexModelDeployment",
    "VertexModelDeploymentArgs",
    "VertexPipelineRun",
    "VertexPipelineRunArgs",
    "WorkerPoolSpecArgs",
]
