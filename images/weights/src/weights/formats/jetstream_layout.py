"""Names and shapes of JetStream-PyTorch's models, and what config.json has to say for them to be right.

Source: github.com/AI-Hypercomputer/jetstream-pytorch, read at the commits

    b1f3a25  convert_checkpoints.py: names, order of rows
    01d2eef  jetstream_pt/engine.py: what is loaded, and how
    0015e90  jetstream_pt/layers.py, jetstream_pt/third_party/llama/model_exportable.py: shapes, eight bits
    1101f22  jetstream_pt/third_party/llama/model_args.py: constants
    08a1189  jetstream_pt/third_party/gemma/model.py

That converter reads gemma only as Kaggle has it, with q, k and v in one matrix; the layout that it writes is
the one here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from weights.errors import Failure
from weights.tensors import TensorRef

_PREFIX = "model."
_EMBEDDING = "embed_tokens"
_COMPUTED = re.compile(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


class _Rule(NamedTuple):
    """Where a tensor goes.

    Attributes:
        source: Its name in a transformers checkpoint, without prefix, number of the layer and ``.weight``.
        target: Its name here, likewise.
        shape: A letter for each dimension, see ``_lengths``.
        rotated: Whether rotary embeddings go over its rows, which JetStream's llama pairs as neighbours (2i,
            2i + 1) where transformers pairs (i, i + half a head).
    """

    source: str
    target: str
    shape: str
    rotated: bool = False


@dataclass(frozen=True)
class _Family:
    """A model class of JetStream-PyTorch.

    Attributes:
        outer: Tensors outside the layers.
        layer: Tensors of each layer.
        epsilon: Of its norms: a constant there.
        generations: Base of its rotary embeddings to the server's ``--model_name``, which fixes it there.
        dropped: Names that its checkpoints may have beside, because they are tied.
    """

    outer: tuple[_Rule, ...]
    layer: tuple[_Rule, ...]
    epsilon: float
    generations: Mapping[float, str]
    dropped: frozenset[str] = frozenset()


_FAMILIES = {
    "llama": _Family(
        outer=(
            _Rule(_EMBEDDING, "tok_embeddings", "VD"),
            _Rule("norm", "norm", "D"),
            _Rule("lm_head", "output", "VD"),
        ),
        layer=(
            _Rule("self_attn.q_proj", "attention.wq", "QD", rotated=True),
            _Rule("self_attn.k_proj", "attention.wk", "KD", rotated=True),
            _Rule("self_attn.v_proj", "attention.wv", "KD"),
            _Rule("self_attn.o_proj", "attention.wo", "DQ"),
            _Rule("mlp.gate_proj", "feed_forward.w1", "FD"),
            _Rule("mlp.down_proj", "feed_forward.w2", "DF"),
            _Rule("mlp.up_proj", "feed_forward.w3", "FD"),
            _Rule("input_layernorm", "attention_norm", "D"),
            _Rule("post_attention_layernorm", "ffn_norm", "D"),
        ),
        epsilon=1e-5,
        generations={10_000.0: "llama-2", 500_000.0: "llama-3"},
    ),
    "gemma": _Family(
        outer=(_Rule(_EMBEDDING, "embedder", "VD"), _Rule("norm", "norm", "D")),
        layer=(
            _Rule("self_attn.q_proj", "self_attn.wq", "QD"),
            _Rule("self_attn.k_proj", "self_attn.wk", "KD"),
            _Rule("self_attn.v_proj", "self_attn.wv", "KD"),
            _Rule("self_attn.o_proj", "self_attn.o_proj", "DQ"),
            _Rule("mlp.gate_proj", "mlp.gate_proj", "FD"),
            _Rule("mlp.up_proj", "mlp.up_proj", "FD"),
            _Rule("mlp.down_proj", "mlp.down_proj", "DF"),
            _Rule("input_layernorm", "input_layernorm", "D"),
            _Rule("post_attention_layernorm", "post_attention_layernorm", "D"),
        ),
        epsilon=1e-6,
        generations={10_000.0: "gemma"},
        dropped=frozenset({"lm_head.weight"}),
    ),
}


@dataclass(frozen=True)
class Placed:
    """A tensor and what becomes of it.

    Attributes:
        tensor: The source's.
        name: Its name in the layout.
        head: Rows of an attention head, if its rows are to be reordered by ``paired``; 0 otherwise.
        embedding: Whether it is the embedding, whose scales are one for each column.
    """

    tensor: TensorRef
    name: str
    head: int
    embedding: bool


def model_name(config: Mapping[str, Any]) -> str:
    """The server's ``--model_name`` for a checkpoint.

    Args:
        config: Content of config.json.

    Raises:
        Failure: ``unsupported``, for a model that the server would run with other constants or not at all.
    """
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise _refused(f"config.json states model_type {kind!r}, and JetStream's are made of {_known()}")
    family = _FAMILIES[kind]
    epsilon = config.get("rms_norm_eps", 1e-6)
    if epsilon != family.epsilon:
        raise _refused(
            f"config.json states rms_norm_eps {epsilon!r}, JetStream computes with {family.epsilon}"
        )
    rotary: Mapping[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaling = rotary.get("rope_type", rotary.get("type", "default"))
    if scaling != "default":
        raise _refused(f"its rotary embeddings are scaled ({scaling!r}), JetStream's are not")
    base = rotary.get("rope_theta", config.get("rope_theta", 10_000.0))
    if base not in family.generations:
        raise _refused(
            f"its rotary embeddings have base {base!r}, JetStream computes with "
            f"{' or '.join(str(each) for each in family.generations)}"
        )
    return family.generations[base]


def place(config: Mapping[str, Any], tensors: Iterable[TensorRef]) -> list[Placed]:
    """Give every tensor its name, in the order of the checkpoint.

    Args:
        config: Content of config.json, which ``model_name`` has accepted.
        tensors: The checkpoint's.

    Raises:
        Failure: ``unsupported``, for tensors that are missing, too many or of another shape.
    """
    family = _FAMILIES[config["model_type"]]
    lengths = _lengths(config)
    head = lengths.pop("head")
    rules = {f"{rule.source}.weight": (rule, f"{rule.target}.weight") for rule in family.outer}
    for number in range(lengths.pop("layers")):
        for rule in family.layer:
            begin = f"layers.{number}."
            rules[f"{begin}{rule.source}.weight"] = (rule, f"{begin}{rule.target}.weight")
    placed = []
    for tensor in tensors:
        names = [name.removeprefix(_PREFIX) for name in (tensor.name, *tensor.aliases)]
        known = [name for name in names if name in rules]
        for name in known:
            rule, target = rules.pop(name)
            _check_shape(tensor, tuple(lengths[letter] for letter in rule.shape))
            placed.append(Placed(tensor, target, head if rule.rotated else 0, rule.source == _EMBEDDING))
        if not known and not all(name in family.dropped or _COMPUTED.fullmatch(name) for name in names):
            raise _refused(f"it has a tensor {tensor.name!r}, which JetStream's model has not")
    if rules:
        raise _refused(f"it has no tensor {_PREFIX}{next(iter(rules))}, which JetStream's model needs")
    return placed


def _lengths(config: Mapping[str, Any]) -> dict[str, int]:
    """Lengths of dimensions by letter, rows of a head, and the number of layers."""

    def number(key: str, default: int | None = None) -> int:
        value = config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or value < 1:
            raise _refused(f"config.json states {key} {value!r}, and a positive number is needed")
        return value

    hidden, heads = number("hidden_size"), number("num_attention_heads")
    head = number("head_dim", hidden // heads)
    if head % 2:
        raise _refused(f"its attention heads have {head} rows, and an even number is needed")
    return {
        "V": number("vocab_size"),
        "D": hidden,
        "F": number("intermediate_size"),
        "Q": heads * head,
        "K": number("num_key_value_heads", heads) * head,
        "head": head,
        "layers": number("num_hidden_layers"),
    }


def _check_shape(tensor: TensorRef, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise _refused(
            f"tensor {tensor.name!r} has shape {list(tensor.shape)}, config.json implies {list(shape)}"
        )


def _known() -> str:
    return ", ".join(_FAMILIES)


def _refused(why: str) -> Failure:
    return Failure(
        "unsupported",
        f"JetStream-PyTorch cannot serve this checkpoint: {why}; use another server, and the format "
        "safetensors",
    )
