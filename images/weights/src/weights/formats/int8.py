"""Safetensors with weights in eight bits, as the compressed-tensors library loads them (transformers, vLLM).

Only the matrices of linear layers inside the blocks are quantised, with one scale for each output channel and
none for activations (W8A16); embeddings, the head, norms and biases are in the floating-point type asked for,
and so are the scales. The layout is compressed-tensors' ``pack-quantized``, what it infers for weights of
8 bits without quantised activations: for a matrix ``X.weight`` of shape [out, in] there are

    X.weight_packed  I32 [out, in / 4]  integers plus 128, four in a word, the first in its lowest byte
    X.weight_scale   of the type asked for, [out, 1]
    X.weight_shape   I64 [2]            out, in

A restored weight differs from the source's by at most half its channel's scale; see ``weights.quantise``.
Source: github.com/vllm-project/compressed-tensors 0.20, compressors/pack_quantized, quantization/quant_args.
"""

import json
import re
from collections.abc import Mapping
from struct import pack
from typing import Any

from weights.architectures import derived_names
from weights.companions import CONFIG, beside
from weights.errors import Failure
from weights.formats.repacked import stored_names
from weights.manifest import Request
from weights.model_config import typed_config
from weights.output import Literal, OutputFile, literal_file, new_recipe
from weights.quantise import SOURCES, Quantised
from weights.quantised_file import ALIGNMENT, Entry, Scales, arrange, kept, safetensors_segments
from weights.selection import INDEX
from weights.tensors import CODES, Checkpoint, TensorRef
from weights.weights_files import new_index, shard_name

_PER_WORD = 4
_OFFSET = 128

_DECODER = r"(model\.)?layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight"
_T5 = r"(en|de)coder\.block\.\d+\.layer\.\d\.(\w+Attention\.[qkvo]|DenseReluDense\.w(i|i_0|i_1|o))\.weight"

# Matrices of linear layers by model_type, under the names that checkpoints give them.
# Source: the classes' modules in transformers 5; gpt2 is left out, its layers are Conv1D and not Linear.
_LINEAR = {
    "llama": _DECODER,
    "mistral": _DECODER,
    "gemma": _DECODER,
    "gemma2": _DECODER,
    "gemma3_text": _DECODER,
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "bart": r"(model\.)?(en|de)coder\.layers\.\d+\.((self|encoder)_attn\.(q|k|v|out)_proj|fc[12])\.weight",
    "gpt_neox": r"(gpt_neox\.)?layers\.\d+\.(attention\.(query_key_value|dense)|mlp\.dense_\w+)\.weight",
}

# Classes whose weights transformers has to restore while it loads, not at the first forward pass: generation
# begins with their encoder alone, which does not trigger that, and T5's initialisation looks at the weights
# (transformers 5, ``GenerationMixin`` and ``T5PreTrainedModel._init_weights``).
_RESTORED = frozenset({"t5", "mt5", "umt5", "bart"})


def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]:
    """Plan the checkpoint: as many files with weights as the source has, index, configuration, tokenizer.

    Args:
        checkpoint: What to quantise.
        request: Its dtype is the type of what is not quantised and of the scales.

    Raises:
        Failure: ``unsupported``, for an architecture or element type that is not known here.
    """
    linear = _linear(checkpoint.config)
    derived = derived_names(checkpoint.config)
    by_file: dict[str, list[TensorRef]] = {}
    for tensor in checkpoint.tensors:
        by_file.setdefault(tensor.file.name, []).append(tensor)
    planned: dict[str, tuple[Entry, ...]] = {}
    outputs = []
    for number, tensors in enumerate(by_file.values(), 1):
        name = shard_name(number, len(by_file))
        entries = arrange(
            entry for tensor in tensors for entry in _entries(tensor, linear, derived, CODES[request.dtype])
        )
        planned[name] = entries
        recipe = new_recipe(name, request, [tensors[0].file], *(entry.name for entry in entries))
        outputs.append(OutputFile(name, safetensors_segments(entries), recipe))
    if len(planned) > 1:
        outputs.append(literal_file(INDEX, new_index(planned), request))
    return [*outputs, *beside(checkpoint, request, _config(checkpoint, linear, request))]


def _linear(config: Mapping[str, Any]) -> re.Pattern[str]:
    kind = config.get("model_type")
    if "quantization_config" in config:
        raise Failure("unsupported", "the checkpoint is quantised already; use the format safetensors")
    if not isinstance(kind, str) or kind not in _LINEAR:
        raise Failure(
            "unsupported",
            f"config.json states model_type {kind!r}, whose linear layers are not known here; int8 can be "
            f"made of {', '.join(_LINEAR)}; use the format safetensors",
        )
    return re.compile(_LINEAR[kind])


def _quantises(tensor: TensorRef, linear: re.Pattern[str]) -> bool:
    """Whether a tensor is a linear layer's matrix, and fills whole words and units of alignment."""
    return (
        bool(linear.fullmatch(tensor.name))
        and len(tensor.shape) == 2
        and tensor.elements > 0
        and tensor.shape[1] % _PER_WORD == 0
        and tensor.elements % ALIGNMENT == 0
    )


def _entries(tensor: TensorRef, linear: re.Pattern[str], derived: frozenset[str], dtype: str) -> list[Entry]:
    if tensor.floating and tensor.dtype not in SOURCES:
        raise Failure(
            "unsupported",
            f"tensor {tensor.name!r} is {tensor.dtype}; int8 can be made of {', '.join(SOURCES)}; use a "
            "revision with those",
        )
    if not tensor.floating or not _quantises(tensor, linear):
        return [kept(tensor, dtype, name) for name in stored_names(tensor, derived)]
    rows, columns = tensor.shape
    packed = f"{tensor.name}_packed"
    return [
        Entry(f"{tensor.name}_shape", "I64", (2,), Literal(pack("<2q", rows, columns))),
        Entry(packed, "I32", (rows, columns // _PER_WORD), Quantised(tensor, dtype, offset=_OFFSET)),
        Entry(f"{tensor.name}_scale", dtype, (rows, 1), Scales(packed, dtype, rows)),
    ]


def _config(checkpoint: Checkpoint, linear: re.Pattern[str], request: Request) -> bytes:
    """config.json with what the library has to know, in its fields (``QuantizationConfig``)."""
    matrices = [tensor for tensor in checkpoint.tensors if tensor.floating and len(tensor.shape) == 2]
    left = {tensor.name.removesuffix(".weight") for tensor in matrices if not _quantises(tensor, linear)}
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    quantisation: dict[str, object] = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": weights,
                "input_activations": None,
                "output_activations": None,
            }
        },
        # A tied head is a linear layer, too, though no tensor has its name.
        "ignore": sorted(left | {"lm_head"}),
    }
    if checkpoint.config["model_type"] in _RESTORED:
        quantisation["dequantize"] = True
    config = json.loads(typed_config(checkpoint.small(CONFIG), request.dtype))
    config["quantization_config"] = quantisation
    return json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n"
