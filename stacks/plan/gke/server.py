"""How the server of a replica is started: image, flags, paths, ports and probes.

What is loaded follows from the plan of what writes it alone, so that server and job cannot mean two places.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from stacks.plan.gke.arguments import check_arguments
from stacks.plan.gke.facts import JETSTREAM, ServerFacts, jetstream_models, servers
from stacks.plan.gke.manifests import Manifest
from stacks.plan.gke.serving import Serving
from stacks.plan.quantity import MIB
from stacks.plan.report import Report
from stacks.plan.spec import ModelSpec
from stacks.plan.types_converter import ConverterPlan
from stacks.plan.types_gke import TpuServerPlan
from stacks.plan.types_weights import StagedModelPlan

if TYPE_CHECKING:
    from stacks.config_gke import TpuServer

MOUNT_PATH: Final = "/models"
"""Where the bucket, or the disk that has the same folders, is in the server's container."""
CHECKPOINT: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.model"
"""The two files of the staged formats jetstream and jetstream-int8."""
QUANTIZE_TYPE: Final = "int8_per_channel"
"""How the staged format jetstream-int8 is quantised: one scale for each row."""

MOUNT_BYTES_PER_SECOND = 100 * MIB
"""How fast a node reads a mounted bucket or disk. Assumed, on the slow side."""
_MARGIN = 2
_SHORTEST_WINDOW = 3090
"""What Google's manifest of JetStream waits (github.com/GoogleCloudPlatform/kubernetes-engine-samples)."""

DRAIN_SECONDS: Final = 15
"""How long a pod that goes still answers while others learn of it."""
GRACE_SECONDS: Final = 135
"""How long a pod has to go: draining, and two minutes for the answers that it is giving."""

_PERIOD = 10


def plan_server(
    config: TpuServer,
    model: ModelSpec,
    serving: Serving,
    loaded: StagedModelPlan | ConverterPlan,
    weights_bytes: int,
    path: str,
    report: Report,
) -> TpuServerPlan:
    """Plans the server.

    Args:
        config: what a person wrote.
        model: what is served.
        serving: what runs on the slice.
        loaded: what it loads: what is staged, or what Google's converter makes of it.
        weights_bytes: what a start reads.
        path: path of the deployment in the stack file.
        report: receives what is wrong, and what is doubtful.
    """
    facts = servers()[serving.engine]
    folder = f"{MOUNT_PATH}/{loaded.prefix.rstrip('/')}"
    _warn(facts, config, serving.engine, path, report)
    _check_ports(facts, config, path, report)
    check_arguments(config.arguments, serving.engine, path, report)
    jetstream = serving.engine == JETSTREAM
    if jetstream:
        checkpoint, tokenizer = f"{folder}/{CHECKPOINT}", f"{folder}/{TOKENIZER}"
        args = _jetstream(config, model, serving, facts, checkpoint, tokenizer)
    else:
        checkpoint, tokenizer = folder, None
        args = _vllm(config, serving, folder, model.repository, facts)
    load = facts.warm_up_seconds.value + math.ceil(weights_bytes / MOUNT_BYTES_PER_SECOND)
    return TpuServerPlan(
        image=config.image or facts.image.value,
        command=() if jetstream else ("python3", "-m", "vllm.entrypoints.openai.api_server"),
        http_image=(config.http_image or facts.http_image.value) if facts.http_image else None,
        args=(*args, *config.arguments),
        mount_path=MOUNT_PATH,
        checkpoint_path=checkpoint,
        tokenizer_path=tokenizer,
        http_port=facts.http_port,
        grpc_port=facts.grpc_port,
        metrics_port=_metrics_port(config, facts),
        health_path=facts.health_path,
        api="jetstream" if jetstream else "openai",
        batch_size=serving.batch_size,
        max_input_tokens=serving.tokens.max_input,
        max_new_tokens=serving.tokens.max_new,
        load_seconds=load,
        startup_seconds=max(_MARGIN * load, _SHORTEST_WINDOW),
    )


def probes(server: TpuServerPlan) -> Manifest:
    """Writes the probes of the server's container.

    JetStream's HTTP front asks the server itself, so the pod's one health address speaks for both containers.
    A server under full load answers late, and a restart costs minutes: liveness waits for ten of them.
    """
    health = {"path": server.health_path, "port": server.http_port}
    return {
        "startupProbe": {
            "httpGet": health,
            "periodSeconds": _PERIOD,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(server.startup_seconds / _PERIOD),
        },
        "readinessProbe": {
            "httpGet": health,
            "periodSeconds": _PERIOD,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": health,
            "periodSeconds": 60,
            "timeoutSeconds": 30,
            "failureThreshold": 10,
        },
    }


def flag(args: tuple[str, ...], name: str) -> str | None:
    """Reads the value of a flag `--NAME=VALUE`; None where it is not given."""
    found = [arg.partition("=")[2] for arg in args if arg.partition("=")[0] == f"--{name}"]
    return found[-1] if found else None


def _jetstream(
    config: TpuServer,
    model: ModelSpec,
    serving: Serving,
    facts: ServerFacts,
    checkpoint: str,
    tokenizer: str,
) -> tuple[str, ...]:
    # One that it does not have is reported where the engine is chosen, and stops the plan.
    known = next((one for one in jetstream_models().values() if one.is_of(model)), None)
    quantised = serving.dtype == "int8"
    return (
        *((f"--model_name={known.name}", f"--size={known.size}") if known else ()),
        f"--batch_size={serving.batch_size}",
        f"--max_cache_length={serving.tokens.max_input + serving.tokens.max_new}",
        f"--quantize_weights={quantised}",
        *((f"--quantize_type={QUANTIZE_TYPE}",) if quantised else ()),
        f"--quantize_kv_cache={config.quantize_kv_cache}",
        f"--tokenizer_path={tokenizer}",
        f"--checkpoint_path={checkpoint}",
        *(("--shard_on_batch=True",) if config.shard_on_batch else ()),
        *((f"--threads={config.threads}",) if config.threads else ()),
        f"--port={facts.grpc_port}",
        *_metrics_args(config, facts),
    )


def _metrics_args(config: TpuServer, facts: ServerFacts) -> tuple[str, ...]:
    if facts.metrics_flag is None or config.metrics_port is None:
        return ()
    return (f"--{facts.metrics_flag.value}={config.metrics_port}",)


def _vllm(
    config: TpuServer, serving: Serving, folder: str, repository: str, facts: ServerFacts
) -> tuple[str, ...]:
    caching = {None: (), True: ("--enable-prefix-caching",), False: ("--no-enable-prefix-caching",)}
    batched = config.max_batched_tokens
    return (
        f"--model={folder}",
        f"--served-model-name={repository}",
        f"--dtype={serving.dtype}",
        f"--tensor-parallel-size={serving.part.chips}",
        f"--max-model-len={serving.tokens.max_input + serving.tokens.max_new}",
        f"--max-num-seqs={serving.batch_size}",
        *((f"--max-num-batched-tokens={batched}",) if batched else ()),
        *caching[config.prefix_caching],
        "--host=0.0.0.0",
        f"--port={facts.http_port}",
    )


def _metrics_port(config: TpuServer, facts: ServerFacts) -> int | None:
    if facts.metrics_flag is None:
        return facts.http_port
    return config.metrics_port


def _check_ports(facts: ServerFacts, config: TpuServer, path: str, report: Report) -> None:
    """Reports metrics on a port that one of the pod's containers has already."""
    taken = {facts.http_port: "HTTP", facts.grpc_port: "gRPC"}
    port = config.metrics_port
    if facts.metrics_flag is not None and port is not None and port in taken:
        report.problem(
            f"{path}.server.metricsPort",
            port,
            f"is the port of {taken[port]} requests: containers of a pod share their ports",
            "write another one, for instance 9100",
        )


def _warn(facts: ServerFacts, config: TpuServer, engine: str, path: str, report: Report) -> None:
    if config.image is None and not facts.image.confirmed:
        report.warn(
            f"{path}.server.image: {facts.image.value} is {engine}'s image as far as is known (unconfirmed)"
        )
    given = facts.metrics_flag
    if given is not None and not given.confirmed and config.metrics_port and config.image is None:
        report.warn(
            f"{path}.server.metricsPort: whether {facts.image.value} knows --{given.value} is unconfirmed; "
            "leave it out where the server does not start with it"
        )
