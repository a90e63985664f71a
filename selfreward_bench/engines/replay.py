"""Decode steps of fixed shapes: on a GPU one is recorded as a CUDA graph and replayed for each further token.

A step launches some hundred small kernels, and to launch them from Python takes longer than to run them. A recorded
step is launched at once. For that the keys and values stand in buffers with room for further columns, all of which are
read, and a mask hides those not yet written. Rows that leave, or a full buffer, make a new recording.
"""

from __future__ import annotations

from typing import Any

import torch

from selfreward_bench.engines.cache import RoomyLayer

_STATIC_ROPE = ("default", "linear", "llama3", "yarn")  # of which no step looks at the positions' values on the host


def replayable(model: Any, window: int | None) -> bool:
    """Whether steps of this model, which keeps plain keys and values, can have fixed shapes."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    each = [kind for kind in rope.values() if isinstance(kind, dict)] or [rope]  # per kind of layer, or of all
    routed = any(hasattr(config, name) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    return (
        window is None
        and not routed  # which experts work is looked up on the host
        and config._attn_implementation == "sdpa"
        and all(one.get("rope_type", "default") in _STATIC_ROPE for one in each)
        and getattr(model, "hf_quantizer", None) is None
        and getattr(model, "hf_device_map", None) is None
    )


class FixedStep:
    """Steps of one batch while neither its rows nor its buffers change.

    Args:
        mask: which columns hold tokens, shape (rows, columns); None where all do.
        lengths: tokens of each row, shape (rows,).
        record: whether to; False once it was seen that this model's steps cannot be recorded.
    """

    def __init__(
        self, model: Any, cache: Any, mask: torch.Tensor | None, lengths: torch.Tensor, record: bool = True
    ) -> None:
        self._model, self._cache, self._layers = model, cache, cache.layers
        first: RoomyLayer = cache.layers[0]
        self._columns = first.get_seq_length()
        rows, room = len(lengths), first.room
        self._buffer = first.buffer
        for layer in self._layers:
            layer.blank()
        device = lengths.device
        self._ids = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self._positions = lengths[:, None].clone()
        self._at = torch.full((1,), self._columns, dtype=torch.long, device=device)
        self._mask = torch.zeros(rows, 1, 1, room, dtype=torch.bool, device=device)
        self._mask[..., : self._columns] = True if mask is None else mask.bool()[:, None, None]
        self.record = record and device.type == "cuda"
        self._graph: Any = None
        self._steps = 0
        self._logits = torch.empty(0)

    def fits(self, cache: Any) -> bool:
        """Whether the next column of this cache can be written by this step."""
        return cache is self._cache and cache.layers[0].buffer is self._buffer and self._columns < self._mask.shape[-1]

    def take(self, ids: torch.Tensor) -> torch.Tensor:
        """Appends a token to every row.

        Args:
            ids: shape (rows,).

        Returns:
            Logits after it, shape (rows, vocabulary); the next step overwrites them.
        """
        self._ids.copy_(ids[:, None])
        self._mask[..., self._columns] = True
        if self.record and self._graph is None and self._steps:
            self._record()
        if self._graph is None:
            self._logits = self._forward()
        else:
            self._graph.replay()
        self._columns += 1
        self._steps += 1
        self._positions += 1
        self._at += 1
        for layer in self._layers:
            layer.columns = self._columns
        return self._logits

    def _forward(self) -> torch.Tensor:
        for layer in self._layers:
            layer.at = self._at
        try:
            output = self._model(
                input_ids=self._ids,
                attention_mask=self._mask,
                position_ids=self._positions,
                past_key_values=self._cache,
                use_cache=True,
            )
        finally:
            for layer in self._layers:
                layer.at = None
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _record(self) -> None:
        """The step before has warmed up; ``torch.cuda.graph`` would collect garbage at each recording."""
        cuda: Any = torch.cuda  # its streams have no types
        graph, stream = cuda.CUDAGraph(), cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    logits = self._forward()
                finally:
                    graph.capture_end()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # something in the step waits for the GPU: this model's are launched one by one
            self.record = False
            return
        torch.cuda.current_stream().wait_stream(stream)
        self._graph, self._logits = graph, logits
