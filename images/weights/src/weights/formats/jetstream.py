"""A checkpoint as JetStream-PyTorch loads it: llama-2, llama-3 and gemma, with the tokenizer.

Two files: ``model.safetensors``, since the server takes exactly one, and ``tokenizer.model``. There is no
config.json: the server has its own constants, and a folder with one would pass for a transformers checkpoint.
The format ``jetstream-int8`` has linear layers and the embedding in eight bits, for a server that is started
with ``--quantize_weights=True`` and ``--quantize_type=int8_per_channel``: beside an ``X.weight`` of type I8
stands ``X.weight_scaler`` of type BF16, one scale for each row, or for each column of the embedding.

The whole is one object: an interrupted run makes it anew. Source: see ``weights.formats.jetstream_layout``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weights.errors import Failure
from weights.files import SourceFile
from weights.formats.jetstream_layout import Placed, model_name, place
from weights.manifest import Request
from weights.output import PART, Copy, OutputFile, Part, Reader, Segment, new_recipe
from weights.quantise import SOURCES, Quantised, paired
from weights.quantised_file import ALIGNMENT, Entry, Scales, arrange, safetensors_segments, unquantised
from weights.selection import TIKTOKEN, WEIGHTS
from weights.tensors import CODES, Checkpoint, byte_size

TOKENIZER = "tokenizer.model"
_INT8 = "jetstream-int8"
_SCALES = "BF16"  # the server's layers declare them so, whatever the other weights are

# A line of a tiktoken vocabulary: a token in base64 and its rank. A sentencepiece model is binary.
_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")


def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]:
    """Plan the two files.

    Args:
        checkpoint: Of a model that the server has; its size is not looked at.
        request: Its format is ``jetstream`` or ``jetstream-int8``; its dtype that of what is not quantised.

    Raises:
        Failure: ``unsupported``, for a model that the server does not have, or one without its tokenizer.
    """
    name = model_name(checkpoint.config)
    tokenizer = _tokenizer(checkpoint, name)
    code = CODES[request.dtype]
    placed = place(checkpoint.config, checkpoint.tensors)
    make = _quantised if request.format == _INT8 else _plain
    entries = arrange(entry for each in placed for entry in make(each, code))
    sources = {each.tensor.file.name: each.tensor.file for each in placed}
    # What config.json says of attention heads orders the rows, and changes no tensor's name or shape.
    heads = [f"{each.name}: {each.head}" for each in placed]
    recipe = new_recipe(WEIGHTS, request, sources.values(), *(entry.name for entry in entries), *heads)
    return [
        OutputFile(WEIGHTS, safetensors_segments(entries), recipe),
        OutputFile(
            TOKENIZER,
            (Copy(tokenizer, 0, tokenizer.size),),
            new_recipe(TOKENIZER, request, [tokenizer]),
            tokenizer.sha256,
        ),
    ]


def _plain(placed: Placed, code: str) -> list[Entry]:
    _check(placed)
    tensor = placed.tensor
    content = unquantised(tensor, code)
    if placed.head:
        content = _Paired(content, placed.head, byte_size(tensor.dtype, tensor.shape[1]))
    return [Entry(placed.name, code, tensor.shape, content)]


def _quantised(placed: Placed, code: str) -> list[Entry]:
    tensor = placed.tensor
    if len(tensor.shape) != 2:
        return _plain(placed, code)
    _check(placed)
    if tensor.elements % ALIGNMENT:
        raise Failure(
            "unsupported",
            f"tensor {tensor.name!r} has {tensor.elements} elements, and {_INT8} needs a multiple of "
            f"{ALIGNMENT}; use the format jetstream",
        )
    content = Quantised(tensor, _SCALES, by_column=placed.embedding, head=placed.head)
    scales = Scales(placed.name, _SCALES, content.channels)
    return [
        Entry(placed.name, "I8", tensor.shape, content),
        Entry(f"{placed.name}_scaler", _SCALES, (content.channels,), scales),
    ]


def _check(placed: Placed) -> None:
    tensor = placed.tensor
    if tensor.dtype not in SOURCES:
        raise Failure(
            "unsupported",
            f"tensor {tensor.name!r} is {tensor.dtype}, and a JetStream checkpoint is made of "
            f"{', '.join(SOURCES)}; use a revision with those",
        )
    if placed.head * byte_size(tensor.dtype, tensor.shape[-1]) > PART:
        raise Failure(
            "unsupported",
            f"tensor {tensor.name!r} has attention heads of more than {PART} bytes, which are not reordered "
            "in bounded memory; use a revision with elements of fewer bytes",
        )


@dataclass(frozen=True)
class _Paired:
    """A tensor's segment whose source has its rows reordered on the way, by ``paired``."""

    content: Segment
    head: int
    row_bytes: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.size

    def parts(self, reader: Reader) -> Iterator[Part]:
        """The segment's bytes, made of reordered ones."""
        return self.content.parts(_PairedReader(reader, self.head, self.row_bytes))


@dataclass(frozen=True)
class _PairedReader:
    """A reader that gives the rows of whole tensors in another order."""

    reader: Reader
    head: int
    row_bytes: int

    def parts(self, file: SourceFile, start: int, length: int) -> Iterator[memoryview]:
        """A whole tensor's bytes, reordered."""
        return paired(self.reader.parts(file, start, length), self.head, self.row_bytes)

    def overflowed(self, tensor: str, elements: int) -> None:
        """Hand on."""
        self.reader.overflowed(tensor, elements)


def _tokenizer(checkpoint: Checkpoint, name: str) -> SourceFile:
    """The file of the kind that the server reads: for llama-3 tiktoken's, for the others sentencepiece's."""
    wanted = name == "llama-3"
    for candidate in (TIKTOKEN, TOKENIZER):
        if candidate in checkpoint.files:
            is_tiktoken = _TIKTOKEN_LINE.match(checkpoint.small(candidate)) is not None
            if is_tiktoken == wanted:
                return checkpoint.files[candidate]
    kind = f"{TIKTOKEN}, a tiktoken vocabulary" if wanted else f"{TOKENIZER}, a sentencepiece model"
    raise Failure(
        "unsupported",
        f"JetStream needs the tokenizer of {name} as {kind}, and the checkpoint does not have it; put it "
        "beside the weights, or use a repository that has it",
    )
