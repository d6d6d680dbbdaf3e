"""What a cluster of GKE has from the start and a bare control plane has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import (
    ApiClient,
    ApiextensionsV1Api,
    RbacAuthorizationV1Api,
    RbacV1Subject,
    V1ClusterRole,
    V1ClusterRoleBinding,
    V1CustomResourceDefinition,
    V1ObjectMeta,
    V1PolicyRule,
    V1RoleRef,
)

from rehearsal.cluster.api import connect
from rehearsal.world import DEPLOYER

_GROUP = "rbac.authorization.k8s.io"
_NAME = "rehearsal:metadata-server"
_KINDS = Path(__file__).parents[1] / "data" / "kubernetes.yaml"


def bootstrap(kubeconfig: Path) -> None:
    """Let the node read service accounts, as GKE's metadata server there does to know whom a pod stands for,
    and make GKE's own kinds of objects known.

    Args:
        kubeconfig: of an administrator.
    """
    with connect(kubeconfig) as client:
        _let_nodes_read_accounts(client)
        definitions = ApiextensionsV1Api(client)
        for version, kinds in yaml.safe_load(_KINDS.read_text(encoding="utf-8"))["gke_kinds"].items():
            for kind, plural in kinds.items():
                definitions.create_custom_resource_definition(_definition(version, kind, plural))


def let_deployer_rule(kubeconfig: Path) -> None:
    """Make whoever deploys an administrator, which an owner of the project is in every cluster of it.

    https://cloud.google.com/kubernetes-engine/docs/how-to/iam (roles that hold in all clusters)

    Args:
        kubeconfig: of an administrator.
    """
    with connect(kubeconfig) as client:
        user = DEPLOYER.partition(":")[2]
        _bind(RbacAuthorizationV1Api(client), "rehearsal:deployer", "cluster-admin", ("User", user))


def _let_nodes_read_accounts(client: ApiClient) -> None:
    reading = V1PolicyRule(api_groups=[""], resources=["serviceaccounts"], verbs=["get"])
    roles = RbacAuthorizationV1Api(client)
    roles.create_cluster_role(V1ClusterRole(metadata=V1ObjectMeta(name=_NAME), rules=[reading]))
    _bind(roles, _NAME, _NAME, ("Group", "system:nodes"))


def _bind(roles: RbacAuthorizationV1Api, name: str, role: str, subject: tuple[str, str]) -> None:
    kind, who = subject
    roles.create_cluster_role_binding(
        V1ClusterRoleBinding(
            metadata=V1ObjectMeta(name=name),
            role_ref=V1RoleRef(api_group=_GROUP, kind="ClusterRole", name=role),
            subjects=[RbacV1Subject(api_group=_GROUP, kind=kind, name=who)],
        )
    )


def _definition(api_version: str, kind: str, plural: str) -> V1CustomResourceDefinition:
    """A kind whose fields are not looked at."""
    group, _, version = api_version.partition("/")
    annotations = {}
    if group.endswith(".k8s.io"):
        # The API server keeps groups of Kubernetes itself for definitions that were reviewed.
        annotations["api-approved.kubernetes.io"] = "https://github.com/kubernetes-sigs/gateway-api"
    anything: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return V1CustomResourceDefinition.model_validate(
        {
            "metadata": {"name": f"{plural}.{group}", "annotations": annotations},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {
                    "kind": kind,
                    "plural": plural,
                    "singular": kind.lower(),
                    "listKind": f"{kind}List",
                },
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": anything},
                    }
                ],
            },
        }
    )
