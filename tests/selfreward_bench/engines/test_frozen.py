"""Layers of few bits compute with their inputs as they are, and hand the gradient on that their matrix has."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from selfreward_bench.engines.quantised import settle

_WEIGHT = torch.tensor([[0.1, -2.0], [3.0, 0.5], [1.5, 4.0]]).half()  # (outputs, inputs)


class Packed(torch.nn.Module):
    """Stands in for a layer of gptqmodel's, whose own forward pass rounds what comes in."""

    qweight = qzeros = scales = None
    bits, group_size = 4, 2

    def __init__(self, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.half().float() @ _WEIGHT.float().T


class TorchLinear(Packed):
    def dequantize_weight(self) -> torch.Tensor:
        return _WEIGHT.T


class AwqTorchLinear(Packed):
    pass


class Marlin(Packed):
    pass


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (TorchLinear, AwqTorchLinear, Marlin):
        monkeypatch.setattr(kind, "__module__", "gptqmodel.nn_modules.qlinear.some")
    module: Any = ModuleType("packing_utils")
    module.dequantize_gemm = lambda *args: _WEIGHT.T
    monkeypatch.setitem(sys.modules, "gptqmodel.quantization.awq.utils.packing_utils", module)


def model_of(*layers: torch.nn.Module, quantised: bool = True) -> Any:
    model: Any = torch.nn.Sequential(*layers)
    model.hf_quantizer = object() if quantised else None  # transformers' attribute
    return model


@pytest.mark.parametrize("kind", [TorchLinear, AwqTorchLinear])
@pytest.mark.parametrize("bias", [None, torch.tensor([1.0, 2.0, 3.0]).half()])
def test_a_packed_layer_is_its_matrix_forwards_and_backwards(kind: type[Packed], bias: torch.Tensor | None) -> None:
    layer = kind(bias)
    assert settle(model_of(layer))
    inputs = torch.tensor([[1.0001, 2.0003], [3.0007, -1.0009]], requires_grad=True)
    known = inputs.detach().clone().requires_grad_(True)
    found, wanted = (
        layer(inputs),
        torch.nn.functional.linear(known, _WEIGHT.float(), None if bias is None else bias.float()),
    )
    assert found.equal(wanted)
    found.square().sum().backward()
    wanted.square().sum().backward()
    assert inputs.grad is not None
    assert known.grad is not None
    assert inputs.grad.equal(known.grad)
    assert layer(inputs.bfloat16()).dtype == torch.bfloat16


def test_kernels_that_are_not_known_stay_and_take_no_merged_adapter() -> None:
    layer = Marlin()
    assert settle(model_of(layer))
    inputs = torch.tensor([[1.0001, 2.0003]])
    assert layer(inputs).equal(inputs.half().float() @ _WEIGHT.float().T)


def test_a_model_of_matrices_is_none_of_few_bits() -> None:
    assert not settle(model_of(torch.nn.Linear(2, 2)))
    assert not settle(model_of(TorchLinear(), quantised=False))
