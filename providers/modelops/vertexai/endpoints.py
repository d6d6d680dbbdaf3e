"""An endpoint as it is, and the requests that change it: its traffic, and what is deployed there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from providers.modelops.client import NotFound
from providers.modelops.vertexai.api import VertexApi
from providers.modelops.vertexai.names import mark
from providers.modelops.vertexai.operations import Operation
from providers.modelops.vertexai.traffic import Split, without

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as it was last seen."""

    name: str
    deployed: tuple[Body, ...]
    traffic: Split
    etag: str = ""
    """Of this state; a change that is sent with it is refused once something else has changed it."""

    @staticmethod
    def of(name: str, body: Body) -> Endpoint:
        """The endpoint that an answer of Google's describes."""
        traffic = {id: int(percent) for id, percent in (body.get("trafficSplit") or {}).items()}
        return Endpoint(name, tuple(body.get("deployedModels") or ()), traffic, str(body.get("etag", "")))

    def ids_of(self, urn: str, known: str) -> list[str]:
        """What a resource has deployed here: by its mark, or under the id that the state has."""
        return [
            each["id"]
            for each in self.deployed
            if each["id"] == known or each.get("displayName", "").endswith(f"-{mark(urn)}")
        ]

    def model(self, id: str) -> Body | None:
        """The deployed model of an id."""
        return next((each for each in self.deployed if each["id"] == id), None)


class Endpoints:
    """Reads and changes endpoints. Methods block, and raise as `VertexApi.call` does.

    Args:
        api: sends the requests.
    """

    def __init__(self, api: VertexApi) -> None:
        self._api = api

    def get(self, name: str, repeat: bool = True) -> Endpoint:
        """An endpoint as it is now."""
        what = f"reading endpoint {name}"
        return Endpoint.of(name, self._api.call(what, "endpoints.get", repeat=repeat, name=name))

    def split(self, endpoint: Endpoint, traffic: Split) -> None:
        """Sets the traffic split of an endpoint that is still as it was seen.

        Raises:
            Conflict: it is not, so the split may name what is gone: look again, by `VertexApi.attempts`.
        """
        self._api.call(
            f"shifting the traffic of endpoint {endpoint.name}",
            "endpoints.patch",
            repeat=False,
            name=endpoint.name,
            body={"trafficSplit": traffic, "etag": endpoint.etag},
            updateMask="trafficSplit",
        )

    def mutate(self, name: str, id: str, scaling: Body) -> Operation:
        """Begins to change how a deployment scales."""
        body = {
            "deployedModel": {"id": id, "dedicatedResources": scaling},
            "updateMask": ",".join(f"dedicatedResources.{field}" for field in scaling),
        }
        what = f"changing the scaling of {id} at {name}"
        begun = self._api.call(what, "endpoints.mutateDeployedModel", repeat=False, endpoint=name, body=body)
        return Operation.of(begun)

    def undeploy(self, name: str, id: str) -> Operation | None:
        """Begins to undeploy; None where it is gone, and where the endpoint is."""
        what = f"undeploying {id} from {name}"

        def attempt() -> Operation | None:
            try:
                endpoint = self.get(name, repeat=False)
            except NotFound:
                return None
            if endpoint.model(id) is None:
                return None
            if endpoint.traffic.get(id) and len(endpoint.deployed) > 1:
                # Vertex AI undeploys only what gets no traffic (UndeployModelRequest.trafficSplit).
                self.split(endpoint, without(endpoint.traffic, id))
            body = {"deployedModelId": id}
            begun = self._api.found(what, "endpoints.undeployModel", repeat=False, endpoint=name, body=body)
            return None if begun is None else Operation.of(begun)

        return self._api.attempts(attempt)
