"""The variables of a T5 as CTranslate2 names them, and which tensors of the checkpoint they come from.

Queries, keys and values of a self-attention are the rows of one matrix, and so are keys and values of a
cross-attention. What several variables share is stored under the name that sorts first, and the others are
aliases: the embeddings, a tied head, and the attention bias, which T5 has in the first layer for all of them.

Source: ``T5Loader`` in github.com/OpenNMT/CTranslate2, python/ctranslate2/converters/transformers.py, and
python/ctranslate2/specs/transformer_spec.py, attention_spec.py and common_spec.py, 4.8.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from struct import pack
from typing import Any, NamedTuple

from weights.errors import Failure
from weights.tensors import TensorRef

# Values of ``Activation`` in common_spec.py, by the names that transformers gives the functions.
_ACTIVATIONS = {"relu": 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "silu": 2, "swish": 2, "gelu": 3}

# Variables with a row for each token, in the order of their names.
_EMBEDDINGS = {
    "decoder/embeddings/weight": "decoder.embed_tokens.weight",
    "decoder/projection/weight": "lm_head.weight",
    "encoder/embeddings_0/weight": "encoder.embed_tokens.weight",
}

_MOST = 2**31 - 1  # of any length
_MOST_HEADS = 2**15 - 1  # which is stored in 16 bits
_MOST_LAYERS = (
    10_000  # of which a config.json may make us think; the largest models have fewer than a hundred
)

EPSILON = 1e-6  # of the norms, which CTranslate2 computes with unless its configuration states another


class Source(NamedTuple):
    """A tensor of the checkpoint: its name and the shape that config.json implies."""

    name: str
    shape: tuple[int, ...]


class Scalar(NamedTuple):
    """A number that is a variable: its element type, as safetensors names it, and its bytes."""

    dtype: str
    content: bytes


@dataclass
class Layout:
    """What the file consists of, by name.

    Attributes:
        scalars: Numbers.
        weights: Matrices of linear layers and embeddings, which have a scale for each row if they are
            quantised; of several sources the rows follow one another.
        others: Norms and attention biases, which are never quantised.
        aliases: Other names of weights or others.
    """

    scalars: dict[str, Scalar] = field(default_factory=dict)
    weights: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    others: dict[str, Source] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class T5:
    """What config.json says of a T5, with the library's values for what it leaves out.

    Attributes:
        rows: Of the embeddings.
        width: Of the layers (``d_model``).
        attention: Rows of queries, keys and values, all heads together.
        inner: Width of the feed-forward layers.
        heads: Attention heads.
        encoder: Layers of the encoder.
        decoder: Layers of the decoder.
        buckets: Of the attention bias.
        distance: Beyond which all distances have the last bucket.
        activation: Number that CTranslate2 gives the activation function.
        gated: Whether the feed-forward layers have a gate.
        scaled: Whether the decoder's outputs are divided by the root of the width before the head.
        epsilon: Of the norms.
    """

    rows: int
    width: int
    attention: int
    inner: int
    heads: int
    encoder: int
    decoder: int
    buckets: int
    distance: int
    activation: int
    gated: bool
    scaled: bool
    epsilon: float


def read_config(config: Mapping[str, Any]) -> T5:
    """Read config.json of a T5. Source of what it may leave out: ``T5Config`` in transformers 5.

    Raises:
        Failure: ``unsupported``, for another model, or numbers and functions that CTranslate2 has not.
    """
    kind = config.get("model_type")
    if kind != "t5":
        raise refused(f"config.json states model_type {kind!r}, and the format ctranslate2 is made of t5")
    if "quantization_config" in config:
        raise refused("the checkpoint is quantised already", "use a repository of the original weights")
    function, gated = _feed_forward(config)
    layers = _whole(config, "num_layers", 6, _MOST_LAYERS)
    heads = _whole(config, "num_heads", 8, _MOST_HEADS)
    # transformers 5 ties the head of every T5, and keeps under another name what tie_word_embeddings meant.
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return T5(
        rows=_whole(config, "vocab_size", 32128),
        width=_whole(config, "d_model", 512),
        attention=heads * _whole(config, "d_kv", 64),
        inner=_whole(config, "d_ff", 2048),
        heads=heads,
        encoder=layers,
        decoder=_whole(config, "num_decoder_layers", layers, _MOST_LAYERS),
        buckets=_whole(config, "relative_attention_num_buckets", 32),
        distance=_whole(config, "relative_attention_max_distance", 128),
        activation=_ACTIVATIONS[function],
        gated=gated,
        scaled=bool(scaled),
        epsilon=_epsilon(config),
    )


def _whole(config: Mapping[str, Any], key: str, default: int, most: int = _MOST) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise refused(f"config.json states {key} {value!r}, and a whole number from 1 to {most} is needed")
    return value


def _feed_forward(config: Mapping[str, Any]) -> tuple[str, bool]:
    stated = config.get("feed_forward_proj", "relu")
    gate, _, function = str(stated).rpartition("-")
    if stated == "gated-gelu":  # which T5 v1.1 approximates
        function = "gelu_new"
    function = config.get("dense_act_fn", function)
    if gate not in ("", "gated") or not isinstance(function, str) or function not in _ACTIVATIONS:
        raise refused(f"config.json states feed_forward_proj {stated!r}, which CTranslate2 does not compute")
    return function, bool(config.get("is_gated_act", gate))


def _epsilon(config: Mapping[str, Any]) -> float:
    epsilon = config.get("layer_norm_epsilon", EPSILON)
    if not isinstance(epsilon, float) or not isfinite(epsilon) or epsilon <= 0:
        raise refused(f"config.json states layer_norm_epsilon {epsilon!r}, and a positive number is needed")
    return epsilon


def t5_layout(model: T5, tensors: Mapping[str, TensorRef]) -> Layout:
    """All variables of a T5.

    Args:
        model: What config.json says.
        tensors: The checkpoint's, under all the names that the model class gives them: they tell whether the
            embeddings and the head are one.
    """
    layout = Layout()
    stored: dict[TensorRef, str] = {}
    for variable, name in _EMBEDDINGS.items():
        first = stored.setdefault(tensors[name], variable)
        if first == variable:
            layout.weights[variable] = (Source(name, (model.rows, model.width)),)
        else:
            layout.aliases[variable] = first
    layout.scalars |= _encoder_scalars(model) | _decoder_scalars(model)
    for stack, count in (("encoder", model.encoder), ("decoder", model.decoder)):
        layout.others[f"{stack}/layer_norm/gamma"] = Source(
            f"{stack}.final_layer_norm.weight", (model.width,)
        )
        for number in range(count):
            _add_layer(layout, model, stack, number)
    return layout


def _encoder_scalars(model: T5) -> dict[str, Scalar]:
    return {
        "encoder/activation": _int8(model.activation),
        "encoder/embeddings_merge": _int8(0),
        "encoder/multi_query_attention": _int8(0),
        "encoder/num_heads": _int16(model.heads),
        "encoder/pre_norm": _int8(1),
        "encoder/scale_embeddings": _int8(0),
    }


def _decoder_scalars(model: T5) -> dict[str, Scalar]:
    scalars = {
        "decoder/activation": _int8(model.activation),
        "decoder/alibi": _int8(0),
        "decoder/alibi_use_positive_positions": _int8(0),
        "decoder/alignment_heads": _int16(1),
        "decoder/alignment_layer": _int16(-1),
        "decoder/num_heads": _int16(model.heads),
        "decoder/pre_norm": _int8(1),
        "decoder/scale_alibi": _int8(0),
        "decoder/scale_embeddings": _int8(0),
        "decoder/start_from_zero_embedding": _int8(0),
    }
    if model.scaled:
        scalars["decoder/scale_outputs"] = _float32(model.width**-0.5)
    return scalars


def _add_layer(layout: Layout, model: T5, stack: str, number: int) -> None:
    """A layer of the encoder or decoder: self-attention, of the decoder cross-attention, and feed-forward."""
    target, source = f"{stack}/layer_{number}", f"{stack}.block.{number}.layer"
    attention = f"{target}/self_attention"
    _add_attention(layout, model, attention, (f"{source}.0", "SelfAttention"), ("qkv",))
    layout.scalars[f"{attention}/relative_attention_max_distance"] = _int32(model.distance)
    bias = f"{stack}/layer_0/self_attention/relative_attention_bias"
    if number:
        layout.aliases[f"{attention}/relative_attention_bias"] = bias
    else:
        name = f"{source}.0.SelfAttention.relative_attention_bias.weight"
        layout.others[bias] = Source(name, (model.buckets, model.heads))
    last = 1
    if stack == "decoder":
        last = 2
        _add_attention(layout, model, f"{target}/attention", (f"{source}.1", "EncDecAttention"), ("q", "kv"))
    _add_feed_forward(layout, model, f"{target}/ffn", f"{source}.{last}")


def _add_attention(
    layout: Layout, model: T5, target: str, place: tuple[str, str], fused: tuple[str, ...]
) -> None:
    """An attention; each of ``fused`` names the matrices that are the rows of one linear layer."""
    layer, attention = place
    for number, letters in enumerate(fused):
        layout.weights[f"{target}/linear_{number}/weight"] = tuple(
            Source(f"{layer}.{attention}.{letter}.weight", (model.attention, model.width))
            for letter in letters
        )
    output = Source(f"{layer}.{attention}.o.weight", (model.width, model.attention))
    layout.weights[f"{target}/linear_{len(fused)}/weight"] = (output,)
    layout.others[f"{target}/layer_norm/gamma"] = Source(f"{layer}.layer_norm.weight", (model.width,))
    layout.scalars[f"{target}/queries_scale"] = _float32(1.0)


def _add_feed_forward(layout: Layout, model: T5, target: str, layer: str) -> None:
    names = {"linear_0": "wi_0", "linear_0_noact": "wi_1"} if model.gated else {"linear_0": "wi"}
    for linear, name in names.items():
        layout.weights[f"{target}/{linear}/weight"] = (
            Source(f"{layer}.DenseReluDense.{name}.weight", (model.inner, model.width)),
        )
    layout.weights[f"{target}/linear_1/weight"] = (
        Source(f"{layer}.DenseReluDense.wo.weight", (model.width, model.inner)),
    )
    layout.others[f"{target}/layer_norm/gamma"] = Source(f"{layer}.layer_norm.weight", (model.width,))


def _int8(value: int) -> Scalar:
    return Scalar("I8", pack("<b", value))


def _int16(value: int) -> Scalar:
    return Scalar("I16", pack("<h", value))


def _int32(value: int) -> Scalar:
    return Scalar("I32", pack("<i", value))


def _float32(value: float) -> Scalar:
    return Scalar("F32", pack("<f", value))


def refused(why: str, remedy: str = "use the format safetensors and the engine transformers") -> Failure:
    """What to raise for a checkpoint that cannot be written so."""
    return Failure("unsupported", f"CTranslate2 cannot serve this checkpoint: {why}; {remedy}")
