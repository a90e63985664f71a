"""A linear layer with weights of 8 bits that rounds weights alone.

bitsandbytes' own (LLM.int8(), arXiv 2208.07339) rounds what comes in, too. What is computed of a text then depends on
the other texts of its batch, by far more than float32 rounds, and a reference of DPO does not hold.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["exact"]


class _Linear(torch.autograd.Function):
    """``inputs @ weights.T``, of which the weights are made anew for the gradient and not kept."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(codes, scales)
        return inputs @ _weights(codes, scales, inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        codes, scales = ctx.saved_tensors
        return gradient @ _weights(codes, scales, gradient.dtype), None, None


def exact(layer: Any) -> None:
    """Has a ``bitsandbytes.nn.Linear8bitLt`` compute with its inputs as they are."""
    if layer.weight.CB is not None:
        layer.init_8bit_state()
    codes, scales = layer.state.CB, layer.state.SCB

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _Linear.apply(inputs, codes, scales)  # type: ignore[no-untyped-call]  # torch's
        return found if layer.bias is None else found + layer.bias.to(found.dtype)

    layer.forward = forward


def _weights(codes: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The weights that codes of -127 to 127 stand for, each row with its largest as its scale."""
    return (codes * (scales.float() / 127)[:, None]).to(dtype)
