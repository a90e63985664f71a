"""Trainings with other optimizers: each resumes to the byte from states that hold numbers alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.bases.optimizers import OPTIMIZERS
from selfreward_bench.config import DpoConfig, LoraConfig
from selfreward_bench.errors import MissingDependencyError
from trainers.dimensions import Dimensions, read_dimensions, with_adapters
from trainers.dpo import train_dpo
from trainers.memory import Pass, saved_state, state, training
from trainers.training import TrainProgress

from .conftest import contents, make_model, pairs

DPO = DpoConfig(learning_rate=1e-3, epochs=2.0, batch_size=8, save_every=2, max_length=64)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With matrices of 8,192 numbers, which 8-bit optimizers keep in 8 bits."""
    return make_model(tmp_path_factory.mktemp("base") / "model", initializer_range=0.2, intermediate_size=256)


@pytest.mark.slow
@pytest.mark.parametrize("optim", ["adamw_bnb_8bit", "paged_ademamix_8bit", "adafactor"])
def test_a_killed_training_ends_with_the_same_bytes(base: Path, tmp_path: Path, optim: str) -> None:
    import torch

    config = DPO.model_copy(update={"optim": optim})
    train_dpo(base, pairs(20), config, tmp_path / "whole" / "M2", seed=1)

    def stop(progress: TrainProgress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    out = tmp_path / "stopped" / "M2"
    with pytest.raises(KeyboardInterrupt):
        train_dpo(base, pairs(20), config, out, seed=1, progress=stop)
    saved = torch.load(out / "resume" / "checkpoint-3" / "optimizer.pt", weights_only=True)
    kinds = {t.dtype for t in _tensors(saved["state"])}
    assert (torch.uint8 in kinds) == optim.endswith("8bit")
    train_dpo(base, pairs(20), config, out, seed=1)
    assert contents(out) == contents(tmp_path / "whole" / "M2")
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [t for inner in value.values() for t in _tensors(inner)]
    return [value] if hasattr(value, "dtype") else []


def test_a_missing_library_is_told_before_anything_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfreward_bench.engines.quantised.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"lion_8bit .*srbench\[quantize\]"):
        train_dpo(base, pairs(8), DPO.model_copy(update={"optim": "lion_8bit"}), tmp_path / "M2", seed=1)
    assert not (tmp_path / "M2").exists()


@pytest.mark.slow
def test_bitsandbytes_remembers_no_earlier_training(base: Path, tmp_path: Path) -> None:
    """It keeps embeddings in 32 bits and knew them by their place among the tensors, which an adapter's then had."""
    config = DPO.model_copy(update={"optim": "adamw_8bit"})
    lora = LoraConfig(r=128, targets=("q_proj",))  # matrices of 4,096 numbers
    train_dpo(base, pairs(16), config, tmp_path / "before" / "M2", seed=1, lora=lora)
    train_dpo(base, pairs(16), config, tmp_path / "full" / "M2", seed=1)
    train_dpo(base, pairs(16), config, tmp_path / "after" / "M2", seed=1, lora=lora)
    assert contents(tmp_path / "after") == contents(tmp_path / "before")


def test_the_state_on_the_disk_has_the_size_that_is_said(base: Path, tmp_path: Path) -> None:
    config = DPO.model_copy(update={"optim": "adamw_8bit", "epochs": 1.0, "save_every": 1})
    d, sizes = read_dimensions(base), []

    def look(progress: TrainProgress) -> None:
        states, files = (tmp_path / "M2" / "resume").glob("checkpoint-*"), ("model.safetensors", "optimizer.pt")
        sizes.extend(sum((saved / name).stat().st_size for name in files) for saved in states)

    train_dpo(base, pairs(24), config, tmp_path / "M2", seed=1, progress=look)
    attention = 4 * d.layers * d.hidden**2  # matrices of 1,024 numbers, which stay in 32 bits
    said = saved_state(d, OPTIMIZERS["adamw_8bit"]) + 6 * attention
    assert sizes == pytest.approx([said] * len(sizes), rel=0.08)
    assert sizes


def test_the_estimate_knows_the_moments() -> None:
    d = Dimensions(1_000_000, 1_000_000, linear={"q_proj": 1000})
    small = OPTIMIZERS["adamw_8bit"]
    held = training(d, Pass(0, 0, optimizer=small))
    assert held.moments == 2_031_250
    assert state(d, small) == held.total == 10_031_250
    assert saved_state(d, small) == 6_031_250
    words = replace(d, vocabulary=1000, hidden=100)  # embeddings stay in 32 bits
    assert training(words, Pass(0, 0, optimizer=small)).moments == 900_000 * 2.03125 + 100_000 * 8
    assert training(with_adapters(words, LoraConfig(r=2)), Pass(0, 0, optimizer=small)).moments == 4062


@pytest.mark.slow
def test_importing_bitsandbytes_takes_no_code_from_the_hub(tmp_path: Path) -> None:
    """On some processors it would have a package named kernels run code of the hub; TRL imports it by way of peft."""
    (tmp_path / "kernels.py").write_text("def get_kernel(*args, **kwargs):\n    print('asked', args)\n")
    code = """
from selfreward_bench.errors import EngineError
from trainers.sft import train_sft
try:
    train_sft("/no/model", [], None, None, seed=0)
except EngineError:
    import bitsandbytes, kernels, sys
    print("bitsandbytes" in sys.modules, kernels is not None)
"""
    paths = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": paths, "PATH": ""}
    )
    assert done.stdout == "True True\n"
    assert "kernels" not in done.stderr
