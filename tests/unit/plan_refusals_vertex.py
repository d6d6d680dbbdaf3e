"""How the plan catches refusals of custom jobs of Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from providers.modelops.vertex import VertexDefinition, request_body
from stacks.plan.types import StackPlan
from stacks.plan.types_weights import VertexMachinePlan
from tests.components.conftest import Registered
from tests.unit.config_sources import good
from tests.unit.plan_evidence import Broken, Change, Impossible, Refused, Warned, inside, replace
from tests.unit.standin_world import ACCOUNT

STAGED = "modelops:index:StagedModel"
_EMAIL = "stager@somewhere.iam.gserviceaccount.com"
_IMAGE = "docker-build:index:Image"


def definitions(resources: Sequence[Registered]) -> Iterator[tuple[Registered, dict[str, Any]]]:
    """Each staged model that carries what its custom job runs; those in a cluster carry another form."""
    for each in resources:
        found = each.inputs.get("definition")
        if each.type == STAGED and found and "machineType" in found:
            yield each, found


def requests(resources: Sequence[Registered]) -> Iterator[dict[str, Any]]:
    """The requests that the provider makes of them; the account's address is Google's to give."""
    for each, found in definitions(resources):
        definition = VertexDefinition.model_validate({"serviceAccount": _EMAIL, **found})
        yield request_body(each.inputs["job"].rpartition("/")[2], each.inputs["targetLabel"], definition)


def on_vertex(machine: VertexMachinePlan | None = None, *, api: bool = True, **changes: Any) -> Change:
    """Has the only deployment staged by a custom job, with changes of the job."""

    def change(plan: StackPlan) -> StackPlan:
        moved = inside("weights", **{"runner": "vertex", "vertex": machine, **changes})(plan)
        apis = ("aiplatform.googleapis.com",) if api else ()
        shared = replace(moved.foundation, apis=(*moved.foundation.apis, *apis))
        return replace(moved, foundation=shared)

    return change


def _elsewhere(plan: StackPlan) -> StackPlan:
    moved = on_vertex(MACHINE)(plan)
    return replace(
        moved, deployments={n: replace(d, location="mars-north1") for n, d in moved.deployments.items()}
    )


def _each_is_whole(resources: Sequence[Registered]) -> None:
    for _, found in definitions(resources):
        assert found["image"]
        assert found["args"][0] == "stage"


def _names_are_short(resources: Sequence[Registered]) -> None:
    for each, _ in definitions(resources):
        assert 1 <= len(each.inputs["job"].rpartition("/")[2]) <= 128


def _variables_are_ours(resources: Sequence[Registered]) -> None:
    for _, found in definitions(resources):
        assert all(re.fullmatch(r"[A-Z_]+", name) for name in found["env"])


def _after_the_image(resources: Sequence[Registered]) -> None:
    built = [each for each in resources if each.type == _IMAGE and "weights" in each.name]
    for each, _ in definitions(resources):
        assert not built or any(_IMAGE in urn for urn in each.dependencies)


def _after_its_account(resources: Sequence[Registered]) -> None:
    for each, _ in definitions(resources):
        assert any(ACCOUNT in urn for urn in each.dependencies)


MACHINE = VertexMachinePlan("e2-highmem-2", 100, "pd-standard")

VERTEX: list[Broken | Refused | Warned | Impossible] = [
    Broken("api.aiplatform", "aiplatform.googleapis.com", on_vertex(MACHINE, api=False)),
    Refused(
        "vertex_job.region",
        "llm:deployments.assistant.weights.runner",
        "is not possible in northamerica-south1, where Vertex AI has no address",
        {**good(weights={"runner": "vertex"}), "gcp:region": "northamerica-south1"},
    ),
    Broken("vertex_job.region", "is a region without Vertex AI", _elsewhere),
    Impossible("vertex_job.display_name", "the plan names every job", _names_are_short),
    Impossible("vertex_job.display_name.length", "a job's name fits Cloud Run, too", _names_are_short),
    Broken(
        "vertex_job.labels", "no value of a label", on_vertex(MACHINE, execution_labels={"llm-target": "A"})
    ),
    Impossible("vertex_job.pools", "the provider makes one with a container", _each_is_whole),
    Impossible("vertex_job.image", "the component gives the weights image", _each_is_whole),
    Impossible("vertex_job.image.exists", "it is made after the image", _after_the_image),
    Broken("vertex_job.machine", "is a custom job without a machine", on_vertex()),
    Broken(
        "vertex_job.machine.type",
        "no machine type that Vertex AI trains on",
        on_vertex(replace(MACHINE, machine_type="e2-standard-2")),
    ),
    Broken(
        "vertex_job.disk.type",
        "is no kind of boot disk",
        on_vertex(replace(MACHINE, boot_disk_type="pd-balanced")),
    ),
    Broken(
        "vertex_job.disk.size", "is too small for a boot disk", on_vertex(replace(MACHINE, boot_disk_gb=50))
    ),
    Broken(
        "vertex_job.variables.count",
        "is too many environment variables",
        on_vertex(MACHINE, env={f"V{i}": "" for i in range(101)}),
    ),
    Impossible("vertex_job.variables.name", "the plan names them", _variables_are_ours),
    Impossible("vertex_job.account.exists", "it is made after its account", _after_its_account),
    Broken(
        "vertex_job.account.elsewhere",
        "no service account of this stack",
        lambda plan: inside(
            "weights",
            account=replace(
                plan.deployments["assistant"].weights.account, email="a@b.iam.gserviceaccount.com"
            ),
        )(on_vertex(MACHINE)(plan)),
    ),
]
