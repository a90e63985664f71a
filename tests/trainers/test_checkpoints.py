"""Checkpoints: their bytes, their lineage, and whether two are the same model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import trainers.checkpoints as checkpoints
from selfreward_bench.errors import EngineError, TrainingError
from selfreward_bench.storage.fingerprint import weights_fingerprint
from trainers.checkpoints import (
    ModelCard,
    logit_probe,
    model_name,
    quiet_libraries,
    read_card,
    save_checkpoint,
    write_card,
)

from .conftest import contents, make_model

CARD = ModelCard(
    name="M2",
    parent="M1: the first | one\n---\n",
    parent_fingerprint="0" * 32,
    stage="dpo",
    recipe={"beta": 0.1, "micro_batch_size": None},
    counts={"pairs": 12, "steps": 3},
)


@pytest.fixture
def loaded(tiny_model: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_libraries():
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    return model, AutoTokenizer.from_pretrained(tiny_model)


def test_saved_twice_are_the_same_bytes_and_the_same_model(
    loaded: tuple[Any, Any], tiny_model: Path, tmp_path: Path
) -> None:
    save_checkpoint(*loaded, tmp_path / "a" / "M2", CARD)
    save_checkpoint(*loaded, tmp_path / "b" / "M2", CARD)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    saved = tmp_path / "a" / "M2"
    assert weights_fingerprint(saved) == weights_fingerprint(tiny_model)
    assert logit_probe(saved) == logit_probe(tiny_model)


def test_an_older_checkpoint_is_replaced_whole(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "M2").mkdir()
    (tmp_path / "M2" / "old.bin").write_text("old")
    (tmp_path / "M2.partial").mkdir()
    (tmp_path / "M2.partial" / "torn.bin").write_text("torn")
    save_checkpoint(*loaded, tmp_path / "M2", CARD)
    assert [p.name for p in tmp_path.iterdir()] == ["M2"]
    assert not {"old.bin", "torn.bin"} & set(contents(tmp_path / "M2"))


def test_nothing_appears_when_writing_fails(
    loaded: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_card", refuse)
    with pytest.raises(TrainingError, match="no space is left"):
        save_checkpoint(*loaded, tmp_path / "M2", CARD)
    assert not (tmp_path / "M2").exists()


def test_the_card_is_read_back(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD
    assert model_name(tmp_path) == "M2"
    text = (tmp_path / "README.md").read_text()
    assert "| beta | 0.1 |" in text
    assert "| pairs | 12 |" in text


@pytest.mark.parametrize(
    "text", [None, "", "# A model of others\n", "---\n- 1\n---\n", "---\nsrbench: {name: 1}\n---\n"]
)
def test_a_card_of_others_is_none(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    assert read_card(tmp_path) is None
    assert model_name(tmp_path) == tmp_path.name


def test_the_probe_sees_weights_that_are_not_those_of_the_files(loaded: tuple[Any, Any], tiny_model: Path) -> None:
    import torch

    model, _ = loaded
    assert logit_probe(model) == logit_probe(tiny_model)
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "down_proj" in name).mul_(1.01)
    assert logit_probe(model) != logit_probe(tiny_model)


def test_the_probe_leaves_the_model_as_it_was(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    model.train()
    model.config.attention_dropout = 0.5
    assert logit_probe(model) == logit_probe(model)  # dropout is off
    assert model.training


def test_other_weights_are_told_apart(tiny_model: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", hidden_size=16, intermediate_size=32)
    assert weights_fingerprint(other) != weights_fingerprint(tiny_model)
    assert logit_probe(other) != logit_probe(tiny_model)


def test_probing_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(EngineError, match="No model can be loaded"):
        logit_probe(tmp_path)
