"""Quantised weights: QLoRA starts at its parent, resumes to the byte and is merged into the base's own weights."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.bases.examine import examine
from selfreward_bench.bases.findings import Purpose
from selfreward_bench.config import DpoConfig, EngineConfig, LoraConfig, SftConfig
from selfreward_bench.engines.agreement import batch_error, cache_error
from selfreward_bench.engines.loading import load_model
from selfreward_bench.engines.quantised import BYTES, Quantize
from selfreward_bench.errors import MissingDependencyError, TrainingError
from trainers.checkpoints import logit_probe, read_card
from trainers.dimensions import read_dimensions, with_adapters
from trainers.dpo import check_first_step, train_dpo
from trainers.memory import quantised
from trainers.sft import train_sft
from trainers.training import TrainProgress

from .conftest import contents, examples, make_model, pairs

KINDS: tuple[Quantize, ...] = ("nf4", "int8")
SFT = SftConfig(
    learning_rate=2e-2, final_learning_rate=1e-3, batch_size=8, dropout=0.0, save_every=2, max_length=64
)  # fmt: skip
DPO = DpoConfig(beta=0.5, learning_rate=1e-2, final_learning_rate=1e-3, batch_size=8, save_every=2, max_length=64)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "model", initializer_range=0.2, hidden_size=64)


def lora(kind: Quantize, *, merge: bool = True) -> LoraConfig:
    return LoraConfig(r=4, alpha=8, quantize=kind, merge=merge)


def distance(a: Any, b: Any) -> float:
    return max(abs(x - y) for x, y in zip(logit_probe(a), logit_probe(b), strict=True))


# --- training


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_rounds_are_merged_into_the_bases_own_weights(base: Path, tmp_path: Path, kind: Quantize) -> None:
    first = train_sft(base, examples(24), SFT, tmp_path / "M1", seed=1, lora=lora(kind))
    assert first.final_loss < first.first_loss - 0.5
    second = train_dpo(first.checkpoint, pairs(16), DPO, tmp_path / "M2", seed=1, lora=lora(kind))
    assert second.first_dpo_loss == pytest.approx(math.log(2), abs=1e-5)
    check_first_step(second)
    card = read_card(second.checkpoint)
    assert card is not None
    assert card.lora is not None
    assert card.lora["quantize"] == kind
    assert card.lora["merge_logit_change"] < 1e-4
    assert card.lora["quantize_logit_change"] > 1e-3  # the weights of few bits compute something else: it is told
    assert card.lora["parameters"] - card.lora["trained_parameters"] == read_dimensions(base).parameters
    assert "quantization_config" not in (second.checkpoint / "config.json").read_text()
    plain = EngineConfig()
    assert distance(load_model(plain, second.checkpoint).model, second.checkpoint) == 0  # whole, and read as saved


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_ends_with_the_same_bytes(base: Path, tmp_path: Path, kind: Quantize) -> None:
    settings = lora(kind, merge=False)
    train_sft(base, examples(32), SFT, tmp_path / "whole" / "M1", seed=1, lora=settings)

    def stop(progress: TrainProgress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    out = tmp_path / "stopped" / "M1"
    with pytest.raises(KeyboardInterrupt):
        train_sft(base, examples(32), SFT, out, seed=1, lora=settings, progress=stop)
    train_sft(base, examples(32), SFT, out, seed=1, lora=settings)
    assert contents(out) == contents(tmp_path / "whole" / "M1")


@pytest.mark.slow
def test_stacked_rounds_go_on_with_one_float32_adapter(base: Path, tmp_path: Path) -> None:
    """TRL would round it to bfloat16, so that a round would not start from its parent."""
    from safetensors.torch import load_file

    settings = lora("nf4", merge=False)
    first = train_sft(base, examples(16), SFT, tmp_path / "M1", seed=1, lora=settings)
    config = DPO.model_copy(update={"learning_rate": 1e-30, "final_learning_rate": 0.0})
    second = train_dpo(first.checkpoint, pairs(8), config, tmp_path / "M2", seed=1, lora=settings)
    assert second.first_dpo_loss == pytest.approx(math.log(2), abs=1e-5)
    before, after = (load_file(r.checkpoint / "adapter_model.safetensors") for r in (first, second))
    assert all(after[name].equal(before[name]) for name in before)
    with pytest.raises(TrainingError, match=r"merged into weights of few bits.*lora\.merge to false"):
        train_dpo(first.checkpoint, pairs(8), DPO, tmp_path / "merged", seed=1, lora=lora("nf4"))


# --- answering


@pytest.mark.parametrize("kind", KINDS)
def test_answers_do_not_depend_on_the_batch(base: Path, kind: Quantize) -> None:
    loaded = load_model(EngineConfig(quantize=kind), base)
    assert batch_error(loaded, 16) < 1e-5
    assert cache_error(loaded, 16) < 1e-5
    change = distance(loaded.model, base)
    assert 1e-3 < change < {"nf4": 3, "int8": 0.3}[kind]
    held = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    d = read_dimensions(base)
    assert held == pytest.approx(quantised(d, 4, BYTES[kind]), rel=0.02)


@pytest.mark.slow
def test_an_adapter_stays_beside_quantised_weights(base: Path, tmp_path: Path) -> None:
    made = train_sft(base, examples(16), SFT, tmp_path / "M1", seed=1, lora=lora("nf4", merge=False)).checkpoint
    loaded = load_model(EngineConfig(quantize="nf4"), made).model
    names = [name for name, _ in loaded.named_parameters()]
    assert any("lora_A" in name for name in names)
    assert batch_error(load_model(EngineConfig(quantize="nf4"), made), 16) < 1e-5
    assert distance(loaded, base) > 0.1


# --- what is told before


def look(directory: Path, *settings: str) -> str:
    config = recipes.load("micro", [f"base={json.dumps(str(directory))}", *settings])
    found = examine(directory, Purpose(config.engine, config), "base")
    return "\n".join(f.text for f in found.findings if f.severity == "refusal")


def test_without_bitsandbytes_it_says_what_to_install(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfreward_bench.engines.quantised.find_spec", lambda name: None)
    for setting in ("engine.quantize=int8", "lora={quantize: nf4}"):
        assert "srbench[quantize]" in look(base, setting)
    with pytest.raises(MissingDependencyError, match=r"srbench\[quantize\]"):
        train_sft(base, examples(8), SFT, tmp_path / "M1", seed=1, lora=lora("nf4"))
    with pytest.raises(MissingDependencyError, match=r"srbench\[quantize\]"):
        load_model(EngineConfig(quantize="nf4"), base)


def test_what_is_quantised_already_is_not_merged_into(base: Path, tmp_path: Path) -> None:
    few = Path(shutil.copytree(base, tmp_path / "few"))
    config = json.loads((few / "config.json").read_text())
    (few / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    assert "lora.merge to false" in look(few, "lora={}")
    assert "quantised already (bitsandbytes)" in look(few, "engine.quantize=nf4", "lora={merge: false}")


def test_the_plan_knows_quantised_weights(base: Path) -> None:
    d = with_adapters(read_dimensions(base), lora("nf4"))
    whole = with_adapters(read_dimensions(base), LoraConfig(r=4, alpha=8))
    assert d.quantised == BYTES["nf4"]
    assert 0 < d.dense < d.parameters
    assert quantised(whole, 4, whole.quantised) - quantised(d, 4, d.quantised) == round(d.dense * (4 - BYTES["nf4"]))
    assert EngineConfig(quantize="nf4").numerics == {"quantize": "nf4"}
