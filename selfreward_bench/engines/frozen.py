"""Linear layers with weights of few bits that round weights alone, and whose weights are not trained.

bitsandbytes' own of 8 bits (LLM.int8(), arXiv 2208.07339) rounds what comes in, too, and gptqmodel's compute in 16
bits. What is computed of a text then depends on the other texts of its batch, by far more than float32 rounds, and a
reference of DPO does not hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["exact_int8", "exact_packed"]

_AWQ = "gptqmodel.quantization.awq.utils.packing_utils"  # loaded with the layers that need it

#: the matrix of a layer in a type, shape (outputs, inputs)
_Weights = Callable[[torch.dtype], torch.Tensor]


class _Linear(torch.autograd.Function):
    """``inputs @ weights.T``, of which the weights are made anew for the gradient and not kept."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weights: _Weights) -> torch.Tensor:
        ctx.weights = weights
        return inputs @ weights(inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.weights(gradient.dtype), None


def exact_int8(layer: Any) -> None:
    """Has a ``bitsandbytes.nn.Linear8bitLt`` compute with its inputs as they are."""
    if layer.weight.CB is not None:
        layer.init_8bit_state()
    codes, scales = layer.state.CB, layer.state.SCB
    # codes of -127 to 127, each row with its largest as its scale
    _compute_with(layer, lambda dtype: (codes * (scales.float() / 127)[:, None]).to(dtype))


def exact_packed(layer: Any) -> None:
    """Has a layer of gptqmodel's portable kernels (``quantised.portable``) compute with its inputs as they are."""
    of_gptq = getattr(type(layer), "dequantize_weight", None)  # the layer's own may be one to be compiled

    def weights(dtype: torch.dtype) -> torch.Tensor:
        if of_gptq is not None:
            found: torch.Tensor = of_gptq(layer)
        else:
            tensors = (layer.qweight, layer.qzeros, layer.scales)
            found = sys.modules[_AWQ].dequantize_gemm(*tensors, layer.bits, layer.group_size)
        return found.T.to(dtype)  # both have (inputs, outputs)

    _compute_with(layer, weights)


def _compute_with(layer: Any, weights: _Weights) -> None:
    linear: Any = _Linear.apply  # which torch does not annotate

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = linear(inputs, weights)
        return found if layer.bias is None else found + layer.bias.to(found.dtype)

    layer.forward = forward
