"""The cache whose rows come and go, against plain tensors that are put together anew each time."""

from __future__ import annotations

import random

import pytest
import torch
from serve.batching.cache import RowsLayer, use_rows_layers
from serve.batching.rows import compact
from torch.nn.functional import pad
from transformers import LlamaConfig, MistralConfig, T5Config
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

HEADS, SIZE = 2, 3


def states(rows: int, columns: int) -> torch.Tensor:
    """Keys or values that no others equal."""
    return torch.randn(rows, HEADS, columns, SIZE)


def started(rows: int, columns: int) -> tuple[RowsLayer, torch.Tensor]:
    """A layer that has read prompts, and its keys."""
    layer, keys = RowsLayer(), states(rows, columns)
    layer.update(keys.clone(), -keys)
    return layer, keys


@pytest.mark.parametrize("on_left", [True, False])
def test_rows_that_come_and_go_and_grow_hold_what_was_put_in(on_left: bool) -> None:
    torch.manual_seed(1)
    chooser = random.Random(1)
    layer, expected = started(3, 5)
    for _ in range(300):
        action = chooser.choice(["grow", "grow", "leave", "join", "cut"])
        rows, _, columns, _ = expected.shape
        if action == "grow":
            new = states(rows, 1)
            layer.update(new, -new)
            expected = torch.cat([expected, new], dim=2)
        elif action == "leave" and rows > 1:
            kept = sorted(chooser.sample(range(rows), chooser.randint(1, rows)))
            order = compact(kept)
            layer.keep(order)
            expected = expected[order]
        elif action == "join" and rows < 20:
            other, keys = started(chooser.randint(1, 3), chooser.randint(1, 40))
            layer.add(other, on_left)
            longest = max(columns, keys.shape[2])
            parts = []
            for part in (expected, keys):
                fill = longest - part.shape[2]
                parts.append(pad(part, (0, 0, fill, 0) if on_left else (0, 0, 0, fill)))
            expected = torch.cat(parts)
        elif action == "cut" and columns > 8:
            cut = chooser.randint(1, 6)
            layer.cut(cut if on_left else 0, 0 if on_left else cut)
            expected = expected[:, :, cut:] if on_left else expected[:, :, : columns - cut]
        assert torch.equal(layer.keys, expected)
        assert torch.equal(layer.values, -expected)
        assert layer.get_seq_length() == expected.shape[2]


def test_a_row_that_was_not_finite_leaves_nothing_behind_for_the_next() -> None:
    layer, _ = started(2, 4)
    layer.update(torch.full((2, HEADS, 1, SIZE), float("nan")), torch.full((2, HEADS, 1, SIZE), float("inf")))
    layer.keep([0])
    layer.cut(5, 0)
    good = states(1, 1)
    layer.update(good, good)
    other, _ = started(1, 3)
    layer.add(other, on_left=True)
    assert layer.keys.isfinite().all()
    assert layer.values.isfinite().all()


def test_memory_is_bounded_by_what_is_in_use_however_long_rows_come_and_go() -> None:
    layer, _ = started(4, 10)
    for _ in range(2000):
        new = states(4, 1)
        layer.update(new, new)
        layer.cut(1, 0)
    assert layer._buffers[0].shape[2] <= 10 + 2 * 32
    assert layer._buffers[0].shape[0] <= 5


def test_rows_are_kept_with_moves_into_the_gaps_only() -> None:
    assert compact([0, 1, 2]) == [0, 1, 2]
    assert compact([1, 2, 5]) == [5, 1, 2]
    assert compact([3, 4]) == [3, 4]
    assert compact([]) == []


def test_only_plain_layers_are_replaced() -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    plain = DynamicCache(config=LlamaConfig(**small))
    assert use_rows_layers(plain)
    assert {type(layer) for layer in plain.layers} == {RowsLayer}
    t5 = T5Config(num_layers=2)
    assert use_rows_layers(EncoderDecoderCache(DynamicCache(config=t5), DynamicCache(config=t5)))
    assert not use_rows_layers(DynamicCache(config=MistralConfig(**small, sliding_window=4)))
    assert not use_rows_layers(None)
