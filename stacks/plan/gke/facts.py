"""What is known of the servers that run on TPUs, from `data/tpu_servers.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from stacks.plan.facts import Fact, read_table
from stacks.plan.spec import ModelSpec, Strict

JETSTREAM: Final = "jetstream"
VLLM_TPU: Final = "vllm-tpu"


class ServerFacts(Strict):
    """An engine's server: images, ports, and by which figure its load is told."""

    image: Fact[str]
    http_image: Fact[str] | None = None
    """Second container that speaks HTTP for the first."""
    converter_image: Fact[str] | None = None
    http_port: int
    grpc_port: int | None = None
    health_path: str
    warm_up_seconds: Fact[int]
    """What a start takes beside reading the weights: Python, and compiling the model's programs."""
    load_metric: str
    load_target: Fact[int]
    """How much of the metric one replica should have, on average."""
    metrics_flag: Fact[str] | None = None
    """Flag that opens a port for metrics; None where they are on the HTTP port."""


class JetstreamModel(Strict):
    """A model that JetStream-PyTorch has constants for: its flags, and the shape that it must have."""

    name: str
    """`--model_name`."""
    size: str
    """`--size`."""
    d_model: int
    d_ff: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    """Longest sequence of the generation; a model of the same shape with a longer one has rotary embeddings
    that are scaled, which the server's are not."""

    def is_of(self, model: ModelSpec) -> bool:
        """Whether a model has this shape."""
        shape = model.architecture
        return (
            shape.d_model == self.d_model
            and shape.d_ff == self.d_ff
            and shape.decoder_layers == self.layers
            and shape.heads == self.heads
            and shape.kv_heads == self.kv_heads
            and shape.head_dim == self.head_dim
            and shape.vocab == self.vocab
        )


@cache
def servers() -> Mapping[str, ServerFacts]:
    """Reads the servers, by engine."""
    table = read_table("tpu_servers")
    found = {}
    for engine in (JETSTREAM, VLLM_TPU):
        entry = {key: value for key, value in table[engine].items() if key != "models"}
        found[engine] = ServerFacts.model_validate(entry)
    return MappingProxyType(found)


@cache
def jetstream_models() -> Mapping[str, JetstreamModel]:
    """Reads the models that JetStream-PyTorch has, by name and size."""
    table = read_table("tpu_servers")[JETSTREAM]["models"]
    return MappingProxyType(
        {
            name: JetstreamModel.model_validate(entry)
            for name, entry in table.items()
            if isinstance(entry, dict)
        }
    )


@cache
def least_version(accelerator: str) -> Fact[str] | None:
    """Gives the oldest version of GKE that has a generation of TPU; None where any has it."""
    entry = read_table("tpu_servers")["minVersion"].get(accelerator)
    return None if entry is None else Fact[str].model_validate(entry)
