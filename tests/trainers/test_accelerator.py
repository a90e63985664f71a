"""What only an accelerator can show: the CPU's answers, memory given back, training in float32 and bfloat16.

Skipped where there is none. The other tests of engines and trainers use an accelerator by themselves where one is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from selfreward_bench.config import DpoConfig, EngineConfig, SftConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.micro import base_path
from selfreward_bench.progress import Silent
from selfreward_bench.seeding import derive_seed
from trainers.dpo import check_first_step
from trainers.isolation import run_training
from trainers.training import TrainResult

from .conftest import examples, pairs

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator here")
DEVICE = str(torch.accelerator.current_accelerator() or "cpu")
WORDS = ("cat", "dog", "sun", "hat", "bus", "tree", "red", "blue")


def requests(n: int) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            id=f"p{i:03}",
            prompt=f"Name the {WORDS[i % 8]} and the {WORDS[i // 8 % 8]}" + " please" * (i % 5),
            seeds=tuple(derive_seed(0, i, j) for j in range(4)),
            n=4,
            temperature=0.7,
            top_p=0.9,
            max_new_tokens=32,
        )
        for i in range(n)
    ]


def texts(device: str, dtype: str = "float32", budget: int = 16384) -> dict[str, str]:
    config = EngineConfig.model_validate({"device": device, "dtype": dtype, "tokens_per_batch": budget})
    engine = open_engine(config, base_path())
    try:
        return {c.id: c.text for batch in engine.generate(requests(64)) for c in batch}
    finally:
        engine.close()


def share_of_equal(a: dict[str, str], b: dict[str, str]) -> float:
    assert a.keys() == b.keys()
    return sum(a[key] == b[key] for key in a) / len(a)


def test_the_accelerator_writes_what_the_cpu_writes() -> None:
    assert share_of_equal(texts("cpu"), texts(DEVICE)) >= 0.98


def test_a_text_does_not_depend_on_its_batch_on_the_accelerator() -> None:
    assert share_of_equal(texts(DEVICE, budget=1), texts(DEVICE)) >= 0.98


@pytest.mark.skipif(DEVICE != "cuda", reason="steps are recorded on CUDA")
def test_recorded_steps_say_what_single_ones_say() -> None:
    found = []
    for fixed in (True, False):
        engine = open_engine(EngineConfig.model_validate({"device": DEVICE, "dtype": "float32"}), base_path())
        runner: Any = engine._runner  # type: ignore[attr-defined]
        assert runner.fixed, "the base's steps can be recorded"
        runner.fixed = fixed
        found.append({c.id: c.text for batch in engine.generate(requests(64)) for c in batch})
        assert runner._record, "and were"
        engine.close()
    assert share_of_equal(*found) >= 0.98


def test_the_same_plan_gives_the_same_texts_in_bfloat16() -> None:
    assert texts(DEVICE, "bfloat16") == texts(DEVICE, "bfloat16")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-3), ("bfloat16", 0.5)])
def test_log_probabilities_of_choices_agree_with_the_cpu(dtype: str, tolerance: float) -> None:
    asked = [ChoiceRequest(id=f"c{i}", prompt=f"Grade {WORDS[i]}:", choices=("0", "5", " a b")) for i in range(8)]
    found = []
    for device, kind in (("cpu", "float32"), (DEVICE, dtype)):
        engine = open_engine(EngineConfig.model_validate({"device": device, "dtype": kind}), base_path())
        found.append([v for batch in engine.choice_logprobs(asked) for c in batch for v in c.logprobs])
        engine.close()
    assert found[0] == pytest.approx(found[1], abs=tolerance)


def test_a_closed_engine_gives_its_memory_back() -> None:
    texts(DEVICE)
    before = torch.accelerator.memory_allocated()  # what the libraries keep for themselves
    texts(DEVICE)
    assert torch.accelerator.memory_allocated() == before


def trained(kind: str, parent: Path, records: Any, config: Any, out: Path) -> TrainResult:
    reporter = Silent()
    return run_training(kind, parent, records, config, out, seed=3, threads=1, reporter=reporter, stage="train")


@pytest.mark.parametrize("bf16", [False, True])
def test_training_runs_in_a_process_of_its_own_and_begins_at_its_reference(bf16: bool, tmp_path: Path) -> None:
    before = torch.accelerator.memory_allocated()
    sft = SftConfig(learning_rate=1e-3, epochs=2.0, batch_size=8, bf16=bf16, gradient_checkpointing=bf16)
    first = trained("sft", base_path(), examples(32), sft, tmp_path / "M1")
    dpo = DpoConfig(learning_rate=1e-4, batch_size=8, bf16=bf16, gradient_checkpointing=bf16)
    second = trained("dpo", first.checkpoint, pairs(32), dpo, tmp_path / "M2")
    check_first_step(second)
    assert first.final_loss < first.first_loss
    assert math.isfinite(second.final_loss)
    assert torch.accelerator.memory_allocated() == before, "the training held memory in this process"
