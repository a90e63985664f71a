"""The table of optimizers: names are transformers' and the setting's, and what it says of moments is what is kept."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from selfreward_bench import recipes
from selfreward_bench.bases.optimizers import OPTIMIZERS, largest_optimizer, optimizer_findings, require_optimizer
from selfreward_bench.config import Optim, RunConfig, SftConfig
from selfreward_bench.engines.quantised import forget_optimizers
from selfreward_bench.errors import ConfigError, MissingDependencyError


def test_the_names_are_those_of_the_setting_and_of_transformers() -> None:
    from transformers.training_args import OptimizerNames

    assert set(OPTIMIZERS) == set(get_args(Optim))
    assert set(OPTIMIZERS) <= {name.value for name in OptimizerNames}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_moments_are_those_that_are_kept(name: str) -> None:
    import torch
    from transformers import Trainer, TrainingArguments

    from trainers.checkpoints import quiet_libraries

    forget_optimizers()
    layer = torch.nn.Linear(512, 128, bias=False)
    with quiet_libraries():
        args = TrainingArguments(output_dir="unused", optim=name, report_to="none", use_cpu=True)
        kind, options = Trainer.get_optimizer_cls_and_kwargs(args, None)
        optimizer = kind(layer.parameters(), **options)
        layer(torch.ones(2, 512)).sum().backward()
        optimizer.step()
    held = sum(t.nbytes for t in tensors(optimizer.state[layer.weight]) if t.numel() > 256)  # not the table of 8 bits
    assert held / layer.weight.numel() == pytest.approx(OPTIMIZERS[name].moments, abs=0.05)


def tensors(state: dict[str, Any]) -> list[Any]:
    return [value for value in state.values() if hasattr(value, "nbytes")]


def run(optim: str) -> RunConfig:
    return recipes.load("micro", [f"dpo.optim={optim}"])


def test_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"dpo\.optim.*adamw_8bit"):
        run("adamw_torch_8bit")


def test_without_bitsandbytes_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*optimizer_findings(run("adamw_8bit"), "cuda")] == []
    monkeypatch.setattr("selfreward_bench.engines.quantised.find_spec", lambda name: None)
    (finding,) = optimizer_findings(run("adamw_8bit"), "cuda")
    assert finding.severity == "refusal"
    assert "srbench[quantize]" in finding.text
    with pytest.raises(MissingDependencyError, match=r"paged_lion_8bit .*srbench\[quantize\]"):
        require_optimizer(SftConfig(optim="paged_lion_8bit"))
    assert [*optimizer_findings(run("adafactor"), "cuda")] == []


def test_paged_moments_stay_where_there_is_one_memory() -> None:
    (finding,) = optimizer_findings(run("paged_adamw_8bit"), "cpu")
    assert finding.severity == "note"
    assert "nowhere to move" in finding.text
    assert largest_optimizer(run("paged_ademamix_32bit")).moments == 12
    assert largest_optimizer(run("adamw_8bit")).moments == 8  # SFT's is AdamW
