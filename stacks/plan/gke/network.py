"""How a deployment is reached, and what its pods may reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stacks.plan.gke.identity import CONVERTER
from stacks.plan.gke.manifests import NAME, Manifest, metadata
from stacks.plan.gke.pods import SERVER
from stacks.plan.gke.workload import Workload
from stacks.plan.types_gke import KubernetesObject, TpuServerPlan

CLIENT_LABEL: Final = "llmstack/client"
"""Label of a namespace, with value `true`, whose pods may ask the deployments of the cluster."""
GATEWAY_CLASS: Final = "gke-l7-global-external-managed"

# Google's proxies and health checks (cloud.google.com/load-balancing/docs/firewall-rules).
_PROXIES = ("130.211.0.0/22", "35.191.0.0/16")
# Where pods get tokens: by Dataplane V2 at the first, else at the second
# (cloud.google.com/kubernetes-engine/docs/how-to/network-policy, "Workload Identity Federation for GKE").
_METADATA = (("169.254.169.254/32", 80), ("169.254.169.252/32", 988))
_COLLECTORS = ("gmp-system", "gke-gmp-system")
"""Namespaces of Google's collectors of metrics."""
_LONGEST_ANSWER = 300
"""Seconds that a request may take at the load balancer."""
_TARGET_LABEL = "llm-target"
"""What every pod of a weights job has."""


def service(work: Workload) -> Manifest:
    """Writes the Service: inside the cluster, or an internal load balancer of the network."""
    internal = work.config.access.expose == "internal"
    annotations = {"networking.gke.io/load-balancer-type": "Internal"} if internal else None
    spec: Manifest = {
        "type": "LoadBalancer" if internal else "ClusterIP",
        "selector": work.selector,
        "ports": [
            {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
            for name, port in _served(work.server).items()
        ],
    }
    if internal:
        spec["loadBalancerSourceRanges"] = list(work.config.access.source_ranges)
        # Else a node without a pod hands requests on, and the caller's address is lost.
        spec["externalTrafficPolicy"] = "Local"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(work.service_name, work.namespace, work.labels, annotations),
        "spec": spec,
    }


def policies(work: Workload) -> Iterator[KubernetesObject]:
    """Writes what may reach the pods and what they may reach: nothing but what is named here."""
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    yield _policy(work, "deny", deny)
    ingress = [{"from": _callers(work), "ports": _tcp(*_served(work.server).values())}]
    if work.server.metrics_port is not None:
        spaces = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(_COLLECTORS)}
        collectors = [{"namespaceSelector": {"matchExpressions": [spaces]}}]
        ingress.append({"from": collectors, "ports": _tcp(work.server.metrics_port)})
    server = {
        "podSelector": {"matchLabels": work.selector},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": _egress(),
    }
    yield _policy(work, "server", server)
    if work.weights_identity is not None:
        chosen = {"matchExpressions": [{"key": _TARGET_LABEL, "operator": "Exists"}]}
        yield _policy(work, "weights", _jobs(chosen))
    for part, there in (("fill", work.disk), (CONVERTER, work.converter)):
        if there is not None:
            yield _policy(work, part, _jobs({"matchLabels": {NAME: part}}))


def gateway(work: Workload) -> Iterator[KubernetesObject]:
    """Writes a Gateway that lets in whom Identity-Aware Proxy knows, if the deployment has one."""
    access, target = work.config.access, {"group": "", "kind": "Service", "name": work.service_name}
    if access.expose != "gateway":
        return
    certificate = {"networking.gke.io/certmap": access.certificate_map or ""}
    listener = {
        "name": "https",
        "protocol": "HTTPS",
        "port": 443,
        "hostname": access.host,
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    yield _made(
        work,
        "gateway",
        "gateway.networking.k8s.io/v1",
        "Gateway",
        {"gatewayClassName": GATEWAY_CLASS, "listeners": [listener]},
        certificate,
    )
    backend = {"name": work.service_name, "port": work.server.http_port}
    yield _made(
        work,
        "route",
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        {
            "parentRefs": [{"kind": "Gateway", "name": SERVER}],
            "hostnames": [access.host],
            "rules": [{"backendRefs": [backend]}],
        },
    )
    yield _made(
        work,
        "backend-policy",
        "networking.gke.io/v1",
        "GCPBackendPolicy",
        {"default": {"iap": {"enabled": True}, "timeoutSec": _LONGEST_ANSWER}, "targetRef": target},
    )
    check = {"port": work.server.http_port, "requestPath": work.server.health_path}
    yield _made(
        work,
        "health-check",
        "networking.gke.io/v1",
        "HealthCheckPolicy",
        {"default": {"config": {"type": "HTTP", "httpHealthCheck": check}}, "targetRef": target},
    )


def _served(server: TpuServerPlan) -> dict[str, int]:
    return {"http": server.http_port, **({"grpc": server.grpc_port} if server.grpc_port else {})}


def _callers(work: Workload) -> list[Manifest]:
    access = work.config.access
    inside: list[Manifest] = [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {CLIENT_LABEL: "true"}}},
    ]
    ranges = {"internal": access.source_ranges, "gateway": _PROXIES}.get(access.expose, ())
    return [*inside, *({"ipBlock": {"cidr": each}} for each in ranges)]


def _jobs(chosen: Manifest) -> Manifest:
    return {
        "podSelector": chosen,
        "policyTypes": ["Ingress", "Egress"],
        "egress": _egress(),
    }


def _egress() -> list[Manifest]:
    """Names, tokens, and Google's and the Hub's addresses, which change."""
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return [
        {"ports": names},
        *({"to": [{"ipBlock": {"cidr": cidr}}], "ports": _tcp(port)} for cidr, port in _METADATA),
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": _tcp(443)},
    ]


def _tcp(*ports: int) -> list[Manifest]:
    return [{"protocol": "TCP", "port": port} for port in dict.fromkeys(ports)]


def _policy(work: Workload, name: str, spec: Manifest) -> KubernetesObject:
    manifest = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name, work.namespace, work.labels),
        "spec": spec,
    }
    return KubernetesObject(f"policy-{name}", "base", manifest, {})


def _made(
    work: Workload,
    name: str,
    version: str,
    kind: str,
    spec: Manifest,
    annotations: dict[str, str] | None = None,
) -> KubernetesObject:
    manifest = {
        "apiVersion": version,
        "kind": kind,
        "metadata": metadata(SERVER, work.namespace, work.labels, annotations),
        "spec": spec,
    }
    return KubernetesObject(name, "serve", manifest, {})
