"""A T5 as CTranslate2 loads it: weights in its binary form, its configuration and vocabulary, the tokenizer.

``model.bin`` has the bytes that CTranslate2's own converter writes with the dtype as its ``quantization``.
``int8`` is what that calls ``int8_float32``: linear layers and embeddings in eight bits with a scale in
float32 for each row, norms and attention biases in float32. Two things differ, and the model is the same:

    The converter compares all variables and stores equal ones once, also those that are equal by chance, such
    as the norms of a model that was never trained. Here names decide, so that the file can be planned.
    With transformers 5 it makes the decoder scale its outputs (``decoder/scale_outputs``) in every T5, since
    the library calls every T5 tied; here in those whose config.json says so, as the library itself computes.

The file is little-endian and without padding:

    u32 version; text name of the model; u32 its revision
    u32 count, and for each variable, sorted by name:
        text name; u8 dimensions; u32 each of them; u8 element type; u32 bytes; the bytes
    u32 count, and for each alias, sorted by name: text name; text name of the variable

where a text is a u16 with its length, the text, and a zero byte, which the length counts.

Several matrices of the source are one here, and the order is that of CTranslate2's names: the source is read
more than once. The whole is one object: an interrupted run makes it anew.

Source: ``ModelSpec`` in github.com/OpenNMT/CTranslate2, python/ctranslate2/specs/model_spec.py, 4.8.5.
"""

import json
from collections.abc import Iterator, Mapping
from struct import pack
from typing import NamedTuple

from weights.architectures import class_names
from weights.companions import beside
from weights.formats.ctranslate2_layout import EPSILON, T5, Layout, Source, read_config, refused, t5_layout
from weights.formats.ctranslate2_tokens import special_tokens, vocabulary
from weights.manifest import Request
from weights.output import Literal, OutputFile, literal_file, new_recipe
from weights.quantise import SOURCES, Multiplied
from weights.quantised_file import Body, Entry, Scales, unquantised
from weights.tensors import CODES, Checkpoint, TensorRef

MODEL = "model.bin"
VOCABULARY = "shared_vocabulary.json"
GENERATION = "generation_config.json"
_INT8 = "int8"

_VERSION = 6
_NAME = "TransformerSpec"
_REVISION = 7
_TYPES = ("F32", "I8", "I16", "I32", "F16", "BF16")  # in the order of their numbers
_LARGEST = 2**32 - 1  # bytes of a variable

# What the configuration of a generation needs beside its defaults, where the checkpoint has no file of it.
_GENERATION_KEYS = ("decoder_start_token_id", "eos_token_id", "pad_token_id")
_GENERATION_DEFAULTS = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]:
    """Plan the weights, the vocabulary, the configuration and the tokenizer's files.

    Raises:
        Failure: ``unsupported``, for a model that is no T5, is quantised, or lacks a part.
    """
    model = read_config(checkpoint.config)
    weights = _model_file(checkpoint, request, model)  # first: it finds whether there are so many rows
    tokens = vocabulary(checkpoint, model.rows)
    config = _config(model, special_tokens(checkpoint, tokens))
    outputs = [
        weights,
        literal_file(VOCABULARY, json.dumps(tokens, indent=2).encode(), request),
        *beside(checkpoint, request, config),
    ]
    if GENERATION not in checkpoint.files:
        outputs.append(literal_file(GENERATION, _generation(checkpoint), request))
    return outputs


def _config(model: T5, tokens: Mapping[str, str]) -> bytes:
    """CTranslate2's config.json, which takes the place of transformers' own."""
    config = {
        **tokens,
        "add_source_bos": False,
        "add_source_eos": False,
        "layer_norm_epsilon": None if model.epsilon == EPSILON else model.epsilon,
        "multi_query_attention": False,
    }
    return json.dumps(config, indent=2, sort_keys=True).encode() + b"\n"


def _generation(checkpoint: Checkpoint) -> bytes:
    """generation_config.json from transformers' config.json, where older checkpoints have what it needs."""
    stated = {key: checkpoint.config.get(key) for key in _GENERATION_KEYS}
    found = {key: value for key, value in stated.items() if value is not None}
    return json.dumps(_GENERATION_DEFAULTS | found, indent=2).encode() + b"\n"


def _model_file(checkpoint: Checkpoint, request: Request, model: T5) -> OutputFile:
    tensors = class_names(checkpoint.tensors, checkpoint.config)
    layout = t5_layout(model, tensors)
    taken = _take(layout, tensors)
    entries = tuple(_entries(layout, taken, request.dtype))
    # Names, shapes and numbers of the file, and which tensors make it; its sources' digests do the rest.
    literals = [each.content.content.hex() for each in entries if isinstance(each.content, Literal)]
    names = [f"{name}: {[tensor.name for tensor in each]}" for name, each in taken.items()]
    sources = {tensor.file.name: tensor.file for each in taken.values() for tensor in each}
    recipe = new_recipe(MODEL, request, sources.values(), *literals, *names)
    return OutputFile(MODEL, (Body(entries),), recipe)


def _take(layout: Layout, tensors: Mapping[str, TensorRef]) -> dict[str, tuple[TensorRef, ...]]:
    """The tensors of each variable; all that the checkpoint has are needed, and have the right shape."""
    wanted = layout.weights | {name: (source,) for name, source in layout.others.items()}
    taken = {name: tuple(_tensor(each, tensors) for each in sources) for name, sources in wanted.items()}
    used = {tensors["shared.weight"], *(tensor for each in taken.values() for tensor in each)}
    for name, tensor in tensors.items():
        if tensor not in used:
            raise refused(f"it has a tensor {name!r}, which T5 has not")
    return taken


def _tensor(source: Source, tensors: Mapping[str, TensorRef]) -> TensorRef:
    tensor = tensors.get(source.name)
    if tensor is None:
        raise refused(f"it has no tensor {source.name!r}, which T5 needs")
    if tensor.shape != source.shape:
        raise refused(
            f"tensor {source.name!r} has shape {list(tensor.shape)}, config.json implies {list(source.shape)}"
        )
    if tensor.dtype not in SOURCES:
        raise refused(
            f"tensor {source.name!r} is {tensor.dtype}, and it has to be one of {', '.join(SOURCES)}",
            "use a revision with those",
        )
    return tensor


def _entries(layout: Layout, taken: Mapping[str, tuple[TensorRef, ...]], dtype: str) -> Iterator[Entry]:
    """The file, of which what stands before the bytes of a variable is an entry, too."""
    variables = {
        name: _Variable(scalar.dtype, (), (_literal(scalar.content),))
        for name, scalar in layout.scalars.items()
    }
    for name, tensors in taken.items():
        if dtype == _INT8 and name in layout.weights:
            variables |= _quantised(name, tensors)
        else:
            variables[name] = _floats(name, tensors, CODES.get(dtype, "F32"))
    yield _literal(pack("<I", _VERSION) + _text(_NAME) + pack("<2I", _REVISION, len(variables)))
    for name, variable in sorted(variables.items()):
        yield _literal(_text(name) + variable.header(name))
        yield from variable.entries
    aliases = [_text(name) + _text(of) for name, of in sorted(layout.aliases.items())]
    yield _literal(pack("<I", len(aliases)) + b"".join(aliases))


class _Variable(NamedTuple):
    """A variable: element type, length of each dimension, and what its bytes come from."""

    dtype: str
    shape: tuple[int, ...]
    entries: tuple[Entry, ...]

    def header(self, name: str) -> bytes:
        """What stands between its name and its bytes."""
        size = sum(entry.content.size for entry in self.entries)
        if size > _LARGEST:
            raise refused(f"{name!r} would have {size} bytes, and {_LARGEST} are the most")
        numbers = pack(f"<B{len(self.shape)}I", len(self.shape), *self.shape)
        return numbers + pack("<BI", _TYPES.index(self.dtype), size)


def _floats(name: str, tensors: tuple[TensorRef, ...], dtype: str) -> _Variable:
    entries = [Entry(name, dtype, tensor.shape, unquantised(tensor, dtype)) for tensor in tensors]
    return _Variable(dtype, _joined(tensors), tuple(entries))


def _quantised(name: str, tensors: tuple[TensorRef, ...]) -> dict[str, _Variable]:
    """A matrix in eight bits, and its scales."""
    integers, scales = [], []
    for number, tensor in enumerate(tensors):
        content = Multiplied(tensor, "F32")
        part, count = f"{name}/{number}", content.channels
        integers.append(Entry(part, "I8", tensor.shape, content))
        scales.append(Entry(f"{part}_scale", "F32", (count,), Scales(part, "F32", count)))
    shape = _joined(tensors)
    return {
        name: _Variable("I8", shape, tuple(integers)),
        f"{name}_scale": _Variable("F32", shape[:1], tuple(scales)),
    }


def _joined(tensors: tuple[TensorRef, ...]) -> tuple[int, ...]:
    """Shape of tensors whose rows follow one another."""
    return sum(tensor.shape[0] for tensor in tensors), *tensors[0].shape[1:]


def _literal(content: bytes) -> Entry:
    return Entry("", "U8", (len(content),), Literal(content))


def _text(text: str) -> bytes:
    encoded = text.encode() + b"\0"
    return pack("<H", len(encoded)) + encoded
