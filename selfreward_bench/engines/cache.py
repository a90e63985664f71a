"""The key-value cache of a batch: rows fork, leave, and grow in place.

transformers' own dynamic cache copies everything at each step; this one writes into room it has reserved. A model whose
layers keep anything but plain keys and values (state space, convolution, chunks) uses transformers' cache instead, and
one that takes no such cache (Mamba, RWKV, GPT, MiniMax) reads its texts anew at each step.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

GROWTH = 32  # columns reserved at once, at least


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values of one layer, shape (rows, heads, columns, head size), in buffers with room for more columns.

    Also right for sliding windows: all columns are kept and the model's own mask hides those outside the window.

    Attributes:
        columns: how many are written.
        at: where the next column is to be written, shape (1,), and all of the buffers to be read (``replay``); None
            where only what is written is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []  # keys, values
        self.columns = 0
        self.at: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = [_room(states[:, :, :0], key_states.shape[2]) for states in (key_states, value_states)]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.at is not None:
            for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
                buffer.index_copy_(2, self.at, states)
            return self._buffers[0], self._buffers[1]
        start, end = self.columns, self.columns + key_states.shape[2]
        self.reserve(end)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        self.columns = end
        self.keys, self.values = (b[:, :, :end] for b in self._buffers)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.columns

    def blank(self) -> None:
        """Makes what is not yet written numbers, so that a mask can hide it."""
        for buffer in self._buffers:
            buffer[:, :, self.columns :] = 0

    @property
    def buffer(self) -> torch.Tensor:
        """The keys, with their room."""
        return self._buffers[0]

    @property
    def room(self) -> int:
        """Columns that the buffers hold."""
        return int(self._buffers[0].shape[2])

    def select(self, rows: torch.Tensor, room: int) -> None:
        """Keeps (or repeats) the given rows, with room for so many further columns."""
        columns = self.columns
        self._buffers = [_room(b[:, :, :columns], columns + room, rows) for b in self._buffers]

    def reserve(self, columns: int) -> None:
        """Makes room for so many columns in all."""
        if self._buffers[0].shape[2] < columns:
            size = max(columns, self.columns + max(GROWTH, self.columns // 2))
            self._buffers = [_room(b[:, :, : self.columns], size) for b in self._buffers]


class Reread:
    """In the place of a cache: the tokens of all rows, shape (rows, tokens). Right for any model, and slow."""

    def __init__(self) -> None:
        self.ids: torch.Tensor | None = None

    def append(self, ids: torch.Tensor) -> torch.Tensor:
        """All tokens with the new ones behind."""
        self.ids = ids if self.ids is None else torch.cat([self.ids, ids], dim=1)
        return self.ids

    def select(self, rows: torch.Tensor) -> None:
        """Keeps (or repeats) the given rows."""
        if self.ids is not None:
            self.ids = self.ids[rows]


def _room(source: torch.Tensor, columns: int, rows: torch.Tensor | None = None) -> torch.Tensor:
    count = source.shape[0] if rows is None else len(rows)
    buffer = source.new_empty((count, source.shape[1], columns, source.shape[3]))
    target = buffer[:, :, : source.shape[2]]
    one = source.shape[0] == 1  # a prefix: copied to all rows as it stands
    target.copy_(source if rows is None or one else source.index_select(0, rows.to(source.device)))
    return buffer


def takes_cache(model: Any) -> bool:
    """Whether a model can be given the keys and values of what it has read; MiniMax takes its own kind alone."""
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        return False
    own = vars(sys.modules[type(model).__module__]).values()
    return not any(
        isinstance(found, type) and issubclass(found, Cache) and found.__module__ == type(model).__module__
        for found in own
    )


def holds_plain_attention(config: Any) -> bool:
    """Whether all layers of the model keep keys and values column by column, so that padding can be masked."""
    layers = DynamicCache(config=config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def window_of(config: Any) -> int | None:
    """How many columns back a layer sees at most, of the layer that sees least; None where all see everything."""
    windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=config).layers]
    windows.append(getattr(config.get_text_config(), "window_size", None))  # GPT-Neo's layers do not say it
    return min((window for window in windows if isinstance(window, int) and window > 0), default=None)


def new_cache(config: Any, plain: bool) -> Any:
    """An empty cache for a model."""
    template = DynamicCache(config=config)
    return Cache(layers=[RoomyLayer() for _ in template.layers]) if plain else template


def select_rows(cache: Any, rows: torch.Tensor, room: int = 0) -> None:
    """Keeps (or repeats) the given rows of a cache in this order; ``room``: columns that will follow soon."""
    if isinstance(cache, Reread):
        cache.select(rows)
        return
    for layer in cache.layers:
        if isinstance(layer, RoomyLayer):
            layer.select(rows, room)
        else:
            layer.reorder_cache(rows)
