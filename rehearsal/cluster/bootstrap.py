"""What a cluster of GKE has from the start and a bare control plane has not."""

from __future__ import annotations

from pathlib import Path

from kubernetes.client import (
    RbacAuthorizationV1Api,
    RbacV1Subject,
    V1ClusterRole,
    V1ClusterRoleBinding,
    V1ObjectMeta,
    V1PolicyRule,
    V1RoleRef,
)

from rehearsal.cluster.api import connect

_GROUP = "rbac.authorization.k8s.io"
_NAME = "rehearsal:metadata-server"


def bootstrap(kubeconfig: Path) -> None:
    """Let the node read service accounts, as GKE's metadata server there does to know whom a pod stands for.

    Args:
        kubeconfig: of an administrator.
    """
    meta = V1ObjectMeta(name=_NAME)
    reading = V1PolicyRule(api_groups=[""], resources=["serviceaccounts"], verbs=["get"])
    with connect(kubeconfig) as client:
        roles = RbacAuthorizationV1Api(client)
        roles.create_cluster_role(V1ClusterRole(metadata=meta, rules=[reading]))
        roles.create_cluster_role_binding(
            V1ClusterRoleBinding(
                metadata=meta,
                role_ref=V1RoleRef(api_group=_GROUP, kind="ClusterRole", name=_NAME),
                subjects=[RbacV1Subject(api_group=_GROUP, kind="Group", name="system:nodes")],
            )
        )
