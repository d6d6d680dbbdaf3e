"""The vocabulary and the special tokens that CTranslate2 has to be told, read from the tokenizer's files.

Its vocabulary has a token for each row of the embeddings. T5's embeddings have more rows than its tokenizer
has tokens, for the sake of their shape. CTranslate2's own converter calls the rest ``<extra_id_0>`` and so
on, although T5 has tokens of these names, and so does this. Source: ``T5Loader.get_vocabulary`` and
``set_config`` in github.com/OpenNMT/CTranslate2, python/ctranslate2/converters/transformers.py, 4.8.5.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from weights.formats.ctranslate2_layout import refused
from weights.tensors import Checkpoint

_TOKENIZER = "tokenizer.json"
_SPECIAL = ("tokenizer_config.json", "special_tokens_map.json")  # the first that names a token has it
_REMEDY = "save the tokenizer with transformers' save_pretrained, or use a repository with a whole one"

# What T5's tokenizer takes where no file says otherwise (``T5Tokenizer`` in transformers 5).
_DEFAULTS = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


class _Model(msgspec.Struct):
    """A vocabulary: tokens with their scores in the order of their numbers, or with their numbers."""

    vocab: list[tuple[str, float]] | dict[str, int]


class _Added(msgspec.Struct):
    id: int
    content: str


class _Tokenizer(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []


def vocabulary(checkpoint: Checkpoint, rows: int) -> list[str]:
    """The tokens in the order of their numbers, one for each row.

    Args:
        checkpoint: With a ``tokenizer.json``.
        rows: Of the embeddings.

    Raises:
        Failure: ``unsupported``, without one, or if its tokens do not have the numbers of the first rows.
    """
    if _TOKENIZER not in checkpoint.files:
        raise refused(f"it has no {_TOKENIZER}, which its vocabulary is made of", _REMEDY)
    try:
        tokenizer = msgspec.json.decode(checkpoint.small(_TOKENIZER), type=_Tokenizer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise refused(f"{_TOKENIZER} cannot be read: {error}", _REMEDY) from None
    known = tokenizer.model.vocab
    numbers = dict(known) if isinstance(known, dict) else {each[0]: n for n, each in enumerate(known)}
    numbers |= {each.content: each.id for each in tokenizer.added_tokens}
    tokens = sorted(numbers, key=lambda token: numbers[token])
    if [numbers[token] for token in tokens] != list(range(len(tokens))):
        raise refused(f"the tokens of {_TOKENIZER} are not numbered one after another", _REMEDY)
    if len(tokens) > rows:
        raise refused(f"{_TOKENIZER} has {len(tokens)} tokens and the embeddings have {rows} rows", _REMEDY)
    return tokens + [f"<extra_id_{number}>" for number in range(rows - len(tokens))]


def special_tokens(checkpoint: Checkpoint, tokens: list[str]) -> dict[str, str]:
    """The tokens that CTranslate2's configuration names, under its names for them.

    Args:
        checkpoint: Its config.json numbers the decoder's first token, the tokenizer's files name the others.
        tokens: As ``vocabulary`` gives them.

    Raises:
        Failure: ``unsupported``, for a token that the vocabulary has not.
    """
    files = [_object(checkpoint, name) for name in _SPECIAL]
    named = {key: _named(key, files) for key in _DEFAULTS}
    for key, token in named.items():
        if token not in tokens:
            raise refused(f"its {key} {token!r} is not in the vocabulary of {_TOKENIZER}", _REMEDY)
    start = checkpoint.config.get("decoder_start_token_id")
    if start is not None and not (isinstance(start, int) and 0 <= start < len(tokens)):
        raise refused(f"config.json states decoder_start_token_id {start!r}, which no token has", _REMEDY)
    return {
        "bos_token": named["pad_token"],
        "decoder_start_token": named["pad_token"] if start is None else tokens[start],
        "eos_token": named["eos_token"],
        "unk_token": named["unk_token"],
    }


def _object(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    if name not in checkpoint.files:
        return {}
    try:
        content = json.loads(checkpoint.small(name))
    except (ValueError, RecursionError) as error:
        raise refused(f"{name} cannot be read: {error}", _REMEDY) from None
    return content if isinstance(content, dict) else {}


def _named(key: str, files: list[Mapping[str, Any]]) -> str:
    """A special token: text, or an object with more about it."""
    for file in files:
        token = file.get(key)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            return token
    return _DEFAULTS[key]
