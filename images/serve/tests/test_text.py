"""Pieces of text, without a model."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from conftest import SENTENCES
from serve.text import StopStrings, TokenText
from transformers import AutoTokenizer


def test_pieces_joined_are_the_whole_text(staged: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(staged)

    def decode(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    chooser = random.Random(5)
    sequences = [tokenizer(text)["input_ids"] for text in SENTENCES]
    sequences += [[chooser.randrange(len(tokenizer)) for _ in range(40)] for _ in range(200)]
    for ids in sequences:
        text = TokenText(decode)
        assert "".join([*(text.push(token) for token in ids), text.flush()]) == decode(ids)


def test_a_character_split_over_tokens_comes_out_whole(gpt2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    text = TokenText(lambda ids: tokenizer.decode(ids))
    ids = tokenizer("🙃")["input_ids"]
    pieces = [text.push(token) for token in ids]
    assert len(ids) > 1
    assert pieces == [""] * (len(ids) - 1) + ["🙃"]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["three", "two"], "one "),
        ("abababc", ["ababc"], "ab"),
        ("aab", ["ab"], "a"),
        ("nothing here", ["xyz"], "nothing here"),
        ("ends with the start of xy", ["xyz"], "ends with the start of xy"),
        ("no stops", [], "no stops"),
    ],
)
def test_a_stop_string_is_found_however_the_text_is_cut(
    size: int, text: str, stops: list[str], shown: str
) -> None:
    cutter = StopStrings(stops)
    out = ""
    for start in range(0, len(text), size):
        piece, stopped = cutter.feed(text[start : start + size])
        out += piece
        if stopped:
            break
    else:
        out += cutter.flush()
    assert out == shown
