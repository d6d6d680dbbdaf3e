"""Under which id Google knows a resource, by type: what `pulumi import` takes.

A type stands here when creating it twice is refused (409), or makes a second one. Sources are the
"Import" sections of the installed SDK's classes, and where the SDK has none, the Terraform provider's pages,
whose ids the SDK takes over.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from providers.modelops.vertexai.names import mark

UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How the engine writes a value that is known only later: `UnknownStringValue` of its `resource/plugin`."""

SECRET_VERSION: Final = "gcp:secretmanager/secretVersion:SecretVersion"  # noqa: S105 - a type's name


@dataclass(frozen=True, slots=True)
class IdForm:
    """How the id of one type is made.

    Attributes:
        form: The id, with the names of inputs in braces; `{mark}` is our provider's mark of a URN.
        marks: The input that says whose resource it is: what exists under the id is this stack's only if
            it has the same there.
        source: Where the form is written down.
    """

    form: str
    marks: str
    source: str


_MODELOPS = "the id that our own provider gives it (providers/modelops/vertexai)"
_TERRAFORM = "https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources"

ID_FORMS: Final[Mapping[str, IdForm]] = {
    "gcp:storage/bucket:Bucket": IdForm("{project}/{name}", "labels", f"{_TERRAFORM}/storage_bucket#import"),
    "gcp:serviceaccount/account:Account": IdForm(
        "projects/{project}/serviceAccounts/{accountId}@{project}.iam.gserviceaccount.com",
        "displayName",
        f"{_TERRAFORM}/google_service_account#import",
    ),
    "gcp:artifactregistry/repository:Repository": IdForm(
        "projects/{project}/locations/{location}/repositories/{repositoryId}",
        "labels",
        "pulumi_gcp.artifactregistry.Repository, Import",
    ),
    "gcp:cloudrunv2/service:Service": IdForm(
        "projects/{project}/locations/{location}/services/{name}",
        "labels",
        "pulumi_gcp.cloudrunv2.Service, Import",
    ),
    "gcp:cloudrunv2/job:Job": IdForm(
        "projects/{project}/locations/{location}/jobs/{name}",
        "labels",
        "pulumi_gcp.cloudrunv2.Job, Import",
    ),
    "gcp:secretmanager/secret:Secret": IdForm(
        "projects/{project}/secrets/{secretId}", "labels", "pulumi_gcp.secretmanager.Secret, Import"
    ),
    "gcp:container/cluster:Cluster": IdForm(
        "projects/{project}/locations/{location}/clusters/{name}",
        "resourceLabels",
        "pulumi_gcp.container.Cluster, Import",
    ),
    # Pools, routers and NATs have no labels: the cluster of a pool, and the names of the others, say whose.
    "gcp:container/nodePool:NodePool": IdForm(
        "{cluster}/nodePools/{name}", "", "the id that the provider itself gives a pool"
    ),
    "gcp:compute/router:Router": IdForm(
        "projects/{project}/regions/{region}/routers/{name}", "name", "pulumi_gcp.compute.Router, Import"
    ),
    "gcp:compute/routerNat:RouterNat": IdForm(
        "projects/{project}/regions/{region}/routers/{router}/{name}",
        "name",
        "pulumi_gcp.compute.RouterNat, Import",
    ),
    "gcp:compute/disk:Disk": IdForm(
        "projects/{project}/zones/{zone}/disks/{name}", "labels", "pulumi_gcp.compute.Disk, Import"
    ),
    "gcp:compute/snapshot:Snapshot": IdForm(
        "projects/{project}/global/snapshots/{name}", "labels", "pulumi_gcp.compute.Snapshot, Import"
    ),
    "gcp:vertex/aiEndpoint:AiEndpoint": IdForm(
        "projects/{project}/locations/{location}/endpoints/{name}",
        "labels",
        "pulumi_gcp.vertex.AiEndpoint, Import",
    ),
    # A metadata store has no labels: a region has one of a name, and what says whose it is stands there.
    "gcp:vertex/aiMetadataStore:AiMetadataStore": IdForm(
        "projects/{project}/locations/{region}/metadataStores/{name}",
        "description",
        "pulumi_gcp.vertex.AiMetadataStore, Import",
    ),
    # `up` finds these two by itself; but `destroy` leaves what the state does not have, running and paid for.
    "modelops:vertex:Model": IdForm(
        "projects/{project}/locations/{location}/models/{modelId}", "labels", _MODELOPS
    ),
    "modelops:vertex:ModelDeployment": IdForm(
        "{endpoint}/deployedModels/{displayName}-{mark}", "", _MODELOPS
    ),
    # Google gives the number, so every number that is likely is looked at; the secret says whose it is.
    SECRET_VERSION: IdForm(
        "{secret}/versions/{number}", "", "pulumi_gcp.secretmanager.SecretVersion, Import"
    ),
}

_KUBERNETES: Final = "kubernetes:"
_OBJECT_SOURCE: Final = "https://www.pulumi.com/registry/packages/kubernetes/ (Import of each resource)"
NAMESPACED: Final = IdForm("{namespace}/{name}", "labels", _OBJECT_SOURCE)
"""Of a Kubernetes object of any kind, made of its `metadata`: a second one of a name is refused."""
CLUSTER_WIDE: Final = IdForm("{name}", "labels", _OBJECT_SOURCE)
"""Of a Kubernetes object that no namespace holds."""

IDEMPOTENT: Final[Mapping[str, str]] = {
    "gcp:projects/service:Service": "enabling an API that is enabled changes nothing",
    "docker-build:index:Image": "the same context is pushed again under the same digest",
    "modelops:index:StagedModel": "a model that lies in the bucket is taken as it is",
    "modelops:vertex:CustomJob": "a job that bears the marks of the resource and of what it runs is taken",
    "modelops:vertex:PipelineRun": "a run of the id that bears the same marks is taken",
}
"""Types that `up` may create again; IAM members belong to them too."""


def is_idempotent(type_: str) -> bool:
    """Whether creating it again changes nothing: Google adds a binding that is there already only once."""
    return type_ in IDEMPOTENT or type_.lower().endswith("iammember")


def form_of(type_: str, inputs: Mapping[str, Any]) -> IdForm | None:
    """The form of a resource's id; None where there is no rule for its type.

    Args:
        type_: The type's token.
        inputs: What the program wants.
    """
    if type_.startswith(_KUBERNETES):
        return NAMESPACED if _named(type_, inputs).get("namespace") else CLUSTER_WIDE
    return ID_FORMS.get(type_)


def import_id(type_: str, inputs: Mapping[str, Any], urn: str = "") -> str | None:
    """The id of a resource with these inputs; None where one of them is not known yet, or there is no rule.

    What depends on a resource that the state does not have cannot have been made after it.

    Args:
        type_: The type's token.
        inputs: What the program wants.
        urn: Of the resource, for a type whose id has a mark of it.
    """
    found = form_of(type_, inputs)
    if found is None:
        return None
    names = [name for _, name, _, _ in string.Formatter().parse(found.form) if name]
    given = {**_named(type_, inputs), "mark": mark(urn)} if urn else _named(type_, inputs)
    values = {name: given.get(name) for name in names}
    known = all(isinstance(value, str) and value and UNKNOWN not in value for value in values.values())
    return found.form.format_map(values) if known else None


def is_ours(type_: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> bool:
    """Whether what exists carries the mark that the program gives it.

    Args:
        type_: The type's token.
        inputs: What the program wants.
        outputs: What exists.
    """
    found = form_of(type_, inputs)
    mark = found.marks if found else ""
    if not mark:
        return True
    inputs, outputs = _named(type_, inputs), _named(type_, outputs)
    wanted = inputs.get(mark)
    if not wanted:
        return False
    # The provider shows in `labels` only those that it set itself, so nothing after an import.
    there = outputs.get("effectiveLabels") or outputs.get(mark) if mark == "labels" else outputs.get(mark)
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return all(there.get(key) == value for key, value in wanted.items())
    return bool(wanted == there)


def _named(type_: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a resource's name and labels are: Kubernetes has them one level down."""
    inner = properties.get("metadata") if type_.startswith(_KUBERNETES) else properties
    return inner if isinstance(inner, Mapping) else {}
