"""A model that is still deployed: Vertex AI does not delete it, and undeploying takes minutes.

Mostly the engine undeploys first, because the state says that the deployment needs the model. After an import
it does not say so until the next `up`, and a `destroy` before that asks for both at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.base.errors import ProviderError
from providers.base.provider import Provider
from providers.modelops.client import NotFound
from providers.modelops.polling import Deadline, TimedOut, Watch, until_done
from providers.modelops.vertexai.api import VertexApi
from providers.modelops.vertexai.endpoints import Endpoints
from providers.modelops.vertexai.names import of_a_resource
from providers.modelops.vertexai.operations import Operations


@dataclass(frozen=True, slots=True)
class Uses:
    """What of a model is still deployed."""

    places: tuple[tuple[str, str], ...]
    """Full name of the endpoint and the deployed model's id."""

    @property
    def done(self) -> bool:
        """Whether nothing is."""
        return not self.places

    @property
    def message(self) -> str:
        """Where it is."""
        return "still deployed at " + ", ".join(f"{endpoint} ({id})" for endpoint, id in self.places)


async def undeployed(
    provider: Provider, api: VertexApi, model: str, urn: str, what: str, deadline: Deadline
) -> None:
    """Waits until a model is deployed nowhere, or does not exist.

    Args:
        provider: gives threads, status lines and cancellation.
        api: sends the requests.
        model: full name.
        urn: of the resource beside which the status lines stand.
        what: begins messages: "deleting model M".
        deadline: the longest wait.

    Raises:
        ProviderError: it is deployed where no resource undeploys it; the message names the endpoint.
        TimedOut: nor has anything else undeployed it in time.
        Cancelled: the engine asked to stop.
    """

    def look() -> Uses:
        return _uses(api, model, what)

    uses = await provider.blocking(look)
    watch = Watch(urn, what, "its undeployment", deadline.left)
    try:
        await until_done(provider, watch, uses, look)
    except TimedOut as error:
        uses = await provider.blocking(look)
        if not uses.done:
            raise TimedOut(_remedy(what, uses)) from error


def _uses(api: VertexApi, model: str, what: str) -> Uses:
    """Where a model is deployed, by any of its versions."""
    try:
        versions = list(
            api.pages(f"listing the versions of {model}", "models.listVersions", "models", name=model)
        )
    except NotFound:
        return Uses(())
    found = {
        (str(each["endpoint"]), str(each["deployedModelId"]))
        for version in versions
        for each in version.get("deployedModels", [])
    }
    lasting = tuple(sorted(place for place in found if not _ends(api, *place)))
    if lasting:
        raise ProviderError(_remedy(what, Uses(lasting)))
    return Uses(tuple(sorted(found)))


def _ends(api: VertexApi, name: str, id: str) -> bool:
    """Whether what is deployed may be about to go: a resource has made it, or the endpoint is changing."""
    try:
        # Asked first: a change that ends between the two questions has left nothing for the second.
        changing = Operations(api).running(name) is not None
        deployed = Endpoints(api).get(name).model(id)
    except NotFound:
        return True
    return changing or deployed is None or of_a_resource(deployed)


def _remedy(what: str, uses: Uses) -> str:
    endpoint, id = uses.places[0]
    return (
        f"{what}: {uses.message}; undeploy it first, with the stack that deployed it or by `gcloud ai "
        f"endpoints undeploy-model {endpoint} --deployed-model-id={id}`, then run the command again"
    )
