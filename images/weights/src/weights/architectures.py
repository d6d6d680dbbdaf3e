"""Which names a model class of the transformers library gives its tensors.

A checkpoint holds a tied tensor once; the class has it under several names, and a strict load asks for all of
them. Source: ``_tied_weights_keys``, ``base_model_prefix`` and ``_keys_to_ignore_on_load_unexpected`` of the
classes ``…ForConditionalGeneration``, ``…LMHeadModel`` and ``…ForCausalLM`` in transformers 5.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from weights.errors import Failure
from weights.tensors import TensorRef

_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Architecture:
    """The names of one ``model_type``.

    Attributes:
        ties: Name of a tied tensor to the name of the one that it shares its elements with.
        tied: Whether all ties hold when config.json does not say.
        always: Names of ties that hold even if config.json says that none do.
        prefix: What a checkpoint lacks in its names if it was saved without the head.
        dropped: Names of tensors in old checkpoints that the class now computes.
        zeros: Name of a row of zeros that the class makes if a checkpoint lacks it, to the name of the tensor
            that has as many rows as it has elements.
        renamed: Name in checkpoints to the class's, where the library changed it.
    """

    ties: Mapping[str, str]
    tied: bool
    always: tuple[str, ...] = ()
    prefix: str = ""
    dropped: re.Pattern[str] | None = field(default=None)
    zeros: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


_T5_EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_T5 = Architecture(
    dict.fromkeys((*_T5_EMBEDDINGS, _HEAD), "shared.weight"),
    tied=True,
    always=_T5_EMBEDDINGS,
    dropped=re.compile(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"),
)
_BART = Architecture(
    dict.fromkeys(
        ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", _HEAD),
        "model.shared.weight",
    ),
    tied=True,
    prefix="model.",
    dropped=re.compile(r"model\.(en|de)coder\.version"),
    zeros={"final_logits_bias": "model.shared.weight"},
)
_GPT2 = Architecture(
    {_HEAD: "transformer.wte.weight"},
    tied=True,
    prefix="transformer.",
    dropped=re.compile(r"transformer\.h\.\d+\.(attn|crossattention)\.(bias|masked_bias)"),
)
_GPT_NEOX = Architecture(
    {_HEAD: "gpt_neox.embed_in.weight"},
    tied=False,
    prefix="gpt_neox.",
    dropped=re.compile(r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"),
    renamed={"embed_out.weight": _HEAD},
)


def _decoder(*, tied: bool) -> Architecture:
    return Architecture(
        {_HEAD: "model.embed_tokens.weight"},
        tied,
        prefix="model.",
        dropped=re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"),
    )


ARCHITECTURES: dict[str, Architecture] = {
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "bart": _BART,
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "llama": _decoder(tied=False),
    "mistral": _decoder(tied=False),
    "gemma": _decoder(tied=True),
    "gemma2": _decoder(tied=True),
    "gemma3_text": _decoder(tied=True),
    "qwen2": _decoder(tied=False),
    "qwen3": _decoder(tied=False),
}


def class_names(tensors: Iterable[TensorRef], config: Mapping[str, Any]) -> dict[str, TensorRef]:
    """Give every tensor all the names that the model class asks for.

    A tensor that the checkpoint has apart stays apart, even if the class ties it to another one: the library
    does so, too, when the two differ.

    Args:
        tensors: Those of the checkpoint.
        config: Content of config.json.

    Returns:
        Tensor by name, in the order of the checkpoint; tied names follow at the end.

    Raises:
        Failure: ``unsupported``, for a class that is not known here, or a checkpoint that lacks a tensor.
    """
    known = _known(config)
    if known is None:
        kind = config.get("model_type")
        raise Failure(
            "unsupported",
            f"config.json states model_type {kind!r}, whose tied tensors are not known here; a state dict "
            f"can be made of {', '.join(ARCHITECTURES)}; use the format safetensors",
        )
    stored = {name: tensor for tensor in tensors for name in (tensor.name, *tensor.aliases)}
    named = _in_full({known.renamed.get(name, name): tensor for name, tensor in stored.items()}, known)
    _tie(named, known.ties, _derived(known, config))
    for name in (*known.ties, *known.ties.values()):
        if name not in named:
            raise Failure(
                "unsupported",
                f"the checkpoint has no tensor {name}, which its class needs and cannot derive: it was saved "
                "without its language model head, or is not whole; use another revision or repository",
            )
    return named


def zero_tensors(named: Mapping[str, TensorRef], config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape by name of the tensors of zeros that the class has and the checkpoint lacks.

    Args:
        named: As ``class_names`` gives them.
        config: Content of config.json.

    Raises:
        Failure: ``unsupported``, if the tensor that gives the length is no matrix.
    """
    known = _known(config)
    zeros = {name: named[like] for name, like in (known.zeros if known else {}).items() if name not in named}
    for like in zeros.values():
        # An empty one costs a file nothing, however many rows it has.
        if len(like.shape) != 2 or not like.elements:
            raise Failure(
                "unsupported", f"tensor {like.name!r} has shape {list(like.shape)} and is no embedding"
            )
    return {name: (1, like.shape[0]) for name, like in zeros.items()}


def derived_names(config: Mapping[str, Any]) -> frozenset[str]:
    """Names that a checkpoint may leave out, since the model class gives them the elements of another tensor.

    Args:
        config: Content of config.json; of a class that is not known here, no names are.
    """
    known = _known(config)
    if known is None:
        return frozenset()
    return frozenset(_derived(known, config))


def _known(config: Mapping[str, Any]) -> Architecture | None:
    kind = config.get("model_type")
    return ARCHITECTURES.get(kind) if isinstance(kind, str) else None


def _derived(known: Architecture, config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(known.ties) if config.get("tie_word_embeddings", known.tied) else known.always


def _in_full(named: dict[str, TensorRef], known: Architecture) -> dict[str, TensorRef]:
    """Put the prefix before names that lack it, and leave out what the class computes."""
    if known.prefix and not any(name.startswith(known.prefix) for name in named):
        above = {_HEAD, *known.zeros}
        named = {name if name in above else known.prefix + name: tensor for name, tensor in named.items()}
    dropped = known.dropped
    return {name: tensor for name, tensor in named.items() if not (dropped and dropped.fullmatch(name))}


def _tie(named: dict[str, TensorRef], ties: Mapping[str, str], derived: Collection[str]) -> None:
    """Give each group of tied names that lacks some the first of the tensors that it has."""
    for shared in dict.fromkeys(ties.values()):
        group = [shared, *(name for name in derived if ties[name] == shared)]
        found = next((named[name] for name in group if name in named), None)
        if found is not None:
            named |= {name: found for name in group if name not in named}
