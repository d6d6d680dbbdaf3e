"""`modelops:vertex:ModelDeployment`: a model's version that serves at an endpoint, and its traffic.

The resource owns the traffic of its endpoint, and refuses one at which another ModelDeployment serves.
Another version, machine or account is another deployment, which takes the place of the one before without a
moment in which nothing serves; the resource stays the same. Its id is `ENDPOINT/deployedModels/SHOWN`, where
SHOWN is the display name that Vertex AI shows; an import may have the deployed model's own id in its place.
"""

from __future__ import annotations

from typing import Any, Final

from providers.base.diff import Change, diff_properties
from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import (
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import UNKNOWN, Properties
from providers.modelops.client import NotFound
from providers.modelops.polling import UNDECIDED, Deadline
from providers.modelops.vertexai.deployment_inputs import (
    ROUTING,
    SCALING,
    DeploymentInputs,
    full_endpoint,
    observed,
)
from providers.modelops.vertexai.endpoints import Endpoint, Endpoints
from providers.modelops.vertexai.names import log_address, place_of, same_resource, shown_name
from providers.modelops.vertexai.resource import VertexResource, overlaid
from providers.modelops.vertexai.rollout import Rollout
from providers.modelops.vertexai.traffic import WHOLE

DEFAULT_TIMEOUT_SECONDS: Final = 2 * 60 * 60
"""How long a rollout may take where the resource has no custom timeout: the longest that Vertex AI itself
allows a deployment (discovery document aiplatform.v1, ModelContainerSpec.deploymentTimeout)."""


class ModelDeployment(VertexResource[DeploymentInputs]):
    """Deploys, switches, scales and undeploys."""

    inputs_type = DeploymentInputs
    title = "ModelDeployment"
    replace_on = ("project", "location", "endpoint")
    computed = ("deployedModelId", "trafficPercent", "logsUri")

    def normal(self, news: Properties) -> Properties:
        endpoint, project, location = (news.get(name) for name in ("endpoint", "project", "location"))
        if all(isinstance(each, str) for each in (endpoint, project, location)):
            news = {**news, "endpoint": full_endpoint(str(endpoint), str(project), str(location))}
        return news if "maxReplicas" in news else {**news, "maxReplicas": news.get("minReplicas")}

    def damaged(self, outputs: Properties) -> list[str]:
        return [] if outputs.get("trafficPercent") == WHOLE else ["trafficPercent"]

    async def create(self, request: CreateRequest) -> CreateResponse:
        if request.preview:
            return CreateResponse("", self.foretold(request.inputs))
        inputs = self.inputs(request.inputs)
        id = f"{inputs.endpoint_name}/deployedModels/{shown_name(inputs.display_name, request.urn)}"
        rollout = self._rollout(inputs, request.urn, "", request.timeout)
        outputs = await self._serve(rollout, id, request.inputs)
        self._made[request.urn] = str(outputs["deployedModelId"])
        return CreateResponse(id, outputs)

    async def update(self, request: UpdateRequest) -> Properties:
        changes = diff_properties(request.old_inputs, request.news)
        computed = {name: request.old_outputs.get(name) for name in self.computed}
        sound = not self.damaged(request.old_outputs)
        if sound and changes and all(change.path[0] in ROUTING for change in changes):
            return {**request.news, **computed}
        if request.preview:
            return {**request.news, **(self._foreseen(changes, computed))}
        known = str(request.old_outputs.get("deployedModelId") or "")
        rollout = self._rollout(self.inputs(request.news), request.urn, known, request.timeout)
        return await self._serve(rollout, request.id, request.news)

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        name, _, reference = request.id.partition("/deployedModels/")
        try:
            endpoint = await self.provider.blocking(Endpoints(self.api).get, name)
        except NotFound:
            return None
        known = str(request.outputs.get("deployedModelId") or "")
        model = _chosen(endpoint, request.urn, known, reference)
        if model is None:
            return None
        inputs = overlaid(request.inputs, _observed(endpoint, model, request.inputs))
        return ReadResponse(request.id, inputs, _outputs(inputs, endpoint, model["id"]))

    async def delete(self, request: DeleteRequest) -> None:
        inputs = self.inputs(request.inputs or request.outputs)
        known = str(request.outputs.get("deployedModelId") or "")
        rollout = self._rollout(inputs, request.urn, known, request.timeout)
        await self.operations.quiet(
            self.provider, inputs.endpoint_name, request.urn, f"undeploying {rollout.what}", rollout.deadline
        )
        try:
            endpoint = await self.provider.blocking(rollout.endpoints.get, inputs.endpoint_name)
        except NotFound:
            return
        kept = self._made.get(request.urn)
        await rollout.undeploy([id for id in endpoint.ids_of(request.urn, known) if id != kept])

    def _rollout(self, inputs: DeploymentInputs, urn: str, known: str, timeout: float | None) -> Rollout:
        deadline = Deadline(timeout or DEFAULT_TIMEOUT_SECONDS)
        return Rollout(self.provider, self.api, inputs, urn, known, deadline)

    async def _serve(self, rollout: Rollout, id: str, given: Properties) -> Properties:
        """Deploys what is wanted, gives it the traffic, undeploys what was there, and gives the outputs.

        What fails once something may have begun leaves the resource with what it is to become: the next `up`
        goes on, also where the program by then wants the old one back, and `destroy` undeploys both.
        """
        deployed = ""
        try:
            deployed = await rollout.deploy()
            await rollout.shift(deployed)
            await rollout.retire(deployed)
        except ProviderError as error:
            if not deployed and not isinstance(error, UNDECIDED):
                raise
            raise self._stopped(rollout, id, given, deployed, error) from error
        endpoint = await self.provider.blocking(rollout.endpoints.get, rollout.inputs.endpoint_name)
        return _outputs(given, endpoint, deployed)

    def _stopped(
        self, rollout: Rollout, id: str, given: Properties, deployed: str, error: ProviderError
    ) -> InitializationFailed:
        endpoint = Endpoint(rollout.inputs.endpoint_name, (), {})
        outputs = _outputs(given, endpoint, deployed or rollout.known)
        return InitializationFailed(id, outputs, [str(error)])

    def _foreseen(self, changes: list[Change], computed: Properties) -> Properties:
        """What a preview can say of the outputs."""
        fixed = [change for change in changes if change.path[0] not in (*SCALING, *ROUTING)]
        return {**computed, "trafficPercent": WHOLE, **({"deployedModelId": UNKNOWN} if fixed else {})}


def _chosen(endpoint: Endpoint, urn: str, known: str, reference: str) -> dict[str, Any] | None:
    """The deployed model that stands for the resource: the state's, else the one with most traffic."""
    ids = endpoint.ids_of(urn, known) or [
        each["id"] for each in endpoint.deployed if reference in (each["id"], each.get("displayName"))
    ]
    if known in ids:
        return endpoint.model(known)
    best = max(ids, key=lambda id: endpoint.traffic.get(id, 0), default=None)
    return None if best is None else endpoint.model(best)


def _observed(endpoint: Endpoint, model: dict[str, Any], known: Properties) -> Properties:
    """The inputs as they are; how traffic moves is nothing that Vertex AI knows."""
    project, location = place_of(endpoint.name)
    found = observed(model)
    same = known.get("model")
    if isinstance(same, str) and same_resource(same, found["model"]):
        found["model"] = same
    else:
        # Google answers with the project's number; the rest of the program has its id.
        found["model"] = f"projects/{project}/" + found["model"].split("/", 2)[2]
    defaults = {name: value for name, value in DeploymentInputs.defaults().items() if name in ROUTING}
    routing = {name: known.get(name, default) for name, default in defaults.items()}
    return {"project": project, "location": location, "endpoint": endpoint.name, **found, **routing}


def _outputs(given: Properties, endpoint: Endpoint, id: str) -> Properties:
    project, _ = place_of(endpoint.name)
    return {
        **given,
        "deployedModelId": id,
        "trafficPercent": endpoint.traffic.get(id, 0),
        "logsUri": log_address(
            project,
            'resource.type="aiplatform.googleapis.com/Endpoint"',
            f'resource.labels.endpoint_id="{endpoint.name.rpartition("/")[2]}"',
        ),
    }
