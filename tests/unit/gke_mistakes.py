"""Mistakes in the objects of a deployment on TPUs: which object, the change, and what is told of it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from stacks.plan.types_gke import GkeTpuPlan


def changed(found: GkeTpuPlan, name: str, change: Callable[[Any], object]) -> GkeTpuPlan:
    """The plan with one object changed in place."""
    manifest = copy.deepcopy(dict(found.object(name).manifest))
    change(manifest)
    objects = tuple(
        dataclasses.replace(each, manifest=manifest) if each.name == name else each for each in found.objects
    )
    return dataclasses.replace(found, objects=objects)


def without(found: GkeTpuPlan, name: str) -> GkeTpuPlan:
    return dataclasses.replace(found, objects=tuple(one for one in found.objects if one.name != name))


def template(manifest: Any) -> Any:
    return manifest["spec"]["template"]["spec"]


def server(manifest: Any) -> Any:
    return template(manifest)["containers"][0]


def put_args(manifest: Any, **flags: str) -> None:
    args = [arg for arg in server(manifest)["args"] if arg.partition("=")[0].removeprefix("--") not in flags]
    server(manifest)["args"] = [*args, *(f"--{name}={value}" for name, value in flags.items())]


def all_eight_chips(manifest: Any) -> None:
    for kind in ("requests", "limits"):
        server(manifest)["resources"][kind]["google.com/tpu"] = "4"


MISTAKES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "another path than the job writes": (
        "deployment",
        lambda one: put_args(one, checkpoint_path="/models/pytorch/llama-2-7b/final/bf16/model.safetensors"),
        "is not where --checkpoint_path finds what is staged",
    ),
    "another tokenizer": (
        "deployment",
        lambda one: put_args(one, tokenizer_path="/jetstream-pytorch/tokenizer.model"),
        "is not where --tokenizer_path finds what is staged",
    ),
    "quantisation that the checkpoint has not": (
        "deployment",
        lambda one: put_args(one, quantize_weights="True", quantize_type="int8_per_channel"),
        "does not go with weights staged as jetstream",
    ),
    "chips that the host has not": ("deployment", all_eight_chips, "is not what the pod can have"),
    "requests unlike limits": (
        "deployment",
        lambda one: server(one)["resources"]["limits"].update({"google.com/tpu": "4"}),
        "is not what the pod can have",
    ),
    "no toleration": (
        "deployment",
        lambda one: template(one).update(tolerations=[]),
        "is a taint of the nodes that the pod does not tolerate",
    ),
    "another slice's nodes": (
        "deployment",
        lambda one: template(one)["nodeSelector"].update({"cloud.google.com/gke-tpu-topology": "2x2"}),
        "are not the labels of the pool's nodes",
    ),
    "the default service account": (
        "deployment",
        lambda one: template(one).pop("serviceAccountName"),
        "is a service account that nothing makes",
    ),
    "no annotation for the mount": (
        "deployment",
        lambda one: one["spec"]["template"]["metadata"].pop("annotations"),
        "no side container mounts the bucket",
    ),
    "another bucket": (
        "deployment",
        lambda one: template(one)["volumes"][0]["csi"]["volumeAttributes"].update(bucketName="gs://other"),
        "is not the bucket with the weights",
    ),
    "an attribute that the driver has not": (
        "deployment",
        lambda one: template(one)["volumes"][0]["csi"]["volumeAttributes"].update(cacheSize="1Gi"),
        "is no attribute of a GCS FUSE volume",
    ),
    "a volume that is not there": (
        "deployment",
        lambda one: template(one).update(volumes=[]),
        "is mounted and no volume",
    ),
    "weights that are not mounted": (
        "deployment",
        lambda one: server(one).update(volumeMounts=[]),
        "is read and not mounted",
    ),
    "a start that is cut off": (
        "deployment",
        lambda one: server(one)["startupProbe"].update(failureThreshold=3),
        "end before the weights are loaded",
    ),
    "an update that needs a slice more": (
        "deployment",
        lambda one: one["spec"]["strategy"]["rollingUpdate"].update(maxSurge=1, maxUnavailable=0),
        "is more pods in an update than the pool has spare slices (0)",
    ),
    "a Service for nobody": (
        "service",
        lambda one: one["spec"]["selector"].update({"app.kubernetes.io/name": "jetstream"}),
        "selects no pod of the server",
    ),
    "a port that nobody listens on": (
        "service",
        lambda one: one["spec"]["ports"][0].update(targetPort=8080),
        "is a port that no container has",
    ),
    "another namespace": (
        "service",
        lambda one: one["metadata"].update(namespace="default"),
        "is not the deployment's namespace",
    ),
    "a name that is taken": (
        "service",
        lambda one: one.update(kind="ServiceAccount") or one["metadata"].update(name="server"),
        "is a second ServiceAccount of this name",
    ),
    "a pod that no policy knows": (
        "deployment",
        lambda one: one["spec"]["template"]["metadata"]["labels"].update({"app.kubernetes.io/name": "web"}),
        "is no app.kubernetes.io/name that policies know",
    ),
    "half an identity": (
        "server-account",
        lambda one: one["metadata"].update(annotations={"iam.gke.io/gcp-service-account": "a@b.example"}),
        "is the other half of another identity",
    ),
}
