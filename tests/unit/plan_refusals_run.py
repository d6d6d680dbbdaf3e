"""How the plan catches refusals of Cloud Run's services and jobs."""

from __future__ import annotations

from collections.abc import Sequence

from stacks.plan.types import GpuPlan
from tests.components.conftest import Registered
from tests.unit.config_sources import good
from tests.unit.plan_evidence import (
    Broken,
    Impossible,
    Refused,
    Warned,
    after,
    always_given,
    deployment,
    env,
    foundation,
    image,
    inside,
    never_given,
    only,
    values,
)
from tests.unit.standin_world import ACCOUNT, JOB, NOBODY, ON_BUCKET, ON_SECRET, SERVICE, VERSION

_RUN = (SERVICE, JOB)
_SERVING, _STAGING = "template.containers[*]", "template.template.containers[*]"
_L4 = {"gpu": GpuPlan("nvidia-l4", 1, False), "cpu": "4", "memory": "16Gi", "cpu_idle": False}
_RTX = {**_L4, "gpu": GpuPlan("nvidia-rtx-pro-6000", 1, False), "cpu": "20"}
_PATH = "llm:deployments.assistant"


def _on_rtx(**config: object) -> dict[str, object]:
    return good(resources={"gpu": "nvidia-rtx-pro-6000", "memory": "80Gi", **config})


def _token_is_there_first(resources: Sequence[Registered]) -> None:
    """A job is made after the version that it reads; another's secret is for its owner to fill."""
    if any(each.type == VERSION for each in resources):
        after([JOB], VERSION)(resources)


def _a_gpu_and_its_limit_go_together(resources: Sequence[Registered]) -> None:
    for each in resources:
        if each.type in _RUN:
            limits = [
                limit
                for path in (_SERVING, _STAGING)
                for limit in values([each], _RUN, f"{path}.resources.limits")
            ]
            asked = [limit for limit in limits if "nvidia.com/gpu" in limit]
            assert len(asked) == len(list(values([each], _RUN, "template.nodeSelector")))


def _a_variable_has_one_source(resources: Sequence[Registered]) -> None:
    for path in (_SERVING, _STAGING):
        for variable in values(resources, _RUN, f"{path}.envs[*]"):
            assert len(variable.keys() & {"value", "valueSource"}) == 1


def _one_volume_of_one_kind_mounted_by_its_name(resources: Sequence[Registered]) -> None:
    for each in resources:
        if each.type == SERVICE:
            (volume,) = values([each], [SERVICE], "template.volumes[*]")
            assert volume.keys() == {"name", "gcs"}
            assert set(values([each], [SERVICE], f"{_SERVING}.volumeMounts[*].name")) == {volume["name"]}
    never_given([JOB], "template.template.volumes")(resources)


RUN: list[Broken | Refused | Warned | Impossible] = [
    Broken("run.service.name", "no name of a Cloud Run service", deployment(service_name="a" * 50)),
    Broken("run.job.name", "no name of a Cloud Run job", inside("weights", job_name="a" * 64)),
    Refused(
        "run.service.name",
        "llm:deployments.1st",
        "not a deployment's name",
        {**good(), "llm:deployments": {"1st": {"topology": "cloud-run", "model": "gpt2"}}},
    ),
    Broken("run.labels.reserved", "no name of a label", deployment(labels={"run.googleapis.com/x": "y"})),
    Broken("run.ingress", "is no ingress", deployment(ingress="all")),
    Impossible(
        "run.execution_environment",
        "the component names it",
        only([SERVICE], "template.executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2"),
    ),
    Broken("run.quantity", "no number of CPUs", deployment(cpu="two")),
    Broken("run.quantity", "no amount of memory", inside("weights", memory="4GB")),
    Impossible("run.limits.keys", "the component names them", lambda found: _known_limits(found)),
    Broken("run.cpu.count", "no number of CPUs that there is", deployment(cpu="3")),
    Broken("run.cpu.fraction", "conditions of its own", inside("weights", cpu="500m")),
    Broken("run.memory.for_4_cpu", "too little for 4 CPUs", deployment(cpu="4", memory="1Gi")),
    Broken("run.memory.for_8_cpu", "too little for 6 CPUs", inside("weights", cpu="6", memory="3Gi")),
    Broken("run.cpu.for_memory", "too few CPUs for 10Gi", deployment(cpu="2", memory="10Gi")),
    Broken("run.memory.range", "memory that there is not", deployment(cpu="8", memory="33Gi")),
    Broken("run.memory.range", "memory that there is not", deployment(cpu="1", memory="64Mi")),
    Impossible(
        "run.memory.default",
        "every service names its memory",
        always_given([SERVICE], f"{_SERVING}.resources.limits.memory"),
    ),
    Broken(
        "run.gpu.count", "no number of GPUs", deployment(**{**_L4, "gpu": GpuPlan("nvidia-l4", 2, False)})
    ),
    Impossible(
        "run.gpu.containers",
        "one field of the plan gives both the accelerator and the limit",
        _a_gpu_and_its_limit_go_together,
    ),
    Broken(
        "run.gpu.containers", "no GPU that there is", deployment(**{**_L4, "gpu": GpuPlan("l4", 1, False)})
    ),
    Broken("run.gpu.l4", "too few CPUs for the GPU", deployment(**{**_L4, "cpu": "2"})),
    Broken("run.gpu.l4", "too little memory for the GPU", deployment(**{**_L4, "memory": "8Gi"})),
    Broken("run.gpu.rtx_pro_6000", "too little memory for the GPU", deployment(**{**_RTX, "memory": "64Gi"})),
    Warned("run.gpu.rtx_pro_6000.cpu", "at least 20 CPUs (unconfirmed)", _on_rtx(cpu=8)),
    Broken("run.gpu.billing", "instance-based billing", deployment(**{**_L4, "cpu_idle": True})),
    Broken("run.gpu.l4.region", "region without the GPU", deployment(**{**_L4, "location": "us-west1"})),
    Refused(
        "run.gpu.l4.region",
        f"{_PATH}.resources.gpu",
        "us-west1",
        {**good(resources={"gpu": "nvidia-l4"}), "gcp:region": "us-west1"},
    ),
    Warned("run.gpu.rtx_pro_6000.region", "not in us-west1", {**_on_rtx(cpu=20), "gcp:region": "us-west1"}),
    Impossible(
        "run.job.gpu.timeout", "no job has a GPU", never_given([JOB], "template.template.nodeSelector")
    ),
    Broken("run.concurrency", "takes at once", deployment(concurrency=1001)),
    Broken("run.scaling.maximum", "leaves no instance", deployment(max_instances=0, min_instances=0)),
    Broken("run.scaling.minimum", "no number of instances", deployment(min_instances=-1)),
    Broken("run.scaling.order", "is above max (3)", deployment(min_instances=4)),
    Refused("run.scaling.order", f"{_PATH}.scaling.min", "is above max", good(scaling={"min": 4, "max": 3})),
    Broken("run.service.timeout", "that a request may take", deployment(timeout_seconds=3601)),
    Broken("run.job.timeout", "that staging may take", inside("weights", task_timeout_seconds=604_801)),
    Impossible("run.job.tasks", "the component has one task", only([JOB], "template.taskCount", 1)),
    Broken("run.probe.window", "may take to start", inside("startup_probe", failure_threshold=61)),
    Broken("run.probe.field", "startup probe", inside("startup_probe", initial_delay_seconds=300)),
    Broken("run.probe.timeout", "between two probes", inside("liveness_probe", timeout_seconds=31)),
    Broken(
        "run.probe.liveness", "seconds for a liveness", inside("liveness_probe", initial_delay_seconds=3601)
    ),
    Broken("run.probe.minimum", "failure_threshold", inside("startup_probe", failure_threshold=0)),
    Impossible(
        "run.probe.handlers",
        "the component asks over HTTP alone",
        lambda resources: _probes_ask_over_http(resources),
    ),
    Impossible(
        "run.probe.missing",
        "the component has one",
        always_given([SERVICE], f"{_SERVING}.startupProbe.httpGet"),
    ),
    Broken("run.port.number", "is no port", deployment(port=65_536)),
    Impossible("run.port.name", "the component names it", only([SERVICE], f"{_SERVING}.ports.name", "http1")),
    Broken("run.env.reserved", "the platform sets", env(PORT="8080")),
    Broken("run.env.count", "environment variables", env(**{f"V{i}": "" for i in range(1000)})),
    Broken("run.env.name", "no name of a variable", env(**{"A=B": "x"})),
    Broken("run.env.name_length", "characters in a variable's name", env(**{"x" * 32_769: ""})),
    Broken("run.env.value_length", "bytes in the value of MODEL_NAME", env(MODEL_NAME="x" * 32_769)),
    Broken("run.env.reference", "is the value of CACHE", env(CACHE="$(HOME)/cache")),
    Impossible("run.env.repeated", "a mapping has a name once", lambda found: _names_once(found)),
    Impossible("run.env.source", "the component gives one", _a_variable_has_one_source),
    Broken("run.image.host", "no address of an image", image(url="quay.io/team/serve")),
    Broken("run.image.address", "no address of an image", image(url="us-central1-docker.pkg.dev/acme/serve")),
    Broken("run.image.container_registry", "no address of an image", image(url="eu.gcr.io/acme/serve")),
    Broken("run.image.exists", "image that the plan does not have", deployment(image="torchserve")),
    Broken("run.image.exists", "not in the stack's repository", image(url="us-docker.pkg.dev/a/b/serve")),
    Broken("run.account.exists", "no service account of this stack", inside("account", email=NOBODY)),
    Impossible("run.account.exists", "a workload is made after its account", after(_RUN, ACCOUNT)),
    Impossible("run.volume.source", "a volume is a bucket", _one_volume_of_one_kind_mounted_by_its_name),
    Impossible("run.volume.repeated", "there is one volume", _one_volume_of_one_kind_mounted_by_its_name),
    Broken("run.volume.options", "no mount option", inside("volume", mount_options=("--implicit-dirs",))),
    Broken("run.mount.path", "no path to mount at", inside("volume", mount_path="/mnt:models")),
    Broken("run.mount.reserved", "no path to mount at", inside("volume", mount_path="/proc/models")),
    Impossible(
        "run.mount.volume", "mount and volume have one name", _one_volume_of_one_kind_mounted_by_its_name
    ),
    Impossible(
        "run.volume.gen1",
        "the component names the second generation",
        only([SERVICE], "template.executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2"),
    ),
    Broken("run.volume.bucket", "no bucket of this stack", inside("volume", bucket="nowhere")),
    Impossible("run.volume.access", "a service is made after its grant", after([SERVICE], ON_BUCKET)),
    Broken("run.volume.region", "outside of the region", deployment(location="europe-west4")),
    Broken("run.secret.exists", "the stack has none", foundation(hub_token=None)),
    Impossible("run.secret.version", "a job is made after the secret's version", _token_is_there_first),
    Impossible("run.secret.access", "a job is made after its grant", after([JOB], ON_SECRET)),
]


def _known_limits(resources: Sequence[Registered]) -> None:
    for path in (_SERVING, _STAGING):
        for limits in values(resources, _RUN, f"{path}.resources.limits"):
            assert limits.keys() <= {"cpu", "memory", "nvidia.com/gpu"}


def _names_once(resources: Sequence[Registered]) -> None:
    for path in (_SERVING, _STAGING):
        for each in resources:
            names = list(values([each], _RUN, f"{path}.envs[*].name"))
            assert len(names) == len(set(names))


def _probes_ask_over_http(resources: Sequence[Registered]) -> None:
    for kind in ("startupProbe", "livenessProbe"):
        for probe in values(resources, [SERVICE], f"{_SERVING}.{kind}"):
            assert probe.keys() & {"httpGet", "tcpSocket", "grpc"} == {"httpGet"}
