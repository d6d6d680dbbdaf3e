"""Topology `gke-tpu`: a model server on slices of Cloud TPU, in the stack's GKE cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_gcp import compute, container, iap, storage

from stacks.components.foundation import Foundation
from stacks.components.kubernetes_object import KubernetesResource
from stacks.components.model_weights import ModelWeights, ModelWeightsArgs, WeightsCluster
from stacks.components.node_pools import tpu_pool
from stacks.components.tpu_cluster import TpuCluster
from stacks.components.weights_disk import readers_disk, weights_disk
from stacks.components.workload_identity import workload_identity
from stacks.plan.gke.manifests import with_references
from stacks.plan.types_gke import GkeTpuPlan, KubernetesObject, Stage

_AWAIT_SECONDS = 60
"""How much longer the engine waits than the cluster, so that a person reads the cluster's own reason."""
_REPLACE_FAILED = {"pulumi.com/replaceUnready": "true"}
"""A Job that failed is made anew by the next deployment; else that one would wait for it again."""
_VOLUMES = ("PersistentVolume", "PersistentVolumeClaim")
"""What stands before the pods that mount it, comes before them and goes after them."""
_PROTECTED = ("Deployment", "Service")
"""What the engine keeps where the profile protects. Kubernetes itself protects nothing, and a cluster that
does not let itself be deleted would be left empty: what is in it goes first."""


@dataclass(frozen=True)
class TpuServingArgs:
    """Inputs of :class:`TpuServing`."""

    plan: GkeTpuPlan
    foundation: Foundation
    cluster: TpuCluster
    images: Mapping[str, pulumi.Input[str]]
    """References by digest of the images that the plan names."""


class TpuServing(pulumi.ComponentResource):
    """Serves one model on Cloud TPU.

    It owns a namespace with all that is in it, the pods' rights (to read the model bucket, nothing else), the
    pool of slices, the weights, and where the plan has them the disks that hold them. The cluster is the
    stack's. Everything costly comes late: no slice is made before the weights are staged, so that a licence
    not accepted or a wrong token costs no TPU hour, and a larger model keeps the old slice until its weights
    are there. What is removed goes the other way round: servers and their load balancer first, then the
    slices and the namespace, the disks and the nodes under them last.
    """

    url: pulumi.Output[str]
    """Where HTTP requests go; without a Gateway or load balancer, an address inside the cluster alone."""
    weights: ModelWeights
    pool: container.NodePool

    def __init__(self, name: str, args: TpuServingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llm:index:TpuServing", name, None, opts)
        plan = args.plan
        base = self._base(name, args)
        self.weights = self._weights(name, args, base)
        grants = self._grants(name, args)
        staged = [*base, *grants, self.weights.staged]
        filled = self._filled(name, args, staged)
        self.pool = tpu_pool(
            f"{name}-pool",
            plan.pool,
            args.cluster.cluster,
            args.cluster.account,
            self,
            # A conversion or a copy takes long and may fail, and slices cost meanwhile.
            [*args.cluster.ready, *(filled if plan.converter or plan.disk else [self.weights.staged])],
        )
        served = self._objects(name, args, "serve", [*filled, self.pool])
        self.url = self._url(plan, served)
        for invoker in plan.invokers:
            self._invoker(name, args, invoker)
        self.register_outputs({"url": self.url})

    def _base(self, name: str, args: TpuServingArgs) -> list[pulumi.Resource]:
        """The namespace, then what is in it from the start."""
        (space, *others) = _of(args.plan, "base")
        namespace = self._object(name, args, space, args.cluster.ready)
        return [namespace, *(self._object(name, args, each, [namespace]) for each in others)]

    def _weights(self, name: str, args: TpuServingArgs, base: Sequence[pulumi.Resource]) -> ModelWeights:
        plan, cluster = args.plan, args.cluster
        place = None
        if plan.weights_identity is not None:
            ready = [cluster.cluster, *cluster.ready, *base]
            place = WeightsCluster(cluster.path, cluster.access, plan.weights_identity, ready)
        return ModelWeights(
            f"{name}-weights",
            ModelWeightsArgs(
                plan.weights,
                plan.staged,
                args.foundation,
                args.images[plan.weights.image],
                args.foundation.region,
                place,
            ),
            pulumi.ResourceOptions(parent=self),
        )

    def _grants(self, name: str, args: TpuServingArgs) -> list[pulumi.Resource]:
        """The rights of pods on the bucket: the server's to read it."""
        plan = args.plan.server_identity
        identity = workload_identity(name, plan, args.foundation, [args.cluster.cluster], self)
        reader = storage.BucketIAMMember(
            f"{name}-reads-bucket",
            bucket=args.foundation.bucket.name,
            role=plan.bucket_role,
            member=identity.member,
            # A cluster's pods are nobody to Google before the project's first cluster.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.cluster.cluster]),
        )
        return [*identity.grants, reader, *self._converter_grants(name, args)]

    def _converter_grants(self, name: str, args: TpuServingArgs) -> list[pulumi.Resource]:
        """The right of Google's converter to write the bucket, where it runs."""
        converter = args.plan.converter
        if converter is None:
            return []
        identity = workload_identity(
            f"{name}-converter", converter.identity, args.foundation, [args.cluster.cluster], self
        )
        writer = storage.BucketIAMMember(
            f"{name}-converter-writes-bucket",
            bucket=args.foundation.bucket.name,
            role=converter.identity.bucket_role,
            member=identity.member,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.cluster.cluster]),
        )
        return [*identity.grants, writer]

    def _filled(
        self, name: str, args: TpuServingArgs, after: Sequence[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """Everything that comes before servers, with the disks filled where weights are on disks."""
        disk = args.plan.disk
        if disk is None:
            return [*after, *self._objects(name, args, "fill", after).values()]
        first = weights_disk(name, disk, args.foundation, self)
        filled = self._objects(name, args, "fill", [*after, first], first)
        jobs = list(filled.values())
        return [*after, first, *jobs, *readers_disk(name, disk, first, jobs, self)]

    def _objects(
        self,
        name: str,
        args: TpuServingArgs,
        stage: Stage,
        after: Sequence[pulumi.Resource],
        disk: compute.Disk | None = None,
    ) -> dict[str, KubernetesResource]:
        made: dict[str, KubernetesResource] = {}
        waits = list(after)
        for each in _of(args.plan, stage):
            made[each.name] = self._object(name, args, each, waits, disk)
            if each.kind in _VOLUMES:
                waits.append(made[each.name])
        return made

    def _object(
        self,
        name: str,
        args: TpuServingArgs,
        each: KubernetesObject,
        after: Sequence[pulumi.Resource],
        disk: compute.Disk | None = None,
    ) -> KubernetesResource:
        references: dict[str, Any] = dict(args.images)
        manifest = with_references(each, references)
        opts = pulumi.ResourceOptions(parent=self, provider=args.cluster.provider, depends_on=list(after))
        opts.protect = args.plan.deletion_protection and each.kind in _PROTECTED
        timeout = _timeout(args.plan, each)
        if timeout is not None:
            wait = f"{timeout}s"
            opts.custom_timeouts = pulumi.CustomTimeouts(create=wait, update=wait)
        if each.kind != "Job":
            return KubernetesResource(f"{name}-{each.name}", manifest, opts)
        # It ran once for what it copied, and is made anew with that or with its disk alone: a new image or a
        # new label is no reason to write on a disk that servers read.
        opts.ignore_changes = ["spec", "metadata"]
        opts.replace_with = [disk] if disk is not None else None
        # Nothing of its own differs then, so the plugin would not see that the name is taken.
        opts.delete_before_replace = True
        return KubernetesResource(f"{name}-{manifest['metadata']['name']}", _replaceable(manifest), opts)

    def _url(self, plan: GkeTpuPlan, served: Mapping[str, KubernetesResource]) -> pulumi.Output[str]:
        if plan.expose == "gateway":
            return pulumi.Output.from_input(f"https://{plan.host}")
        port = plan.server.http_port
        if plan.expose == "cluster":
            return pulumi.Output.from_input(
                f"http://{plan.service_name}.{plan.namespace}.svc.cluster.local:{port}"
            )
        return served["service"].status.apply(lambda status: f"http://{_address(plan, status)}:{port}")

    def _invoker(self, name: str, args: TpuServingArgs, invoker: str) -> None:
        """Let somebody through Identity-Aware Proxy, to this deployment's host alone.

        The Gateway's backend gets its name from Google, so the right is on the project, bounded by the host.
        """
        plan = args.plan
        iap.WebIamMember(
            f"{name}-invoker-{invoker}",
            role="roles/iap.httpsResourceAccessor",
            member=invoker,
            condition={"title": f"{plan.deployment}-host", "expression": f'request.host == "{plan.host}"'},
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.foundation.api("iap")),
        )


def _of(plan: GkeTpuPlan, stage: Stage) -> list[KubernetesObject]:
    return [each for each in plan.objects if each.stage == stage]


def _timeout(plan: GkeTpuPlan, each: KubernetesObject) -> int | None:
    """How long the engine waits for an object, in seconds; None for its own ten minutes or less.

    A Service is there for the engine when it has a pod to send to, so it waits for nodes as its Deployment
    does (github.com/pulumi/pulumi-kubernetes, provider/pkg/await/service.go).
    """
    if each.kind in ("Deployment", "Service"):
        return plan.ready_seconds + _AWAIT_SECONDS
    if each.kind == "Job":
        return int(each.manifest["spec"]["activeDeadlineSeconds"]) + _AWAIT_SECONDS
    return None


def _address(plan: GkeTpuPlan, status: Any) -> str:
    """The address of an internal load balancer, as the Service's status has it."""
    found = ((status or {}).get("loadBalancer") or {}).get("ingress") or [{}]
    if not found[0].get("ip"):
        raise pulumi.RunError(
            f"{plan.deployment}: the load balancer has no address yet; run `pulumi up` again"
        )
    return str(found[0]["ip"])


def _replaceable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), **_REPLACE_FAILED}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
