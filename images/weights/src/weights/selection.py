"""Which files of a repository serving needs."""

from fnmatch import fnmatchcase

import msgspec

from weights.errors import Failure
from weights.files import Source, SourceFile, read_small

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
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
)


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def select(source: Source, repository: str) -> list[SourceFile]:
    """Choose the files to stage, sorted by name.

    A single ``model.safetensors`` goes before a sharded checkpoint, as the transformers library reads them.
    Files below folders are never needed: they are other formats of the same model.

    Args:
        source: Where the checkpoint comes from.
        repository: Its name, for messages.

    Raises:
        Failure: ``unsupported`` without safetensors or config, ``integrity`` for an index that lies.
    """
    by_name = {file.name: file for file in source.files()}
    if "config.json" not in by_name:
        raise Failure("unsupported", f"{repository} has no config.json: it is no transformers checkpoint")
    if _WEIGHTS in by_name:
        weights = [_WEIGHTS]
    elif _INDEX in by_name:
        weights = [_INDEX, *_shards(source, by_name)]
    else:
        raise Failure(
            "unsupported",
            f"{repository} has no {_WEIGHTS}, single or sharded; only safetensors are staged",
        )
    beside = [name for name in by_name if any(fnmatchcase(name, pattern) for pattern in _BESIDE)]
    return [by_name[name] for name in sorted({*weights, *(name for name in beside if "/" not in name)})]


def _shards(source: Source, by_name: dict[str, SourceFile]) -> set[str]:
    try:
        index = msgspec.json.decode(read_small(source, by_name[_INDEX]), type=_Index)
    except msgspec.MsgspecError as error:
        raise Failure("unsupported", f"{_INDEX} cannot be read: {error}") from None
    names = set(index.weight_map.values())
    for name in sorted(names):
        if not name.endswith(".safetensors") or "/" in name:
            raise Failure("unsupported", f"{_INDEX} names {name!r}, which is no safetensors file beside it")
        if name not in by_name:
            raise Failure("integrity", f"{_INDEX} names {name}, which the repository does not have")
    if not names:
        raise Failure("unsupported", f"{_INDEX} names no file")
    return names
