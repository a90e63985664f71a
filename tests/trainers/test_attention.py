"""The kernel of attention: the one that is named computes, in training and generating; one that is missing is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.bases.examine import examine
from selfreward_bench.bases.findings import Purpose
from selfreward_bench.config import EngineConfig, SftConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.loading import load_model
from selfreward_bench.errors import ConfigError, IncompatibleRunError
from trainers.dimensions import describe_base
from trainers.sft import train_sft

from .conftest import examples

CONFIG = SftConfig(learning_rate=1e-3, final_learning_rate=1e-4, batch_size=8, dropout=0.0, max_length=64)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that attention of Llama asks for, in their order."""
    from transformers import AttentionInterface
    from transformers.models.llama import modeling_llama

    asked: list[str] = []
    usual = AttentionInterface.get_interface

    def get_interface(self: Any, name: str, default: Any) -> Any:
        asked.append(name)
        return usual(self, name, default)

    monkeypatch.setattr(type(modeling_llama.ALL_ATTENTION_FUNCTIONS), "get_interface", get_interface)
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_training_and_generating_use_the_kernel_that_is_named(
    tiny_model: Path, tmp_path: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)
    result = train_sft(tiny_model, examples(8), CONFIG, tmp_path / "SFT", seed=1, attn_implementation=kernel)
    assert set(asked) == {kernel}
    assert json.loads((tmp_path / "SFT" / "plan.json").read_text())["attn_implementation"] == kernel
    assert "attn" not in (result.checkpoint / "config.json").read_text()
    asked.clear()
    engine = open_engine(EngineConfig.model_validate({"attn_implementation": kernel}), result.checkpoint, threads=1)
    list(engine.generate([GenerationRequest(id="a", prompt="Name", seeds=(1,), max_new_tokens=2)]))
    assert set(asked) == {kernel}


@pytest.mark.slow
def test_kernels_agree_to_rounding_and_are_not_mixed(tiny_model: Path, tmp_path: Path) -> None:
    losses = []
    for kernel in ("eager", "sdpa"):
        out = tmp_path / kernel
        losses.append(train_sft(tiny_model, examples(8), CONFIG, out, seed=1, attn_implementation=kernel).first_loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    with pytest.raises(IncompatibleRunError, match="attn_implementation: was"):
        train_sft(tiny_model, examples(8), CONFIG, tmp_path / "eager", seed=1, attn_implementation="sdpa")


@pytest.mark.parametrize("kernel", ["flash_attention_2", "flash_attention_3"])
def test_a_missing_kernel_is_refused_before_it_is_looked_for_on_the_hub(tiny_model: Path, kernel: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("it may be there")
    config = recipes.load("micro", [f"base={json.dumps(str(tiny_model))}", f"engine.attn_implementation={kernel}"])
    found = examine(tiny_model, Purpose(config.engine, config), "base")
    (refused,) = [f.text for f in found.findings if f.severity == "refusal"]
    assert f"attn_implementation={kernel} needs a CUDA GPU and the package flash-attn" in refused
    with pytest.raises(ConfigError, match="Take sdpa"):
        load_model(config.engine, tiny_model)


def test_a_result_belongs_to_its_kernel_and_the_plan_knows_it(tiny_model: Path) -> None:
    assert EngineConfig().numerics == {}
    assert EngineConfig(attn_implementation="eager").numerics == {"attn_implementation": "eager"}
    scores = []
    for kernel in ("eager", "sdpa", "null"):
        settings = [f"base={json.dumps(str(tiny_model))}", f"engine.attn_implementation={kernel}"]
        scores.append(describe_base(recipes.load("micro", settings))[0].scores)
    assert scores == [True, False, False]
