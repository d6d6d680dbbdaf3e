"""What deployments take of a project's quota, and what they cost while nobody asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from stacks.plan.report import Report
from stacks.plan.types_vertex import IdleCostPlan, QuotaPlan, VertexPlan
from stacks.plan.vertex.facts import serving_facts
from stacks.plan.vertex.machines import Replica


def quotas(replica: Replica, most: int, *, spot: bool) -> tuple[QuotaPlan, ...]:
    """Counts a deployment against the quotas of its region.

    Vertex AI charges the most replicas that there may be, whether they run or not: for each all CPUs of the
    machine type and the replica's own GPUs (discovery document, DedicatedResources.maxReplicaCount). A switch
    deploys the new model before it undeploys the old one, so at its peak both are charged.

    Args:
        replica: what one replica runs on.
        most: most replicas.
        spot: whether the machines are spot, which has quotas of its own.
    """
    ids = serving_facts().quotas
    counted: list[tuple[str, str | None, int]] = [("CPUs", ids.cpus.value, replica.machine.cpus)]
    if replica.gpu is not None:
        counted.append((replica.gpu.name, ids.gpus.value.get(replica.gpu.name), replica.count))
    pattern, kind = (ids.spot.value, "spot ") if spot else (ids.on_demand.value, "")
    return tuple(
        QuotaPlan(
            f"{kind}{what}", short and pattern.replace("{what}", short), most * each, peak=2 * most * each
        )
        for what, short, each in counted
    )


def idle_cost(replica: Replica, least: int, *, spot: bool) -> IdleCostPlan | None:
    """Computes what the replicas cost that are kept while nobody asks; None where no price is known.

    Whole machines run: where several replicas share one, a single replica leaves the rest of it idle.

    Args:
        replica: what one replica runs on.
        least: fewest replicas.
        spot: whether the machines are spot; the price is on demand all the same, since theirs changes.
    """
    each = replica.machine_usd
    if each is None:
        return None
    share, machines = serving_facts().management_share, math.ceil(least / replica.parts)
    known = replica.price_confirmed and share.confirmed
    shared = f" (room for {replica.parts} replicas)" if replica.parts > 1 else ""
    arithmetic = (
        f"{machines} × {replica.whole}{shared} at ${each:.3f} on demand in us-central1 + {share.value:.0%} "
        f"for Vertex AI{'' if known else ' (unconfirmed)'}{'; spot costs less' if spot else ''}"
    )
    return IdleCostPlan(machines * each * (1 + share.value), arithmetic, known)


def note_peak(plans: Collection[VertexPlan], region: str, report: Report) -> None:
    """Notes what switches take of quotas: of each deployment, and of several when one `up` switches them all.

    Args:
        plans: the deployments of a stack.
        region: the stack's.
        report: receives the notes.
    """
    for plan in plans:
        report.notes.append(
            f"llm:deployments.{plan.deployment}: a switch takes quota for two at once, {_peak(plan.quotas)} "
            f"in {region}, since the old model serves until the new one does"
        )
    if len(plans) > 1:
        together = [quota for plan in plans for quota in plan.quotas]
        report.notes.append(
            f"llm:deployments: an up that switches all {len(plans)} deployments of vertex takes quota for "
            f"{_peak(together)} in {region}"
        )


def _peak(found: Sequence[QuotaPlan]) -> str:
    sums: Counter[str] = Counter()
    for each in found:
        sums[each.what] += each.peak
    return ", ".join(f"{peak} {what}" for what, peak in sums.items())
