"""Which rehearsed cluster a kubeconfig is about.

Nothing is run that a kubeconfig names, such as Google's plugin for authentication: a rehearsal deploys as an
owner, who may do everything in a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rehearsal.cluster.state import running
from rehearsal.standins.gcp.container import Cluster, idle_facts
from rehearsal.world import World


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster of the rehearsed cloud.

    Attributes:
        cluster: `projects/P/locations/L/clusters/C`.
        namespace: the kubeconfig's own; empty where it has none.
    """

    cluster: str
    namespace: str = ""


class UnreachableError(Exception):
    """No cluster can be reached so; one line for a person."""


def parse_kubeconfig(text: str) -> dict[str, Any]:
    """A kubeconfig from its text or from the path of a file.

    Raises:
        UnreachableError: it is none.
    """
    try:
        path = Path(text).expanduser()
        if "\n" not in text and not text.lstrip().startswith("{") and path.is_file():
            text = path.read_text(encoding="utf-8")
        parsed = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise UnreachableError(f"the kubeconfig cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(parsed, dict) or not parsed.get("clusters"):
        raise UnreachableError("the kubeconfig names no cluster")
    return parsed


def active(config: Mapping[str, Any], context: str, cluster: str) -> tuple[dict[str, Any], str]:
    """The cluster's entry that is in use, and the namespace of the context.

    Args:
        config: a kubeconfig.
        context: name of the context; empty for the current one.
        cluster: name of the cluster; empty for the context's.

    Raises:
        UnreachableError: there is no such context or cluster.
    """
    name = context or str(config.get("current-context") or "")
    chosen = _named(config.get("contexts"), name, "context").get("context") or {} if name else {}
    wanted = cluster or str(chosen.get("cluster") or "")
    if not wanted:
        raise UnreachableError("the kubeconfig has no current-context")
    entry = _named(config.get("clusters"), wanted, "cluster").get("cluster") or {}
    return dict(entry), str(chosen.get("namespace") or "")


def reach(world: World, kubeconfig: str, context: str, cluster: str) -> Target:
    """The cluster that a kubeconfig leads to.

    Raises:
        UnreachableError: it leads to none of the rehearsed cloud.
    """
    if not kubeconfig:
        raise UnreachableError("no kubeconfig is given")
    entry, namespace = active(parse_kubeconfig(kubeconfig), context, cluster)
    server = str(entry.get("server") or "")
    host = server.removeprefix("https://").rstrip("/")
    if not server.startswith("https://"):
        raise UnreachableError(f"the address {server!r} in the kubeconfig does not begin with https://")
    state = running(world.folder, jobs=True)
    if state is not None and state.host == host:
        return Target(state.cluster, namespace)
    for record in world.list(Cluster.kind):
        facts = idle_facts(world, record)
        if host == facts["dnsEndpoint"]:
            _require_traffic(record.body["spec"], host)
            return Target(record.name.partition("/")[2], namespace)
        if host in (facts["endpoint"], facts["privateEndpoint"]):
            if not entry.get("certificate-authority-data") and not entry.get("certificate-authority"):
                raise UnreachableError(f"{host}: x509: certificate signed by unknown authority")
            return Target(record.name.partition("/")[2], namespace)
    raise UnreachableError(f"no cluster of the rehearsed cloud has the address {host}")


def _require_traffic(spec: Mapping[str, Any], host: str) -> None:
    """The DNS endpoint answers from outside only where the cluster says so: installed SDK,
    container.ClusterControlPlaneEndpointsConfigDnsEndpointConfig.allow_external_traffic."""
    config = (spec.get("controlPlaneEndpointsConfig") or {}).get("dnsEndpointConfig") or {}
    if not config.get("allowExternalTraffic"):
        raise UnreachableError(f"{host} takes no traffic from outside: allowExternalTraffic is not true")


def _named(entries: Any, name: str, what: str) -> dict[str, Any]:
    for entry in entries or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    raise UnreachableError(f"the kubeconfig has no {what} {name!r}")
