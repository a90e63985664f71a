"""What TRL is told: of one device for each process, whatever the machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import SftConfig
from trainers.arguments import OneDevice, arguments
from trainers.sft import train_sft

from .conftest import examples


def test_several_gpus_do_not_multiply_the_batch(tmp_path: Path) -> None:
    """As far as it shows without them: transformers' own count of GPUs is what it multiplies by."""
    from trl import SFTConfig as TrlSftConfig

    given: dict[str, Any] = {"output_dir": str(tmp_path), "per_device_train_batch_size": 4, "use_cpu": True}
    given["activation_checkpointing"] = False
    ours, theirs = arguments(TrlSftConfig, **given), TrlSftConfig(**given)
    for args in (ours, theirs):
        assert args.n_gpu == 0  # asks the machine, once
        args._n_gpu = 4  # what torch.cuda.device_count() would have made of it
    assert (theirs.n_gpu, theirs.train_batch_size) == (4, 16)
    assert (ours.n_gpu, ours.train_batch_size, ours.visible_gpus) == (1, 4, 4)
    assert ours.parallel_mode.value == "not_parallel"


def test_a_training_says_that_it_takes_one_of_several_gpus(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OneDevice, "visible_gpus", 4)
    monkeypatch.setattr(OneDevice, "n_gpu", 0)
    told: list[str] = []
    train_sft(
        tiny_model, examples(4), SftConfig(batch_size=4, max_length=64), tmp_path / "M1", seed=1, tell=told.append
    )
    assert told == ["4 GPUs are visible; the training takes cpu (CUDA_VISIBLE_DEVICES chooses)."]
