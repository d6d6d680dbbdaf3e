"""What would not work of a deployment's objects, found in the plan.

Until the cluster is there nobody else can look at them: a change of the planner must not reach it unseen.
Each check says what the cluster, or Google, would do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stacks.config_errors import Problem
from stacks.plan.gke.check_server import check_server, problem
from stacks.plan.gke.identity import ACCOUNT_ANNOTATION
from stacks.plan.gke.manifests import NAME
from stacks.plan.gke.slices import RESOURCE
from stacks.plan.gke.storage import FUSE_ANNOTATION, FUSE_DRIVER
from stacks.plan.hardware import chips_of, tpu_machines
from stacks.plan.types_gke import GkeTpuPlan, IdentityPlan, KubernetesObject

_CLUSTER_WIDE = ("Namespace", "PersistentVolume")
_PODS = ("Deployment", "Job")
_SELECTING = {"Service": ("selector",), "PodDisruptionBudget": ("selector", "matchLabels")}
_FUSE_ATTRIBUTES = frozenset(
    {
        "bucketName",
        "mountOptions",
        "fileCacheCapacity",
        "fileCacheForRangeRead",
        "metadataStatCacheCapacity",
        "metadataTypeCacheCapacity",
        "metadataCacheTTLSeconds",
        "gcsfuseLoggingSeverity",
        "gcsfuseMetadataPrefetchOnMount",
        "skipCSIBucketAccessCheck",
    }
)
"""github.com/GoogleCloudPlatform/gcs-fuse-csi-driver, volume attributes."""


def check_objects(plan: GkeTpuPlan) -> list[Problem]:
    """Checks the objects of a deployment against each other and against its pool, identities and weights."""
    return [*_names(plan), *_pods(plan), *_selectors(plan), *_accounts(plan), *check_server(plan)]


def _names(plan: GkeTpuPlan) -> Iterator[Problem]:
    """Every object is in the deployment's namespace, once, and that namespace is one of the objects."""
    seen = set()
    for each in plan.objects:
        meta = each.manifest["metadata"]
        namespace = meta.get("namespace")
        if each.kind not in _CLUSTER_WIDE and namespace != plan.namespace:
            yield problem(
                plan, each.name, namespace, "is not the deployment's namespace", f"should be {plan.namespace}"
            )
        identity = (each.kind, meta["name"])
        if identity in seen:
            yield problem(
                plan, each.name, meta["name"], f"is a second {each.kind} of this name", "rename one"
            )
        seen.add(identity)
    if ("Namespace", plan.namespace) not in seen:
        yield problem(plan, "objects", plan.namespace, "is a namespace that nothing makes", "add it")


def _pods(plan: GkeTpuPlan) -> Iterator[Problem]:
    for each in plan.objects:
        if each.kind in _PODS:
            template = each.manifest["spec"]["template"]
            yield from _identity(plan, each, template["spec"])
            yield from _volumes(plan, each, template)
            yield from _placed(plan, each, template["spec"])


def _identity(plan: GkeTpuPlan, each: KubernetesObject, pod: Mapping[str, Any]) -> Iterator[Problem]:
    account = pod.get("serviceAccountName", "default")
    made = {one.manifest["metadata"]["name"] for one in plan.objects if one.kind == "ServiceAccount"}
    if account not in made:
        yield problem(
            plan,
            each.name,
            account,
            "is a service account that nothing makes",
            f"use one of {', '.join(sorted(made))}",
        )


def _volumes(plan: GkeTpuPlan, each: KubernetesObject, template: Mapping[str, Any]) -> Iterator[Problem]:
    """A mounted bucket is the stack's and has its side container; a claim is one of the objects."""
    pod = template["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = {one.manifest["metadata"]["name"] for one in plan.objects if one.kind == "PersistentVolumeClaim"}
    for container in _containers(pod):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield problem(plan, each.name, mount["name"], "is mounted and no volume", "add it")
    for volume in volumes.values():
        csi = volume.get("csi", {})
        if csi.get("driver") == FUSE_DRIVER:
            yield from _fuse(plan, each, csi, template["metadata"].get("annotations", {}))
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None and claim not in claims:
            yield problem(plan, each.name, claim, "is a claim that nothing makes", "add it")


def _fuse(
    plan: GkeTpuPlan, each: KubernetesObject, csi: Mapping[str, Any], annotations: Mapping[str, str]
) -> Iterator[Problem]:
    attributes = csi["volumeAttributes"]
    bucket = attributes.get("bucketName")
    if bucket != plan.staged.bucket:
        yield problem(
            plan, each.name, bucket, "is not the bucket with the weights", f"should be {plan.staged.bucket}"
        )
    if annotations.get(FUSE_ANNOTATION) != "true":
        yield problem(
            plan,
            each.name,
            annotations.get(FUSE_ANNOTATION),
            f"is no {FUSE_ANNOTATION}: no side container mounts the bucket, and the pod never starts",
            'write "true"',
        )
    for name in sorted(set(attributes) - _FUSE_ATTRIBUTES):
        yield problem(plan, each.name, name, "is no attribute of a GCS FUSE volume", "remove it")


def _placed(plan: GkeTpuPlan, each: KubernetesObject, pod: Mapping[str, Any]) -> Iterator[Problem]:
    """Servers run on the deployment's own slices with all their chips, jobs on nodes without any."""
    chips = [container.get("resources", {}) for container in _containers(pod)]
    asked = [part.get(kind, {}).get(RESOURCE) for part in chips for kind in ("requests", "limits")]
    if each.kind == "Job":
        selected = pod.get("nodeSelector", {})
        if any(asked) or any("tpu" in key for key in selected) or not selected:
            yield problem(
                plan,
                each.name,
                "google.com/tpu",
                "is what a job must not hold",
                "run it on nodes without TPUs",
            )
        return
    pool, machine = plan.pool, tpu_machines()[plan.pool.machine_type]
    wanted = {int(value) for value in asked if value is not None}
    pairs = [(part.get("requests", {}).get(RESOURCE), part.get("limits", {}).get(RESOURCE)) for part in chips]
    if wanted != {machine.chips} or any(request != limit for request, limit in pairs):
        yield problem(
            plan,
            each.name,
            ", ".join(str(value) for value in asked if value is not None) or None,
            f"is not what the pod can have: a node of {pool.topology} with {machine.name} offers "
            f"{machine.chips} chips, {chips_of(pool.topology)} = {pool.hosts} × {machine.chips}, and "
            "requests and limits must be the same",
            f"ask for {RESOURCE}: {machine.chips} in both",
        )
    if pod.get("nodeSelector") != dict(pool.node_labels):
        yield problem(
            plan,
            each.name,
            pod.get("nodeSelector"),
            "are not the labels of the pool's nodes",
            f"{dict(pool.node_labels)}",
        )
    if not any(_tolerates(one, pool.taint_key) for one in pod.get("tolerations", [])):
        yield problem(
            plan,
            each.name,
            pool.taint_key,
            "is a taint of the nodes that the pod does not tolerate",
            "tolerate it",
        )
    budget = each.manifest["spec"]["strategy"]["rollingUpdate"]
    spare = pool.max_nodes // pool.hosts - plan.max_replicas
    if budget["maxSurge"] > spare or not (budget["maxSurge"] or budget["maxUnavailable"]):
        yield problem(
            plan,
            each.name,
            budget["maxSurge"],
            f"is more pods in an update than the pool has spare slices ({spare}): it would wait for ever",
            f"maxSurge at most {spare}, and maxUnavailable 1 without one",
        )


def _tolerates(toleration: Mapping[str, str], key: str) -> bool:
    value = toleration.get("operator", "Equal") == "Exists" or toleration.get("value") == "present"
    return toleration.get("key") == key and value and toleration.get("effect") in (None, "NoSchedule")


def _selectors(plan: GkeTpuPlan) -> Iterator[Problem]:
    """What selects pods selects the server's: a Service that finds none answers nobody, and says nothing."""
    deployment = plan.object("deployment").manifest["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    found = [("deployment", deployment["selector"]["matchLabels"])]
    for each in plan.objects:
        if each.kind in _SELECTING:
            value: Any = each.manifest["spec"]
            for key in _SELECTING[each.kind]:
                value = value[key]
            found.append((each.name, value))
        if each.kind == "PodMonitoring":
            found.append((each.name, each.manifest["spec"]["selector"]["matchLabels"]))
    for name, chosen in found:
        if not chosen.items() <= labels.items():
            yield problem(plan, name, dict(chosen), "selects no pod of the server", f"pods have {labels}")
    ports = {
        port["containerPort"]
        for container in deployment["template"]["spec"]["containers"]
        for port in container.get("ports", [])
    }
    for port in plan.object("service").manifest["spec"]["ports"]:
        if port["targetPort"] not in ports:
            yield problem(
                plan, "service", port["targetPort"], "is a port that no container has", f"{sorted(ports)}"
            )
    if labels.get(NAME) != "server":
        yield problem(plan, "deployment", labels.get(NAME), f"is no {NAME} that policies know", "server")


def _accounts(plan: GkeTpuPlan) -> Iterator[Problem]:
    """Both halves of an identity: the annotation of the Kubernetes account, and who may borrow the other."""
    objects = {one.manifest["metadata"]["name"]: one for one in plan.objects if one.kind == "ServiceAccount"}
    for identity in _identities(plan):
        each = objects.get(identity.kubernetes_account)
        if each is None:
            yield problem(
                plan,
                "objects",
                identity.kubernetes_account,
                "is a service account that nothing makes",
                "add it",
            )
            continue
        given = each.manifest["metadata"].get("annotations", {}).get(ACCOUNT_ANNOTATION)
        right = identity.account.email if identity.account else None
        if given != right:
            yield problem(
                plan,
                each.name,
                given,
                f"is the other half of another identity: {ACCOUNT_ANNOTATION} and the grant have to agree",
                f"annotate {right}"
                if right
                else "leave the annotation out: the pods have roles of their own",
            )
        if identity.namespace != plan.namespace:
            yield problem(
                plan,
                each.name,
                identity.namespace,
                "is not where the pods are",
                f"should be {plan.namespace}",
            )


def _identities(plan: GkeTpuPlan) -> Iterator[IdentityPlan]:
    yield plan.server_identity
    if plan.weights_identity is not None:
        yield plan.weights_identity
    if plan.converter is not None:
        yield plan.converter.identity


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]
