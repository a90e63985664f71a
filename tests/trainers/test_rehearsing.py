"""Judgments beside preferences: the loss is the one that is meant, and a step's judgments are its own."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import DpoConfig, RehearsalConfig
from selfreward_bench.errors import IncompatibleRunError, TrainingError
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import PreferencePair
from trainers.batches import Split
from trainers.checkpoints import read_card
from trainers.dpo import check_first_step, train_dpo
from trainers.rehearsing import Rehearsal, Rehearsed
from trainers.rendering import Turn, load_tokenizer, render_turns

from .conftest import contents, examples, pairs, run_until_killed
from .test_dpo import kill_at

CONFIG = DpoConfig(
    beta=0.5,
    nll_weight=0.3,
    learning_rate=1e-3,
    final_learning_rate=1e-4,
    epochs=2.0,
    batch_size=8,
    save_every=3,
    max_length=64,
)
GIVEN = Rehearsal(tuple(examples(13)), RehearsalConfig(what=("own",), size=6, weight=0.5))


def train(
    policy: Path, out: Path, config: DpoConfig = CONFIG, given: list[PreferencePair] | None = None, **options: Any
) -> Any:
    return train_dpo(policy, given or pairs(30), config, out, seed=5, **({"rehearsal": GIVEN} | options))


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "train"
    train(policy, out)
    return out


def nll_per_token(policy: Path, n: int) -> float:
    """Of the first examples, with plain transformers, one at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(policy, dtype="float32").eval()
    total = count = 0.0
    for turn in render_turns(load_tokenizer(policy), [(e.id, e.prompt, e.completion) for e in examples(n)]):
        ids = torch.tensor([turn.prompt + turn.completion])
        with torch.no_grad():
            logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        total -= float(logps.gather(1, ids[0, 1:, None])[len(turn.prompt) - 1 :].sum())
        count += len(turn.completion)
    return total / count


@pytest.mark.slow
def test_the_loss_is_that_of_the_pairs_plus_the_weighted_mean_per_rehearsed_token(policy: Path, tmp_path: Path) -> None:
    whole = CONFIG.model_copy(update={"batch_size": 30, "micro_batch_size": 3})
    given = Rehearsal(tuple(examples(13)), RehearsalConfig(what=("own",), size=13, weight=0.7))
    result = train(policy, tmp_path / "with", whole, rehearsal=given)
    without = train(policy, tmp_path / "without", whole, rehearsal=None)
    check_first_step(result)
    expected = nll_per_token(policy, 13)
    first = result.first_step
    assert first["rehearsal_loss"] == pytest.approx(expected, abs=1e-4)
    assert first["loss"] == pytest.approx(without.first_loss + 0.7 * expected, abs=1e-4)
    assert (first["rehearsed"], result.rehearsed) == (13, 13)
    assert first["tokens"] > without.first_step["tokens"] + first["rehearsed_tokens"] > 0
    apart = ("dpo_loss", "mean_token_accuracy", "logps/chosen", "length/chosen")  # what is logged of the pairs
    assert {k: first[k] for k in apart} == pytest.approx({k: without.first_step[k] for k in apart}, abs=1e-4)
    assert (without.rehearsed, without.rehearsal_losses) == (0, None)


@pytest.mark.slow
def test_it_learns_the_judgments_beside_the_preferences(policy: Path, undisturbed: Path) -> None:
    log = lines(undisturbed)
    assert log[0]["dpo_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert sum(line["dpo_loss"] for line in log[4:]) / 4 < math.log(2)
    assert sum(line["rehearsal_loss"] for line in log[4:]) / 4 < log[0]["rehearsal_loss"]
    result = train(policy, undisturbed)
    assert result.rehearsal_losses == (log[0]["rehearsal_loss"], log[-1]["rehearsal_loss"])
    card = read_card(undisturbed / "checkpoint")
    assert card is not None
    assert (card.counts["pairs"], card.counts["rehearsed"]) == (30, 13)


@pytest.mark.slow
def test_alone_the_pairs_carry_no_loss(policy: Path, tmp_path: Path) -> None:
    """With preferences turned round the same weights come out; they give the steps alone."""
    alone = replace(GIVEN, config=GIVEN.config.model_copy(update={"alone": True}))
    turned = [p.model_copy(update={"chosen": p.rejected, "rejected": p.chosen}) for p in pairs(30)]
    one = train(policy, tmp_path / "a", rehearsal=alone)
    other = train(policy, tmp_path / "b", given=turned, rehearsal=alone)
    assert weights_fingerprint(one.checkpoint) == weights_fingerprint(other.checkpoint) != weights_fingerprint(policy)
    assert one.first_loss == pytest.approx(0.5 * one.first_step["rehearsal_loss"], abs=1e-5)
    assert one.steps == 8


@pytest.mark.slow
def test_without_a_rehearsal_the_plan_of_a_training_is_as_it_was(
    policy: Path, undisturbed: Path, tmp_path: Path
) -> None:
    train(policy, tmp_path / "plain", rehearsal=None)
    plain, rehearsed = (json.loads((out / "plan.json").read_text()) for out in (tmp_path / "plain", undisturbed))
    assert not [key for key in plain if "rehears" in key]
    assert {key for key in rehearsed if key not in plain} == {
        "rehearsed", *(f"rehearsal.{name}" for name in ("what", "weight", "size", "alone"))
    }  # fmt: skip
    assert not [key for line in lines(tmp_path / "plain") for key in line if "rehears" in key]


def test_a_training_with_other_judgments_is_another(policy: Path, undisturbed: Path) -> None:
    others = Rehearsal(tuple(examples(12)), GIVEN.config)
    with pytest.raises(IncompatibleRunError, match="rehearsed"):
        train(policy, undisturbed, rehearsal=others)


@pytest.mark.slow
def test_judgments_that_are_too_long_are_left_out(policy: Path, tmp_path: Path) -> None:
    long = examples(1)[0].model_copy(update={"id": "long", "prompt": examples(1)[0].prompt * 20})
    with_long = Rehearsal((*examples(13), long), GIVEN.config)
    assert train(policy, tmp_path / "a", rehearsal=with_long).rehearsed == 13
    with pytest.raises(TrainingError, match="of 1 rehearsed judgments, 1 exceed 64 tokens"):
        train(policy, tmp_path / "b", rehearsal=Rehearsal((long,), GIVEN.config))


@pytest.mark.slow
def test_killed_and_resumed_equals_undisturbed(policy: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    run_until_killed(lambda: train(policy, out, progress=kill_at(5)))
    train(policy, out)
    assert contents(out) == contents(undisturbed)


# --- which judgments a step has


def rehearsed(count: int, size: int, seed: int = 5, split: Split = Split(8, 8)) -> Rehearsed:  # noqa: B008  # frozen
    turns = [Turn([1] * (1 + i % 7), [2]) for i in range(count)]
    return Rehearsed(turns, [len(t) for t in turns], RehearsalConfig(what=("own",), size=size), split, seed, {})


def test_each_judgment_comes_once_before_any_comes_again() -> None:
    given = rehearsed(10, 4)
    drawn = [at for step in range(10) for at in given.records(step)]
    assert [len(given.records(step)) for step in range(10)] == [4] * 10
    laps = [drawn[at : at + 10] for at in range(0, 40, 10)]
    assert all(sorted(lap) == list(range(10)) for lap in laps)
    assert len({tuple(lap) for lap in laps}) == 4
    assert drawn != [at for step in range(10) for at in rehearsed(10, 4, seed=6).records(step)]
    assert len(rehearsed(3, 64).records(0)) == 3  # none is there twice in a step for want of others


@pytest.mark.parametrize(("micro", "processes"), [(8, 1), (1, 1), (2, 2), (1, 4)])
def test_a_split_changes_nothing_of_what_a_step_has(micro: int, processes: int) -> None:
    for step in range(5):
        shares = [
            rehearsed(10, 5, split=Split(8, micro, processes, index, sequences=2)).deal(step)
            for index in range(processes)
        ]
        assert len({len(share) for share in shares}) == 1
        dealt = Counter(at for share in shares for batch in share for at in batch if at != 10)
        assert dealt == Counter(rehearsed(10, 5).records(step))
        assert max(len(batch) for share in shares for batch in share) <= 2 * micro
