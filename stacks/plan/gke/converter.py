"""Google's published converter in place of our own conversion: a job that runs its image.

Our own job stages the model as safetensors first, so that revision and bytes are known and no Hub token gets
into an image that nobody here has built. What the converter makes of them lies beside, unverified.

The image's entry point is a script (github.com/GoogleCloudPlatform/ai-on-gke as it was in 2024,
tutorials-and-examples/inference-servers/checkpoints/checkpoint_converter.sh). What `-i` names it finds below
the mounted bucket that `-m` names, and takes for Meta's own files. The layout of transformers it reads only
where it has downloaded that itself, with a token and without a revision; one line of it is changed for that.
It clones JetStream-PyTorch's release, installs that, runs its `convert_checkpoints.py`, and copies the
checkpoint and the tokenizer to `-o`. Of the checkpoint this job can say no more than that it is large enough.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Final

from stacks.plan.gke import nodes
from stacks.plan.gke.facts import JETSTREAM, jetstream_models, servers
from stacks.plan.gke.identity import CONVERTER
from stacks.plan.gke.jobs import job
from stacks.plan.gke.manifests import Manifest
from stacks.plan.gke.server import QUANTIZE_TYPE
from stacks.plan.gke.storage import VOLUME, fuse_annotations, mounted_bucket
from stacks.plan.hardware import compute_machines
from stacks.plan.quantity import GIB, MIB, human
from stacks.plan.report import Report
from stacks.plan.spec import ModelSpec
from stacks.plan.staging import JETSTREAM_INT8, SAFETENSORS, Form
from stacks.plan.types_converter import ConverterPlan
from stacks.plan.types_gke import IdentityPlan
from stacks.plan.types_weights import StagedModelPlan

if TYPE_CHECKING:
    from stacks.config_gke import GkeTpuDeployment
    from stacks.plan.gke.serving import Serving
    from stacks.plan.gke.workload import Workload

SOURCE_FORM: Final = Form(SAFETENSORS, "bfloat16")
"""What it is given: the layout of transformers, in the element type that JetStream computes in."""
SCRIPT: Final = "/usr/bin/checkpoint_converter.sh"

_MOUNT = "/models"
_COMMAND = """\
grep -q 'HUGGINGFACE="False"' {script} || {{ echo 'not the converter that is known'; exit 1; }}
sed 's|HUGGINGFACE="False"|HUGGINGFACE="True"|; s|LOCAL}}/tokenizer.model|LOCAL}}/{tokenizer}|' \\
    {script} > {changed}
bash {changed} "$@"
find {checkpoint} -size +{least}c | grep -q . || {{ echo 'the checkpoint lacks tensors'; exit 1; }}
"""
_CHANGED = "/tmp/converter.sh"  # noqa: S108 - in its own container
_CHECKPOINT = "/pt-ckpt/model.safetensors"
"""What the script copies to `-o`, where it has written it."""
_LEAST_PERCENT = 90
"""How large it is at least, of what is computed: one that reads nothing ends well, and writes little."""
_TOKENIZERS = {"llama-2": "tokenizer.model", "llama-3": "original/tokenizer.model"}
"""Where the models that it reads have their vocabulary in the layout of transformers, by `--model_name`."""

_PROCESS_BYTES = 4 * GIB
"""Python with PyTorch and JAX, beside the weights. Assumed."""
_PROGRAM_BYTES = 20 * GIB
"""The program that it installs when it runs. Assumed."""
_SETUP_SECONDS = 3600
_BYTES_PER_SECOND = 25 * MIB
"""Reading, converting and writing together. Assumed, on the slow side."""
_RETRIES = 1


def is_wanted(config: GkeTpuDeployment, serving: Serving, path: str, report: Report) -> bool:
    """Says whether Google's converter writes the checkpoint, and reports where it cannot.

    Args:
        config: what a person wrote.
        serving: what runs on the slice.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
    """
    if config.weights.converter != "published":
        return False
    reason = None
    if serving.engine != JETSTREAM:
        reason = f"writes checkpoints for {JETSTREAM}, and {serving.engine} reads what is staged"
    elif config.weights.volume == "disk":
        reason = "writes no manifest, and a disk is filled with what can be verified against one"
    if reason is not None:
        report.problem(
            f"{path}.weights.converter",
            config.weights.converter,
            reason,
            "leave it out, or set engine: jetstream and volume: mount",
        )
    return reason is None


def plan_converter(
    model: ModelSpec,
    serving: Serving,
    staged: StagedModelPlan,
    source_bytes: int,
    identity: IdentityPlan,
    cpu_machine: str,
    path: str,
    report: Report,
) -> ConverterPlan:
    """Plans the job.

    Args:
        model: what is converted.
        serving: what reads the checkpoint.
        staged: what the job reads, in `SOURCE_FORM`.
        source_bytes: how much that is.
        identity: whom its pods are.
        cpu_machine: machine type of the nodes that it may run on.
        path: path of the deployment in the stack file.
        report: receives what is wrong, and what is doubtful.
    """
    image, form = _image(), serving.form.format
    known = next((one.name for one in jetstream_models().values() if one.is_of(model)), "")
    _check_model(known, path, report)
    _warn(image, form, path, report)
    memory = -(-(2 * source_bytes + _PROCESS_BYTES) // GIB) * GIB
    _check_machine(cpu_machine, memory, path, report)
    tokenizer = _TOKENIZERS.get(known, "tokenizer.model")
    script = _COMMAND.format(
        script=SCRIPT,
        changed=_CHANGED,
        tokenizer=tokenizer,
        checkpoint=_CHECKPOINT,
        least=serving.weights_bytes * _LEAST_PERCENT // 100,
    )
    inputs = f"{image} {script} {staged.uri} {known} {form}"
    content = hashlib.sha256(inputs.encode()).hexdigest()[:8]
    folder = staged.prefix.rstrip("/").rpartition("/")[0]
    prefix = f"{folder}/published-{form}-{content}/"
    return ConverterPlan(
        image=image,
        job_name=f"convert-{content}",
        command=("bash", "-euc", script, CONVERTER),
        args=_arguments(known, form, staged, prefix),
        format=form,
        prefix=prefix,
        memory=memory,
        scratch=source_bytes + _PROGRAM_BYTES,
        deadline_seconds=_SETUP_SECONDS + math.ceil(source_bytes / _BYTES_PER_SECOND),
        identity=identity,
    )


def converter_job(work: Workload, converter: ConverterPlan) -> Manifest:
    """Writes the job.

    Its image runs as root and installs what it needs, so its file system stays writable.
    """
    pod = {
        "serviceAccountName": converter.identity.kubernetes_account,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": CONVERTER,
                "image": converter.image,
                "command": list(converter.command),
                "args": list(converter.args),
                "resources": _resources(converter),
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": VOLUME, "mountPath": _MOUNT, "readOnly": True}],
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
        "volumes": mounted_bucket(work.staged.bucket, 0),
    }
    return job(
        work,
        converter.job_name,
        CONVERTER,
        pod,
        fuse_annotations(0),
        retries=_RETRIES,
        seconds=converter.deadline_seconds,
    )


def _image() -> str:
    found = servers()[JETSTREAM].converter_image
    if found is None:
        raise ValueError(f"{JETSTREAM} has no converterImage in tpu_servers.yaml")
    return found.value


def _arguments(name: str, form: str, staged: StagedModelPlan, prefix: str) -> tuple[str, ...]:
    quantised = form == JETSTREAM_INT8
    return (
        "-s=jetstream-pytorch",
        f"-m={_MOUNT}",
        f"-n={name}",
        f"-i={staged.uri}/",
        f"-o=gs://{staged.bucket}/{prefix}",
        f"-q={quantised}",
        *((f"-t={QUANTIZE_TYPE}",) if quantised else ()),
    )


def _resources(converter: ConverterPlan) -> Manifest:
    memory, disk = f"{converter.memory // GIB}Gi", f"{-(-converter.scratch // GIB)}Gi"
    return {
        "requests": {"cpu": "1", "memory": memory, "ephemeral-storage": disk},
        "limits": {"memory": memory, "ephemeral-storage": disk},
    }


def _check_model(name: str, path: str, report: Report) -> None:
    # A model that JetStream does not have at all is reported where the engine is chosen.
    if name and name not in _TOKENIZERS:
        report.problem(
            f"{path}.weights.converter",
            "published",
            f"reads {name} as one *.ckpt, and not in the layout of transformers",
            "leave it out: this project's own image converts it",
        )


def _check_machine(name: str, memory: int, path: str, report: Report) -> None:
    """Reports nodes that are too small; what is no machine type at all is reported with the cluster."""
    machine = compute_machines().get(name)
    if machine is None or machine.accelerator or nodes.memory_for_pods(machine) >= memory:
        return
    larger = nodes.smallest_machine(memory)
    report.problem(
        "llm:cluster.cpuPool.machine",
        name,
        f"leaves a pod {human(max(nodes.memory_for_pods(machine), 0))}, and {path}.weights.converter: "
        f"published needs {human(memory)}, since it holds the checkpoint twice",
        f"use {larger.name}, or leave converter out: the own conversion needs 256 MiB"
        if larger
        else "leave converter out: the own conversion needs 256 MiB, and no machine here holds this one",
    )


def _warn(image: str, form: str, path: str, report: Report) -> None:
    report.warn(
        f"{path}.weights.converter: nobody verifies what {image} writes: its source was deleted, it fetches "
        "its program when it runs, and no manifest says that its checkpoint is whole; it may write to the "
        "stack's bucket, and was not run here (unconfirmed). Left out, the own image converts, verified"
    )
    if form == JETSTREAM_INT8:
        report.warn(
            f"{path}.dtype: the converter's program, as far as it is known, does not quantise the layout of "
            "transformers (unconfirmed); its job then fails, before any slice is made"
        )
