"""Bringing a deployment to serve: deploy it, shift the traffic in steps, then undeploy what served before.

Until the traffic has moved, what served before goes on serving, so at no moment nothing serves; and each step
looks at the endpoint as it is, so an interrupted rollout goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from providers.base.errors import Cancelled, ProviderError
from providers.base.provider import Provider
from providers.modelops.client import TemporaryError
from providers.modelops.polling import Deadline, TimedOut
from providers.modelops.vertexai.api import VertexApi
from providers.modelops.vertexai.deployment_inputs import DeploymentInputs
from providers.modelops.vertexai.endpoints import Body, Endpoint, Endpoints
from providers.modelops.vertexai.names import of_a_resource
from providers.modelops.vertexai.operations import Operation, Operations
from providers.modelops.vertexai.traffic import WHOLE, Split, moved


@dataclass(frozen=True, slots=True)
class Rollout:
    """One deployment that is to serve at an endpoint."""

    provider: Provider
    api: VertexApi
    inputs: DeploymentInputs
    urn: str
    known: str
    """Id of the deployment that the state has; empty where it has none."""
    deadline: Deadline

    @property
    def what(self) -> str:
        """How messages name it."""
        return f"deployment {self.inputs.display_name}"

    @property
    def endpoints(self) -> Endpoints:
        """Reads and changes the endpoint."""
        return Endpoints(self.api)

    @property
    def operations(self) -> Operations:
        """Watches what Google does."""
        return Operations(self.api)

    async def deploy(self) -> str:
        """The id of a deployment that is what the inputs say, deployed where there is none.

        Raises:
            OperationFailed: Google gave up; nothing of it is left.
            Cancelled, TimedOut, TemporaryError: no longer watched; it may go on.
            ProviderError: Google refused, and nothing has begun.
        """
        version = await self.provider.blocking(self._version)
        wanted = self.inputs.request(self.urn, version)
        await self.operations.quiet(
            self.provider, self.inputs.endpoint_name, self.urn, f"deploying {self.what}", self.deadline
        )
        while True:
            found = await self.provider.blocking(
                self.api.attempts, lambda: self._found_or_begun(wanted, version)
            )
            if isinstance(found, str):
                await self._scale(found)
                return found
            operation, ours = found
            what = f"deploying {self.what}"
            if ours:
                await self.operations.response(self.provider, operation, self.urn, what, self.deadline)
                return await self.provider.blocking(self.api.attempts, lambda: self._seen(wanted["id"]))
            await self.operations.finished(self.provider, operation, self.urn, what, self.deadline)

    async def shift(self, id: str) -> None:
        """Gives a deployment all traffic, in steps; each of them lasts its time, the last one too.

        So calls that what served before has begun to answer are answered before it is undeployed.
        """
        name = self.inputs.endpoint_name
        for percent in self.inputs.traffic_steps:
            endpoint = await self.provider.blocking(self.endpoints.get, name)
            share = endpoint.traffic.get(id, 0)
            if share > percent or endpoint.traffic == {id: WHOLE}:
                continue
            split = await self.provider.blocking(self._moved, id, percent)
            if len(endpoint.deployed) > 1:
                await self._step(split[id])

    async def retire(self, id: str) -> None:
        """Undeploys everything else that the resource has deployed at the endpoint."""
        endpoint = await self.provider.blocking(self.endpoints.get, self.inputs.endpoint_name)
        mine = endpoint.ids_of(self.urn, self.known)
        await self.undeploy([each for each in mine if each != id])
        strangers = [each["id"] for each in endpoint.deployed if each["id"] not in (*mine, id)]
        if strangers:
            self.provider.log.warning(
                self.urn,
                f"{endpoint.name} also has {', '.join(strangers)}, which this resource did not deploy: "
                "without traffic from now on, but paid for until undeployed",
            )

    async def undeploy(self, ids: list[str]) -> None:
        """Undeploys, and waits until it is done."""
        name = self.inputs.endpoint_name
        for id in ids:
            begun = await self.provider.blocking(self.endpoints.undeploy, name, id)
            if begun is not None:
                what = f"undeploying {id} of {self.what}"
                await self.operations.response(self.provider, begun, self.urn, what, self.deadline)

    async def _step(self, percent: int) -> None:
        seconds = self.inputs.step_seconds
        self.provider.log.status(self.urn, f"{self.what}: {percent} % of the traffic for {seconds} s")
        if seconds > self.deadline.left:
            raise TimedOut(
                f"{self.what}: has {percent} % of the traffic, and the time is up before the next step; run "
                "`pulumi up` again to go on, or give the resource a longer custom timeout"
            )
        try:
            await self.provider.pause(seconds)
        except Cancelled:
            raise Cancelled(
                f"{self.what}: stopped at {percent} % of the traffic; the next `pulumi up` goes on from there"
            ) from None

    def _found_or_begun(self, wanted: Body, version: str) -> str | tuple[Operation, bool]:
        """The id of a deployment that is there; else an operation, and whether this call began it."""
        name = self.inputs.endpoint_name
        endpoint = self.endpoints.get(name, repeat=False)
        self._require_alone(endpoint)
        for id in endpoint.ids_of(self.urn, self.known):
            present = endpoint.model(id)
            # What has the wanted id was made of the same: Vertex AI may show more of it than was asked for.
            if present is not None and (id == wanted["id"] or self.inputs.fits(present, version)):
                return id
        running = self.operations.running(name, repeat=False)
        if running is not None:
            return running, False
        # The first one gets the traffic as soon as it is there; a later one gets it by and by.
        traffic = {} if endpoint.traffic else {"trafficSplit": {"0": WHOLE}}
        begun = self.api.call(
            f"deploying {self.what}",
            "endpoints.deployModel",
            repeat=False,
            account=self.inputs.service_account,
            endpoint=name,
            body={"deployedModel": wanted, **traffic},
        )
        return Operation.of(begun), True

    def _moved(self, id: str, percent: int) -> Split:
        """The traffic split after a deployment was given a share of it."""

        def attempt() -> Split:
            endpoint = self.endpoints.get(self.inputs.endpoint_name, repeat=False)
            # Two that begin at the same moment find nothing of each other before.
            self._require_alone(endpoint)
            split = moved(endpoint.traffic, id, percent)
            if split != endpoint.traffic:
                self.endpoints.split(endpoint, split)
            return split

        return self.api.attempts(attempt)

    def _require_alone(self, endpoint: Endpoint) -> None:
        """Refuses an endpoint at which another resource has deployed: each would take the other's traffic."""
        mine = endpoint.ids_of(self.urn, self.known)
        others = [
            f"{each['displayName']} ({each['id']})"
            for each in endpoint.deployed
            if each["id"] not in mine and of_a_resource(each)
        ]
        if others:
            raise ProviderError(
                f"{self.what}: {endpoint.name} has {', '.join(others)} of another ModelDeployment, and each "
                "takes all of an endpoint's traffic: give this one an endpoint of its own, or remove the "
                "other first; if it is the same one renamed or moved, name the old one in its `aliases`"
            )

    def _seen(self, id: str) -> str:
        """The id, once the endpoint shows what was deployed."""
        if self.endpoints.get(self.inputs.endpoint_name, repeat=False).model(id) is None:
            raise TemporaryError(f"{self.what}: deployed, but not to be seen yet; run `pulumi up` again")
        return id

    async def _scale(self, id: str) -> None:
        """Changes how a deployment that is there scales, where that is not what the inputs say."""
        what = f"changing the scaling of {self.what}"
        while True:
            found = await self.provider.blocking(self.api.attempts, lambda: self._scaled_or_begun(id))
            if found is None:
                return
            operation, ours = found
            if ours:
                await self.operations.response(self.provider, operation, self.urn, what, self.deadline)
                return
            await self.operations.finished(self.provider, operation, self.urn, what, self.deadline)

    def _scaled_or_begun(self, id: str) -> tuple[Operation, bool] | None:
        """None where it scales as the inputs say; else an operation, and whether this call began it."""
        endpoint = self.endpoints.get(self.inputs.endpoint_name, repeat=False)
        resources = (endpoint.model(id) or {}).get("dedicatedResources") or {}
        wanted = self.inputs.scaling()
        present = {
            "autoscalingMetricSpecs": [],
            "maxReplicaCount": resources.get("minReplicaCount"),
            **resources,
        }
        if all(_plain(present[field]) == _plain(value) for field, value in wanted.items()):
            return None
        running = self.operations.running(endpoint.name, repeat=False)
        if running is not None:
            return running, False
        return self.endpoints.mutate(endpoint.name, id, wanted), True

    def _version(self) -> str:
        """The id of the version that `model` names: by its id, by an alias, or as the default one."""
        name = self.inputs.model
        model = self.api.call(f"reading model {name}", "models.get", name=name)
        return str(model["versionId"])


def _plain(value: Any) -> Any:
    """A field of DedicatedResources so that equal ones compare equal: the order of metrics does not count."""
    if isinstance(value, list):
        return sorted((spec["metricName"], int(spec.get("target", 60))) for spec in value)
    return value
