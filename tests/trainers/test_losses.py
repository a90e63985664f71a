"""Preference losses: each begins at its own known value, and does not depend on how a step is split."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from selfreward_bench.config import DpoConfig, Loss
from selfreward_bench.errors import LoopViolation
from trainers.dpo import check_first_step, train_dpo
from trainers.losses import FIRST, at_reference

from .conftest import make_model, pairs

BETA = 0.5
SMOOTHING = {"exo_pair": 0.1, "robust": 0.2}
NAMES = [*FIRST, "sigmoid smoothed"]
#: of every loss before any update, worked out by hand for beta 1/2 and the smoothing above
KNOWN = {
    "sigmoid": math.log(2),
    "sigmoid smoothed": math.log(2),
    "hinge": 1.0,
    "ipo": 1.0,  # (0 - 1 / (2 * 0.5)) ** 2
    "robust": math.log(2),
    "exo_pair": 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1),  # KL((1/2, 1/2) || (0.9, 0.1))
    "nca_pair": 1.386294,
    "bco_pair": 1.386294,
    "sppo_hard": 2.0,  # (0 - 1) ** 2 + (0 + 1) ** 2
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "discopop": 0.5 * 0.693147 + 0.5 * 1.0,
    "sigmoid_norm": math.log(2),
}


def config_of(name: str, **changes: Any) -> DpoConfig:
    loss, _, smoothed = name.partition(" ")
    return DpoConfig(
        loss=loss,
        label_smoothing=0.3 if smoothed else SMOOTHING.get(loss, 0.0),
        beta=BETA,
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        batch_size=8,
        max_length=64,
        **changes,
    )


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With probabilities that differ, so that a wrong weight of a pair is seen in the loss."""
    return make_model(tmp_path_factory.mktemp("base") / "model", initializer_range=0.2)


def test_every_loss_of_trl_is_offered_or_refused_with_its_reason() -> None:
    """Of TRL's own text: its configuration names them, and does not check them."""
    from trl import DPOConfig as TrlDpoConfig

    told = TrlDpoConfig.__dataclass_fields__["loss_type"].metadata["help"]
    named = set(re.findall(r"`'(\w+)'`", told))
    offered = set(get_args(get_args(Loss)[0]))
    assert offered == set(FIRST) == KNOWN.keys() - {"sigmoid smoothed"}
    refused = {"aot", "aot_unpaired", "sft"}
    assert named == offered | refused
    for name, reason in {"aot": "micro_batch_size", "aot_unpaired": "processes", "sft": "nll_weight"}.items():
        with pytest.raises(ValidationError, match=reason):
            DpoConfig.model_validate({"loss": name})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_begins_at_its_known_value_and_is_the_same_however_split(name: str, base: Path, tmp_path: Path) -> None:
    """9 pairs in steps of 8: the second has one pair alone. Trained whole, and one pair at a time."""
    found = []
    for micro in (None, 1):
        config = config_of(name, micro_batch_size=micro)
        result = train_dpo(base, pairs(9), config, tmp_path / f"{micro}", seed=5)
        check_first_step(result, config=config)
        found.append(log(tmp_path / f"{micro}"))
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-4)
    first, second = found[0]
    assert first["loss"] == pytest.approx(KNOWN[name], abs=1e-5)
    assert at_reference(config_of(name)) == pytest.approx(KNOWN[name], abs=1e-5)
    assert first["dpo_loss"] == pytest.approx(math.log(2), abs=1e-5)  # DPO's own, for all of them
    if name.startswith("sigmoid") and "_" not in name:
        assert "preference_loss" not in first
        share = config_of(name).label_smoothing
        assert second["loss"] == pytest.approx(second["dpo_loss"] + share * second["rewards/margins"], abs=1e-5)
    else:
        assert second["preference_loss"] == pytest.approx(second["loss"], abs=1e-5)


@pytest.mark.slow
def test_a_loss_that_is_another_than_it_is_called_is_found_out(base: Path, tmp_path: Path) -> None:
    config = config_of("ipo")
    result = train_dpo(base, pairs(8), config, tmp_path / "train", seed=5)
    check_first_step(result, config=config)
    with pytest.raises(LoopViolation, match=r"first sppo_hard loss is 1\.0.*, not 2\.0"):
        check_first_step(result, config=config_of("sppo_hard"))
    with pytest.raises(LoopViolation, match="first ipo loss is None"):
        check_first_step(replace(result, first_step={"dpo_loss": math.log(2)}), config=config)


def test_settings_that_do_nothing_or_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="label_smoothing does nothing in the loss ipo"):
        DpoConfig(loss="ipo", label_smoothing=0.1)
    with pytest.raises(ValidationError, match="exo_pair needs a label_smoothing above 0"):
        DpoConfig(loss="exo_pair")
    with pytest.raises(ValidationError, match="label_smoothing"):
        DpoConfig(label_smoothing=0.5)


def test_the_usual_loss_leaves_no_trace_in_what_is_recorded() -> None:
    assert {"loss", "label_smoothing"} & DpoConfig().recorded().keys() == set()
    assert DpoConfig(loss="ipo").recorded()["loss"] == "ipo"
