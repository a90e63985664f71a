"""What is found of a training's models: read where it is of this parent, and what TRL's output head makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainers import probes
from trainers.probes import FILE, Probes, base_fault, head_error, read_probes

from .. import small_models as small


def test_probes_of_another_parent_or_damaged_ones_count_as_none(tmp_path: Path) -> None:
    assert read_probes(tmp_path, "abc") is None
    values = {"parent": "abc", "model": "m", "before": [1.0], "after": [2.0], "future": 0.0, "padding": 1e-6}
    values |= {"head": 0.5, "training": 0.0}
    (tmp_path / FILE).write_text(json.dumps(values))
    assert read_probes(tmp_path, "abc") == Probes("abc", "m", [1.0], [2.0], 0.0, 1e-6, 0.5, 0.0)
    assert read_probes(tmp_path, "abd") is None
    assert read_probes(tmp_path, "abc", "m") is not None
    assert read_probes(tmp_path, "abc", "another") is None
    (tmp_path / FILE).write_text(json.dumps(values)[:-5])
    assert read_probes(tmp_path, "abc") is None
    (tmp_path / FILE).write_text(json.dumps({"parent": "abc"}))
    assert read_probes(tmp_path, "abc") is None


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_trls_output_head_is_the_models_own(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Granite divides its logits by ``logits_scaling``, which TRL knows. TRL imports what could download code."""
    quiet: list[bool] = []
    monkeypatch.setattr(probes, "import_quietly", lambda: quiet.append(True))
    model = small.model_of("Granite", small.llama3(), logits_scaling=scale, initializer_range=0.5)
    assert head_error(model) < 1e-5
    assert quiet == [True]
    assert "forward" not in vars(model)
    assert not model.training


def test_an_architecture_that_does_more_with_its_output_is_told_apart() -> None:
    """A decoder of Bert's kind has another layer before its output matrix; TRL multiplies by the matrix alone."""
    changes: dict[str, Any] = {"head": "BertLMHeadModel", "is_decoder": True, "pad_token_id": 0}
    model = small.model_of("Bert", small.llama3(), initializer_range=0.3, **changes)
    assert head_error(model.train()) > 0.1
    assert model.training


def test_a_base_that_draws_in_training_is_told_what_to_set() -> None:
    measured = {"future": 0.0, "padding": 0.0, "training": 0.01}
    config = {"router_jitter_noise": 0.01, "input_jitter_noise": 0.0, "layerdrop": 0.1, "hidden_size": 8}
    fault = base_fault("PhimoeForCausalLM", config, **measured)
    assert fault is not None
    assert fault.startswith("PhimoeForCausalLM computes something else in training than in answering (by 0.01 of")
    assert fault.endswith("Set layerdrop and router_jitter_noise to 0 in config.json.")
    assert (base_fault("Own", {}, **measured) or "").endswith("Take another base.")
    assert base_fault("Own", config, **measured | {"training": 1e-6}) is None
