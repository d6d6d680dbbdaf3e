"""`VertexModelDeployment`: a version of a model that serves at an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from stacks.modelops.wire import VertexResource


@dataclass(frozen=True, kw_only=True)
class VertexModelDeploymentArgs:
    """Inputs of a `VertexModelDeployment`.

    Args:
        project: the project's id.
        location: the region.
        endpoint: id or full name of the endpoint, whose traffic this resource owns, so each needs one of its
            own; another one replaces it.
        model: full name of the model's version, `VertexModel.version_resource_name`.
        display_name: what the console shows, with a mark of the resource after it.
        machine_type: a machine that Vertex AI predicts on.
        accelerator_type: for instance `NVIDIA_L4`; none for a TPU machine.
        accelerator_count: accelerators of each machine.
        min_replicas: machines that always run; 1 by default.
        max_replicas: machines at most; as many as the least by default.
        autoscaling: target by metric, `aiplatform.googleapis.com/prediction/online/...`.
        service_account: who the container is.
        traffic_steps: percents of the traffic that a new deployment gets one by one; the last is 100.
        step_seconds: how long each lasts, the last one too: then what served before is undeployed.
        spot: whether it runs on spot machines.
    """

    project: pulumi.Input[str]
    location: pulumi.Input[str]
    endpoint: pulumi.Input[str]
    model: pulumi.Input[str]
    display_name: pulumi.Input[str]
    machine_type: pulumi.Input[str]
    accelerator_type: pulumi.Input[str] | None = None
    accelerator_count: pulumi.Input[int] | None = None
    min_replicas: pulumi.Input[int] | None = None
    max_replicas: pulumi.Input[int] | None = None
    autoscaling: pulumi.Input[Mapping[str, pulumi.Input[int]]] | None = None
    service_account: pulumi.Input[str] | None = None
    traffic_steps: pulumi.Input[Sequence[pulumi.Input[int]]] | None = None
    step_seconds: pulumi.Input[int] | None = None
    spot: pulumi.Input[bool] | None = None


class VertexModelDeployment(VertexResource):
    """A deployment that is never away.

    Another model, machine or account is deployed beside it, gets the traffic in steps, and only then
    takes its place. Scaling changes in place.

    Args:
        resource_name: the resource's logical name.
        args: the inputs.
        opts: resource options; custom timeouts bound a deployment with its steps, two hours by default.
    """

    def __init__(
        self,
        resource_name: str,
        args: VertexModelDeploymentArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        outputs = ("deployedModelId", "trafficPercent", "logsUri")
        super().__init__("ModelDeployment", resource_name, args, outputs, opts)

    @property
    def deployed_model_id(self) -> pulumi.Output[str]:
        """Id of what serves now; each switch makes another."""
        return self._output("deployedModelId")

    @property
    def traffic_percent(self) -> pulumi.Output[int]:
        """Its share of the endpoint's traffic: 100, unless a refresh found another."""
        return self._output("trafficPercent")

    @property
    def logs_uri(self) -> pulumi.Output[str]:
        """Where a person reads the containers' log."""
        return self._output("logsUri")
