"""A key-value cache whose rows come and go, and grow, without the others being copied.

The library's own layer makes new tensors of all keys and values for every token, which on a CPU costs as much
as the rest of a small model's step, and again for every row that leaves or joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

SPARE_COLUMNS = 32
"""Columns that are made at once: a copy of everything in 32 steps costs little, and so does their memory."""
SPARE_ROWS = 1 / 8
"""Rows that are made at once, as a share of those in use. Both stay within the headroom of a machine that is
sized for what is in use."""


class RowsLayer(DynamicLayer):
    """Keys and values of one layer, in buffers that are larger than what is in use.

    `keys` and `values` are views of the rows and columns in use. Columns that one row lacks are zeros there:
    attention masks hide them, but would not hide a number that is not finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []
        self._rows, self._first, self._last = 0, 0, 0

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds columns on the right; see `DynamicLayer.update`."""
        new, width = (key_states, value_states), key_states.shape[-2]
        if self._buffers:
            self._reserve(self._rows, 0, width)
            for buffer, states in zip(self._buffers, new, strict=True):
                buffer[: self._rows, :, self._last : self._last + width] = states
        else:
            self.lazy_initialization(key_states, value_states)
            self._buffers, self._rows = list(new), len(key_states)
        self._last += width
        self._show()
        return self.keys, self.values

    def keep(self, order: Sequence[int]) -> None:
        """Keeps some rows.

        Args:
            order: which row comes to each place; one that moves comes from a place behind all that are kept.
        """
        if not self._buffers:
            # Rows may leave before anything has been read.
            return
        for buffer in self._buffers:
            for place, row in enumerate(order):
                if place != row:
                    buffer[place, :, self._first : self._last] = buffer[row, :, self._first : self._last]
        self._rows = len(order)
        self._show()

    def cut(self, left: int, right: int) -> None:
        """Takes columns away.

        Args:
            left: how many on the left.
            right: how many on the right.
        """
        if not self._buffers:
            return
        self._first += left
        self._last -= right
        self._show()

    def add(self, other: RowsLayer, on_left: bool) -> None:
        """Puts another's rows below; whichever is narrower is filled with zeros.

        Args:
            other: the same layer of another batch.
            on_left: whether the filling is on the left.
        """
        own, width = self._last - self._first, other._last - other._first
        more = max(0, width - own)
        self._reserve(self._rows + other._rows, more * on_left, more * (not on_left))
        self._first, self._last = self._first - more * on_left, self._last + more * (not on_left)
        rows, new = slice(self._rows), slice(self._rows, self._rows + other._rows)
        begin = self._last - width if on_left else self._first
        grown = self._first if on_left else self._last - more
        for buffer, states in zip(self._buffers, (other.keys, other.values), strict=True):
            buffer[rows, :, grown : grown + more] = 0
            buffer[new, :, self._first : self._last] = 0
            buffer[new, :, begin : begin + width] = states
        self._rows += other._rows
        self._show()

    def _reserve(self, rows: int, left: int, right: int) -> None:
        """Makes the buffers large enough for so many rows, and more columns on either side."""
        room, _, columns, _ = self._buffers[0].shape
        if rows <= room and left <= self._first and self._last + right <= columns:
            return
        width = self._last - self._first
        for i, (buffer, used) in enumerate(zip(self._buffers, (self.keys, self.values), strict=True)):
            _, heads, _, size = buffer.shape
            shape = (rows + int(SPARE_ROWS * rows), heads, left + width + right + SPARE_COLUMNS, size)
            self._buffers[i] = buffer.new_zeros(shape)
            self._buffers[i][: self._rows, :, left : left + width] = used
        self._first, self._last = left, left + width

    def _show(self) -> None:
        self.keys, self.values = (
            buffer[: self._rows, :, self._first : self._last] for buffer in self._buffers
        )


def use_rows_layers(cache: Any) -> bool:
    """Replaces the plain layers of an empty cache that `generate` has made.

    Args:
        cache: a cache of the library's, or whatever else a model keeps.

    Returns:
        Whether all of it is plain; what a sliding window or a state space keeps is left as it is.
    """
    parts = [getattr(cache, name, None) for name in ("self_attention_cache", "cross_attention_cache")]
    plain = True
    for part in [cache] if parts == [None, None] else parts:
        layers = getattr(part, "layers", None)
        if not layers:
            return False
        layers[:] = [RowsLayer() if type(layer) is DynamicLayer else layer for layer in layers]
        plain = plain and all(type(layer) is RowsLayer for layer in layers)
    return plain
