"""Finished plans for Vertex AI with one thing wrong, by what is told of it."""

from __future__ import annotations

from typing import Any

from tests.unit.plan_evidence import Change, deployment, foundation, inside, replace


def container(**changes: Any) -> Change:
    return inside_model(container=lambda found: replace(found, **changes))


def probe(**changes: Any) -> Change:
    return inside_model(
        container=lambda found: replace(found, startup_probe=replace(found.startup_probe, **changes))
    )


def inside_model(**changes: Any) -> Change:
    """Changes the registered model; a function is given what was there."""

    def changed(found: Any) -> Any:
        given = {
            key: value(getattr(found, key)) if callable(value) else value for key, value in changes.items()
        }
        return replace(found, **given)

    return deployment(registered=changed)


def env(**variables: str) -> Change:
    return container_env(lambda found: {**found, **variables})


def container_env(change: Any) -> Change:
    return inside_model(container=lambda found: replace(found, env=change(found.env)))


def without(name: str) -> Change:
    return container_env(lambda found: {key: value for key, value in found.items() if key != name})


BROKEN: dict[str, tuple[str, Change]] = {
    "endpoint with a leading zero": ("no id of an endpoint", inside("endpoint", endpoint_id="0123")),
    "endpoint of eleven digits": ("no id of an endpoint", inside("endpoint", endpoint_id="1" * 11)),
    "model with a digit first": ("no id of a model", inside_model(model_id="1chat")),
    "alias with a capital first": ("no alias of a version", inside_model(version_aliases=("Current",))),
    "name too long to show": ("is no name to show", inside("endpoint", display_name="x" * 129)),
    "no name to show": ("is no name to show", inside_model(display_name="")),
    "region without Vertex AI": ("is a region without Vertex AI", deployment(location="mars-north1")),
    "machine that is none": ("no machine type that Vertex AI serves", inside("replica", machine_type="m")),
    "machine that only trains": (
        "no machine type that Vertex AI serves",
        inside("replica", machine_type="n1-standard-1"),
    ),
    "GPU by another name": ("is no GPU's name here", inside("replica", accelerator_type="NVIDIA_L4")),
    "GPU without a number": ("is no number of GPUs", inside("replica", accelerator_count=0)),
    "number without a GPU": (
        "is no number of GPUs",
        inside("replica", accelerator=None, accelerator_type=None),
    ),
    "GPUs in a wrong number": ("cannot be had with n1-standard-8", inside("replica", accelerator_count=3)),
    "GPU of another machine": (
        "cannot be had with a2-highgpu-1g",
        inside("replica", machine_type="a2-highgpu-1g"),
    ),
    "no replica": ("leaves no replica to answer", deployment(min_replicas=0)),
    "fewer at most than at least": ("is below min", deployment(min_replicas=2, max_replicas=1)),
    "metric that is none": ("is no metric", deployment(metrics={"cpu": 60})),
    "target above all": (
        "is no target in percent",
        deployment(metrics={"aiplatform.googleapis.com/prediction/online/cpu/utilization": 101}),
    ),
    "no step": ("does not rise to 100", deployment(traffic_steps=())),
    "steps that fall": ("does not rise to 100", deployment(traffic_steps=(50, 10, 100))),
    "steps that end early": ("does not rise to 100", deployment(traffic_steps=(10, 50))),
    "step of nothing": ("does not rise to 100", deployment(traffic_steps=(0, 100))),
    "too little time for a switch": ("less time than a switch may take", deployment(update_seconds=60)),
    "too many variables": (
        "is too many environment variables",
        container(env={f"V{i}": "" for i in range(201)}),
    ),
    "variable too large": ("is a variable of 131074 bytes", env(V="x" * 131072)),
    "variables too large together": (
        "is too large in all",
        container(env={f"V{i}": "x" * 110_000 for i in range(5)}),
    ),
    "variable of the platform": ("is a variable that the platform sets", env(AIP_HTTP_PORT="1")),
    "route without a slash": ("is no path of a route", container(predict_route="predict")),
    "port that is none": ("is no port", container(port=0)),
    "probe that waits too little": ("which Vertex AI refuses", probe(timeout_seconds=5)),
    "start longer than its deployment": (
        "is no time that a start may take",
        container(deployment_seconds=10),
    ),
    "deployment too long": ("is no time for a deployment", container(deployment_seconds=7201)),
    "projects of an endpoint in the open": (
        "does not go with kind",
        inside("endpoint", projects=("a-b-c-d",)),
    ),
    "private endpoint for nobody": (
        "does not go with kind",
        inside("endpoint", kind="private-service-connect"),
    ),
    "no API": ("is not enabled, and endpoint", foundation(apis=("storage.googleapis.com",))),
    "image that is not built": (
        "is an image that the plan does not have",
        container(image="serve-other"),
    ),
    "labels": ("no value of a label", deployment(labels={"env": "a.b"})),
}

DISAGREEING: dict[str, tuple[str, Change]] = {
    "port": ("is not the port that the other side uses", container(port=9000)),
    "health route": ("is not the health route", container(health_route="/health")),
    "predict route": ("is not the predict route", container(predict_route="/infer")),
    "probed path": ("is not the probed path", probe(path="/metrics")),
    "probed port": ("is not the probed port", probe(port=9000)),
    "startup command": ("is not the startup command", probe(command=("true",))),
    "artifacts": ("is not the artifact address", inside_model(artifact_uri="gs://elsewhere/x")),
    "image": ("is not the image", container(image="serve-vllm")),
    "element type": ("is not the DTYPE", env(DTYPE="bfloat16")),
    "engine": ("is not the ENGINE", env(ENGINE="vllm")),
    "model's name": ("is not the MODEL_NAME", env(MODEL_NAME="gpt3")),
    "a variable that nobody reads": ("is given and not read", env(MAX_TOKENS="1")),
    "a variable that is missing": ("is read and not given", without("MAX_QUEUE")),
    "requests longer than the endpoint's": ("is no REQUEST_SECONDS below", env(REQUEST_SECONDS="600")),
    "requests without a bound": ("is no REQUEST_SECONDS below", without("REQUEST_SECONDS")),
    "a machine too small": ("is too small for the service", inside("sizing", have_bytes=1)),
    "an engine that does not run here": ("no engine of this version", deployment(engine="beam")),
    "a format that the engine does not read": ("no format that", inside("staged", format="mar")),
    "a format that nothing writes": ("is no format of staged weights", inside("staged", format="onnx")),
    "a job whose image is not built": (
        "is an image that the plan does not have",
        inside("weights", image="torchserve"),
    ),
    "a job that does something else": (
        "is not the job command",
        deployment(weights=lambda job: replace(job, args=("download", *job.args[1:]))),
    ),
}
