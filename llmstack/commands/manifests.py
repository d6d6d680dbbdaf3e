"""`llmstack manifests`: the Kubernetes objects of a stack as YAML, decided without the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
import yaml

from llmstack.output import USAGE, fail, print_json
from llmstack.project import find_root, load_plan
from providers.modelops.kubernetes_definition import KubernetesDefinition, job_object
from providers.modelops.kubernetes_jobs import object_name
from providers.modelops.runners import LABEL
from stacks.components.job_definitions import kubernetes_definition
from stacks.config_errors import suggest
from stacks.plan.gke.manifests import image_address
from stacks.plan.types import ImagePlan, StackPlan
from stacks.plan.types_gke import GkeTpuPlan, KubernetesObject
from stacks.plan.types_weights import KubernetesJobPlan, WeightsJobPlan

_STAGES = {
    "base": "made first",
    "staging": "made where the bucket does not hold the model yet, and waited for",
    "fill": "made when the weights are staged",
    "serve": "made when the weights are where the servers read them",
}
"""In the order in which objects are made; `staging` is `StagedModel`'s, the others are those of the plan."""
_ANY_CLUSTER = {"endpoint": "https://cluster.invalid"}
"""Stands for the cluster, whose address only Google knows: no part of a Job depends on it."""


@dataclass(frozen=True)
class Placed:
    """An object, and the deployment that it belongs to."""

    deployment: str
    name: str
    """Logical name below the deployment's."""
    stage: str
    manifest: dict[str, Any]
    images: dict[str, str]
    """Images of this stack in it: their address there by name."""

    @classmethod
    def planned(cls, deployment: str, each: KubernetesObject) -> Placed:
        """An object of the plan."""
        return cls(deployment, each.name, each.stage, _plain(each.manifest), dict(each.images))

    def as_yaml(self) -> str:
        """A YAML document that begins with comments."""
        kind, name = self.manifest["kind"], self.manifest["metadata"]["name"]
        lines = [
            f"# deployment {self.deployment}, stage {self.stage} ({_STAGES[self.stage]}): {kind} {name}",
            *(
                f"# image {image} of this stack, by its tag: pulumi up writes the digest of what it has built"
                for image, address in sorted(self.images.items())
                if "@" not in address
            ),
        ]
        body = yaml.safe_dump(self.manifest, sort_keys=False, allow_unicode=True, width=110)
        return "\n".join(["---", *lines, body])


def manifests(
    stack: Annotated[str, typer.Argument(help="Stack, for instance dev.")],
    deployment: Annotated[
        str | None, typer.Argument(help="Only this deployment's objects.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Print the Kubernetes objects of a stack, in an order in which they can be made.

    What is Google's is not among them: the cluster, its pools, disks, and the pods' rights.

    Exit codes: 0 printed; 1 the stack file has problems; 2 wrong usage.
    """
    decided = load_plan(find_root(), stack)
    placed = sorted(_objects(decided, deployment), key=lambda each: list(_STAGES).index(each.stage))
    if as_json:
        print_json([asdict(each) for each in placed])
        return
    for each in placed:
        typer.echo(each.as_yaml(), nl=False)


def _objects(decided: StackPlan, deployment: str | None) -> Iterator[Placed]:
    on_tpu = decided.on_tpu
    if deployment is not None and deployment not in decided.deployments:
        known = suggest(deployment, decided.deployments)
        fail(f"there is no deployment {deployment!r} in stack {decided.stack}: {known}", USAGE)
    if deployment is not None and deployment not in on_tpu:
        topology = decided.deployments[deployment].topology
        fail(f"{deployment} is on topology {topology}, which has no Kubernetes objects", USAGE)
    if not on_tpu:
        fail(f"stack {decided.stack} has no deployment on topology gke-tpu, so no Kubernetes objects", USAGE)
    for name, plan in on_tpu.items():
        if deployment in (None, name):
            yield from (Placed.planned(name, each) for each in plan.objects)
            if plan.weights.kubernetes is not None:
                yield _staging(plan, plan.weights, plan.weights.kubernetes, decided.images)


def _staging(
    plan: GkeTpuPlan, job: WeightsJobPlan, place: KubernetesJobPlan, images: Mapping[str, ImagePlan]
) -> Placed:
    """The Job that stages a deployment's model, which our own provider makes.

    Its label `llm-definition` is another one where the image is known by digest.
    """
    address = image_address(images[job.image])
    definition = KubernetesDefinition.model_validate(kubernetes_definition(job, address, _ANY_CLUSTER))
    label = job.execution_labels[LABEL]
    manifest = job_object(definition, object_name(label), label)
    metadata = manifest["metadata"]
    manifest["metadata"] = {"name": metadata["name"], "namespace": place.namespace, **metadata}
    return Placed(plan.deployment, "staging", "staging", _plain(manifest), {job.image: address})


def _plain(value: Any) -> Any:
    """A plan's mappings and tuples as what YAML and JSON know."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
