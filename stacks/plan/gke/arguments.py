"""Flags of an engine that a person adds to those that the plan decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stacks.plan.gke.facts import JETSTREAM, VLLM_TPU
from stacks.plan.report import Report

_KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    JETSTREAM: {
        "model-name": "model",
        "size": "model",
        "tokenizer-path": "model",
        "checkpoint-path": "model",
        "batch-size": "server.batchSize",
        "max-cache-length": "server.maxCacheLength",
        "quantize-weights": "dtype",
        "quantize-type": "dtype",
        "quantize-kv-cache": "server.quantizeKvCache",
        "shard-on-batch": "server.shardOnBatch",
        "threads": "server.threads",
        "prometheus-port": "server.metricsPort",
        "port": "engine",
    },
    VLLM_TPU: {
        "model": "model",
        "tokenizer": "model",
        "served-model-name": "model",
        "dtype": "dtype",
        "quantization": "dtype",
        "tensor-parallel-size": "tpu.topology",
        "pipeline-parallel-size": "tpu.topology",
        "data-parallel-size": "tpu.topology",
        "max-model-len": "server.maxCacheLength",
        "max-num-seqs": "server.batchSize",
        "max-num-batched-tokens": "server.maxBatchedTokens",
        "enable-prefix-caching": "server.prefixCaching",
        "host": "engine",
        "port": "engine",
    },
}
"""Key of the deployment that decides each flag. Names stand here with `-`, also where the engine writes `_`,
and without what turns a switch off: `no` for jetstream, `no-` for vLLM."""
_SECRET: Final = frozenset({"api-key", "hf-token"})
"""Flags whose value nobody but the server should read."""


def check_arguments(arguments: tuple[str, ...], engine: str, path: str, report: Report) -> None:
    """Reports flags that another key decides, or that would lie open in the stack file and in the cluster.

    Args:
        arguments: what a person wrote.
        engine: what reads them.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
    """
    for number, argument in enumerate(arguments):
        flag = argument.partition("=")[0]
        where, name = f"{path}.server.arguments[{number}]", flag.removeprefix("--").replace("_", "-")
        key = _deciding(name, _KEYS[engine])
        if not argument.startswith("--"):
            report.problem(where, argument, "is not a flag", "write --NAME=VALUE")
        elif name in _SECRET:
            report.problem(
                where,
                flag,
                "is a secret, which everybody would read who reads the stack file or the pod",
                f"leave {flag} out: who may ask is for access to say, and weights come without the Hub",
            )
        elif key is not None:
            report.problem(where, argument, f"follows from {key} already", f"leave {flag} out")


def _deciding(name: str, keys: Mapping[str, str]) -> str | None:
    """Finds the key that decides a flag, also by the flag's opposite."""
    opposite = name.removeprefix("no").removeprefix("-")
    return keys.get(name) or keys.get(opposite)
