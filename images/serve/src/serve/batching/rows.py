"""What `generate` keeps between two tokens, by rows: taking rows out of it and putting rows of two together.

The names are those of transformers' `model_kwargs`: the masks, the positions, the encoder's outputs, the
key-value cache, whose layers are here those of `serve.batching.cache` wherever the library's would be plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from serve.batching.cache import RowsLayer

BY_ROW = ("attention_mask", "decoder_attention_mask", "position_ids", "decoder_position_ids")
"""What has one line for each row beside the tokens, the cache and the encoder's outputs."""
MERGED = frozenset({*BY_ROW, "encoder_outputs", "past_key_values", "logits_to_keep", "use_cache"})
"""What `merge` knows how to put together, or is the same for every row."""
State = dict[str, Any]


def compact(kept: Sequence[int]) -> list[int]:
    """The order in which rows are kept with the fewest moves: the last ones fill the gaps.

    Args:
        kept: the rows to keep, ascending.

    Returns:
        For each place, the row that comes there; one that moves comes from behind all places.
    """
    count = len(kept)
    stay = {row for row in kept if row < count}
    movers = iter([row for row in kept if row >= count])
    return [place if place in stay else next(movers) for place in range(count)]


def select(state: State, order: Sequence[int]) -> int:
    """Keeps some rows, and of them only the columns that one of them uses.

    Args:
        state: what `generate` keeps; changed in place.
        order: the rows to keep, as `compact` gives them.

    Returns:
        Columns of the tokens that were taken away on the left, because no row that is left uses them.
    """
    cache = state["past_key_values"]
    own, cross = _own_cache(state), getattr(cache, "cross_attention_cache", None)
    layers = [*own.layers, *(cross.layers if cross is not None else [])]
    rows = torch.tensor(order, dtype=torch.long)
    for key in BY_ROW:
        if state.get(key) is not None:
            state[key] = state[key][rows]
    if (encoded := state.get("encoder_outputs")) is not None:
        encoded["last_hidden_state"] = encoded["last_hidden_state"][rows]
    if not all(isinstance(layer, RowsLayer) for layer in layers):
        cache.batch_select_indices(rows)
        return 0
    for layer in layers:
        layer.keep(order)
    if not order:
        return 0
    if encoded is not None:
        _trim_prompts(state)
    return _trim_tokens(state, "attention_mask" if encoded is None else "decoder_attention_mask")


def merge(state: State, width: int, other: State, other_width: int) -> None:
    """Puts another batch's rows below those of one; both past a first step.

    An encoder's prompts are filled on the right. What a decoder reads is filled on the left, so that the
    newest tokens stand in one column.

    Args:
        state: what `generate` keeps of the one; changed in place.
        width: columns of its decoder's tokens, the newest counted.
        other: what it keeps of the other.
        other_width: columns of its decoder's tokens likewise.
    """
    both = (state, other)
    longest = max(width, other_width)
    is_decoder_only = state.get("encoder_outputs") is None
    if not is_decoder_only:
        _merge_prompts(state, other)
    mask = "attention_mask" if is_decoder_only else "decoder_attention_mask"
    masks = [_mask(one, mask, columns) for one, columns in zip(both, (width, other_width), strict=True)]
    state[mask] = torch.cat([pad(each, (longest - each.shape[1], 0)) for each in masks])
    if is_decoder_only:
        # Only the last is read, and the next follows from it.
        state["position_ids"] = torch.cat([one["position_ids"][:, -1:] for one in both])
    for layer, mate in zip(*(_own_cache(one).layers for one in both), strict=True):
        layer.add(mate, on_left=True)


def _own_cache(state: State) -> Any:
    """The cache of what a decoder has read itself."""
    cache = state["past_key_values"]
    return getattr(cache, "self_attention_cache", cache)


def _merge_prompts(state: State, other: State) -> None:
    both = (state, other)
    longest = max(one["attention_mask"].shape[1] for one in both)
    fills = [longest - one["attention_mask"].shape[1] for one in both]
    state["attention_mask"] = torch.cat(
        [pad(one["attention_mask"], (0, fill)) for one, fill in zip(both, fills, strict=True)]
    )
    state["encoder_outputs"]["last_hidden_state"] = torch.cat(
        [
            pad(one["encoder_outputs"]["last_hidden_state"], (0, 0, 0, fill))
            for one, fill in zip(both, fills, strict=True)
        ]
    )
    layers = [one["past_key_values"].cross_attention_cache.layers for one in both]
    for layer, mate in zip(*layers, strict=True):
        layer.add(mate, on_left=False)


def _mask(state: State, name: str, width: int) -> torch.Tensor:
    """A mask of what the decoder reads: `generate` keeps none where nothing is masked."""
    if (mask := state.get(name)) is not None:
        found: torch.Tensor = mask
        return found
    cached = _own_cache(state).layers[0].keys
    return torch.ones((len(cached), width), dtype=torch.long, device=cached.device)


def _trim_prompts(state: State) -> None:
    """Takes away the columns that are padding in every prompt that an encoder has read."""
    prompts: torch.Tensor = state["attention_mask"]
    longest = int(prompts.sum(-1).max())
    if (unused := prompts.shape[1] - longest) == 0:
        return
    state["attention_mask"] = prompts[:, :longest]
    encoded = state["encoder_outputs"]
    encoded["last_hidden_state"] = encoded["last_hidden_state"][:, :longest]
    for layer in state["past_key_values"].cross_attention_cache.layers:
        layer.cut(0, unused)


def _trim_tokens(state: State, name: str) -> int:
    """Takes away the columns that are padding in every row of what a decoder reads; returns how many."""
    if (mask := state.get(name)) is None:
        return 0
    unused: int = mask.shape[1] - int(mask.sum(-1).max())
    if unused:
        state[name] = mask[:, unused:]
        for layer in _own_cache(state).layers:
            layer.cut(unused, 0)
    return unused
