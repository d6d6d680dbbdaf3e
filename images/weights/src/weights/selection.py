"""Which files of a repository serving needs."""

from fnmatch import fnmatchcase

import msgspec

from weights.errors import Failure
from weights.files import Source, SourceFile, read_small
from weights.tensors import MAX_TENSORS

WEIGHTS = "model.safetensors"
INDEX_SUFFIX = ".index.json"
INDEX = WEIGHTS + INDEX_SUFFIX
# Weights of a single file, and the index of sharded ones: in the order in which transformers looks for them.
_LAYOUTS = (
    (WEIGHTS, INDEX, ".safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin" + INDEX_SUFFIX, ".bin"),
)
_STATE_DICTS = (".pt", ".pth")
TIKTOKEN = (
    "original/tokenizer.model"  # where the repositories of llama-3 have the vocabulary that JetStream reads
)
_BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template*",
    TIKTOKEN,
)
_OTHER_MARKS = 1000  # quotation marks in an index beside those of its entries


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def select(source: Source) -> list[SourceFile]:
    """Choose the files to stage, sorted by name.

    A single ``model.safetensors`` goes before a sharded checkpoint and this before pickled weights, as the
    transformers library reads them; then comes a state dict, if it is the only file ``*.pt`` or ``*.pth``.
    Files below folders are other formats of the same model and not needed, but for llama-3's vocabulary.

    Args:
        source: Where the checkpoint comes from.

    Raises:
        Failure: ``unsupported`` without weights or config.json, ``integrity`` for an index that names a file
            that is not there.
    """
    by_name = {file.name: file for file in source.files()}
    if "config.json" not in by_name:
        raise Failure("unsupported", f"{source.title} has no config.json: it is no transformers checkpoint")
    weights = _weights(source, by_name)
    beside = [name for name in by_name if any(_matches(name, pattern) for pattern in _BESIDE)]
    return [by_name[name] for name in sorted({*weights, *beside})]


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")


def read_index(content: bytes | bytearray, name: str) -> dict[str, str]:
    """Tensor's name to its file's.

    Args:
        content: The index.
        name: What it is called.

    Raises:
        Failure: ``unsupported``, if it is none.
    """
    # Each entry has four quotation marks: counting them is cheap, and decoding too many entries is not.
    if content.count(b'"') > 4 * MAX_TENSORS + _OTHER_MARKS:
        raise Failure("unsupported", f"{name} has more than {MAX_TENSORS} entries")
    try:
        return msgspec.json.decode(content, type=_Index).weight_map
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Failure("unsupported", f"{name} cannot be read: {error}") from None


def _weights(source: Source, by_name: dict[str, SourceFile]) -> list[str]:
    for single, index, suffix in _LAYOUTS:
        if single in by_name:
            return [single]
        if index in by_name:
            return [index, *_shards(source, by_name, index, suffix)]
    state_dicts = [name for name in by_name if name.endswith(_STATE_DICTS) and "/" not in name]
    if len(state_dicts) == 1:
        return state_dicts
    raise Failure(
        "unsupported",
        f"{source.title} has no {WEIGHTS} and no pytorch_model.bin, single or sharded, nor one file *.pt: "
        "choose a revision or repository with one of them",
    )


def _shards(source: Source, by_name: dict[str, SourceFile], listing: str, suffix: str) -> set[str]:
    names = set(read_index(read_small(source, by_name[listing]), listing).values())
    for name in sorted(names):
        if not name.endswith(suffix) or "/" in name:
            raise Failure("unsupported", f"{listing} names {name!r}, which is no {suffix} file beside it")
        if name not in by_name:
            raise Failure("integrity", f"{listing} names {name}, which {source.title} does not have")
    if not names:
        raise Failure("unsupported", f"{listing} names no file")
    return names
