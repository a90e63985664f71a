"""What srbench changes around TRL's steps: by public means where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import SftConfig
from selfreward_bench.errors import TrainingError
from selfreward_bench.storage.fingerprint import weights_fingerprint
from trainers import dpo, sft
from trainers.batches import Split
from trainers.resume import ResumeStore
from trainers.sft import train_sft
from trainers.shards import ShardStates
from trainers.stepping import rate_factor
from trainers.training import TrainProgress

from .conftest import examples

CONFIG = SftConfig(learning_rate=1e-3, final_learning_rate=1e-4, batch_size=4, save_every=2, dropout=0.0, max_length=64)


def private_overrides(trainer: type) -> set[str]:
    """Names of private attributes that classes of srbench put in the place of TRL's or transformers' own."""
    ours = [c for c in trainer.__mro__ if c.__module__.startswith("trainers.")]
    theirs = [c for c in trainer.__mro__ if c.__module__.startswith(("trl.", "transformers."))]
    names = {name for c in ours for name in vars(c) if name.startswith("_") and not name.endswith("__")}
    return {name for name in names if any(name in vars(c) for c in theirs)}


def test_the_private_methods_that_are_overridden_are_those_of_the_documentation() -> None:
    assert private_overrides(sft._trainer_class()) == set()
    found = private_overrides(dpo._trainer_class([], Path("reference.jsonl"), Split(8, 8), 0.0))
    assert found == {"_prepare_dataset", "_precompute_ref_logps"}
    table = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    assert all(f"DPOTrainer.{name}`" in table for name in found)
    states = {name for name in vars(ShardStates) if name.startswith("_") and not name.endswith("__")}
    assert states == {"_save_checkpoint", "_load_from_checkpoint", "_load_optimizer_and_scheduler", "_load_rng_state"}
    assert all(f"`Trainer.{name}`" in table for name in states)


def refuse(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 128 vs 22")


def test_a_state_that_cannot_be_written_is_told_as_such(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch raises its own RuntimeError on a full disk."""
    import torch

    monkeypatch.setattr(torch, "save", refuse)
    with pytest.raises(TrainingError, match=r"Cannot write .*resume.* bytes are free there"):
        train_sft(tiny_model, examples(16), CONFIG, tmp_path / "train", seed=1)
    assert ResumeStore(tmp_path / "train" / "resume").latest() is None


def test_a_model_that_cannot_be_trained_is_told_as_such(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not as a full disk."""
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "get_output_embeddings", refuse)
    with pytest.raises(TrainingError, match=r"cannot train a model of type 'llama'.*RuntimeError.*unexpected pos"):
        train_sft(tiny_model, examples(16), CONFIG, tmp_path / "train", seed=1)


def test_an_error_in_the_middle_of_a_training_stays_what_it_is(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    def fail_next(now: TrainProgress) -> None:
        monkeypatch.setattr(LlamaForCausalLM, "get_output_embeddings", refuse)

    with pytest.raises(RuntimeError, match="unexpected pos"):
        train_sft(tiny_model, examples(16), CONFIG, tmp_path / "train", seed=1, progress=fail_next)


# --- the learning rate


def test_without_a_warmup_the_rate_is_transformers_cosine() -> None:
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler("cosine_with_min_lr", optimizer, 0, 7, scheduler_specific_kwargs={"min_lr": 0.1})
    assert [rate_factor(step, 7, 0, 0.1) for step in range(8)] == [theirs.lr_lambdas[0](step) for step in range(8)]


def test_a_warmup_rises_from_its_first_step_and_meets_the_cosine() -> None:
    rates = [rate_factor(step, 10, 3, 0.1) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert min(rates[3:]) > 0.1


@pytest.mark.slow
def test_a_training_of_one_step_with_a_warmup_changes_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"warmup_fraction": 0.1, "batch_size": 8})
    result = train_sft(tiny_model, examples(8), config, tmp_path / "M1", seed=1)
    assert result.steps == 1
    assert result.first_step["lr"] == CONFIG.learning_rate / 2
    assert weights_fingerprint(result.checkpoint) != weights_fingerprint(tiny_model)
