"""How many replicas run: by the server's own load, and how many may go at once."""

from __future__ import annotations

from stacks.plan.gke.facts import servers
from stacks.plan.gke.manifests import Manifest, metadata
from stacks.plan.gke.pods import SERVER
from stacks.plan.gke.workload import Workload
from stacks.plan.report import Report

_SCRAPE_SECONDS = 15
_SETTLE_SECONDS = 300
"""How long load has to be low before a slice goes: another takes minutes to come."""


def disruption_budget(work: Workload) -> Manifest:
    """Writes that one replica may go at a time; a single one may go too, or no node could ever be updated."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(SERVER, work.namespace, work.labels),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": work.selector}},
    }


def monitoring(work: Workload) -> Manifest | None:
    """Writes what Google's collectors read; None where the server has no metrics."""
    port = work.server.metrics_port
    if port is None:
        return None
    return {
        "apiVersion": "monitoring.googleapis.com/v1",
        "kind": "PodMonitoring",
        "metadata": metadata(SERVER, work.namespace, work.labels),
        "spec": {
            "selector": {"matchLabels": work.selector},
            "endpoints": [{"port": port, "path": "/metrics", "interval": f"{_SCRAPE_SECONDS}s"}],
        },
    }


def autoscaler(work: Workload) -> Manifest | None:
    """Writes what adds and removes replicas; None where their number is fixed."""
    scaling, facts = work.config.scaling, servers()[work.engine]
    if scaling.most == scaling.min:
        return None
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": f"prometheus.googleapis.com|{facts.load_metric}|gauge"},
            "target": {"type": "AverageValue", "averageValue": str(facts.load_target.value)},
        },
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(SERVER, work.namespace, work.labels),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": SERVER},
            "minReplicas": scaling.min,
            "maxReplicas": scaling.most,
            "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": _SETTLE_SECONDS}},
        },
    }


def check(work: Workload, path: str, report: Report) -> None:
    """Reports a number of replicas that nothing could decide on, and what else the cluster needs for it."""
    scaling, facts = work.config.scaling, servers()[work.engine]
    if scaling.most == scaling.min:
        return
    if work.server.metrics_port is None:
        report.problem(
            f"{path}.scaling.max",
            scaling.most,
            f"is decided by {facts.load_metric}, and the server has no port for its metrics",
            f"write server.metricsPort: 9100, or scaling.max: {scaling.min}",
        )
        return
    target = "" if facts.load_target.confirmed else f"; {facts.load_target.value} for each replica is a guess"
    report.warn(
        f"{path}.scaling.max: the cluster needs the Custom Metrics Stackdriver Adapter to read "
        f"{facts.load_metric}, which this stack does not install (unconfirmed){target}"
    )
