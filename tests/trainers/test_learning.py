"""Warnings of rounds that could teach nothing, or did not: told where it is so, and silent where it is not."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from leaderboards.health.thresholds import THRESHOLDS
from selfreward_bench.config import JudgeConfig
from selfreward_bench.types import Reward
from trainers.learning import LOW_YIELD, length_warnings, pair_warnings, training_warnings

JUDGE = JudgeConfig()
FINE = {"prompts": 100.0, "pairs": 60.0, "pair_share": 0.6, "mean_gap": 1.2}


def rewards(spread: float | None, n_parsed: int = 3) -> list[Reward]:
    return [
        Reward(prompt_id=f"p{i}", index=k, score=3.0, spread=spread, n_parsed=n_parsed, n_judgments=n_parsed)
        for i in range(10)
        for k in range(4)
    ]


def test_a_sound_round_is_not_doubted() -> None:
    assert list(pair_warnings("M2", FINE, rewards(0.5), JUDGE)) == []


def test_few_pairs_are_told_also_of_a_control() -> None:
    counts = FINE | {"pairs": 20.0, "pair_share": 0.2}
    (told,) = pair_warnings("M2", counts, rewards(0.5), None)
    assert "20%" in told
    assert "20 of 100" in told


def test_the_limit_is_that_of_health() -> None:
    (limit,) = (t.limit for t in THRESHOLDS if "pairs_per_prompt" in t.measures)
    assert limit == LOW_YIELD


def test_a_gap_that_is_nothing_is_told() -> None:
    """Three hundredths of five points, each answer judged once (seen with random weights)."""
    (told,) = pair_warnings("M2", FINE | {"mean_gap": 0.03}, rewards(None, 1), JudgeConfig(mode="expected"))
    assert "0.03" in told
    assert "0 to 5" in told


def test_a_gap_that_repeated_judgments_explain_is_told() -> None:
    """Four answers of equal worth, three judgments each: what their best and worst differ by is what is compared."""
    rng, k, sd = random.Random(0), 3, 0.9
    means = [[sum(rng.gauss(3, sd) for _ in range(k)) / k for _ in range(4)] for _ in range(4000)]
    by_chance = sum(max(m) - min(m) for m in means) / len(means)
    assert [bool(list(pair_warnings("M2", FINE | {"mean_gap": by_chance * f}, rewards(sd), JUDGE))) for f in (0.95, 1.05)] == [True, False]  # fmt: skip # noqa: E501


def write_log(path: Path, losses: list[float]) -> Path:
    path.write_text("".join(json.dumps({"step": i, "dpo_loss": loss}) + "\n" for i, loss in enumerate(losses)))
    return path


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([math.log(2)] * 50, True),
        ([math.log(2) + random.Random(i).gauss(0, 0.05) for i in range(100)], True),
        ([math.log(2) - 0.004 * i for i in range(50)], False),
        ([math.log(2)] * 25 + [0.6, 0.64, 0.59, 0.7, 0.6] * 5, False),  # noisy, and yet below
        ([0.69, 0.7] * 9, False),  # too few to say
        ([math.log(2)] * 6, True),  # few, and none of them moved
        ([math.log(2), 0.6931, 0.6928, 0.6933, 0.6929, 0.6925], True),
        ([math.log(2), 0.6931, 0.6928, 0.6933, 0.6929, 0.6905], False),
        ([math.log(2)] * 4, False),  # the first ones are before and after a step of the warmup
        ([], False),
    ],
)
def test_a_loss_that_stays_at_ln_2_is_told(tmp_path: Path, losses: list[float], told: bool) -> None:
    found = list(training_warnings("M2", write_log(tmp_path / "log.jsonl", losses)))
    assert bool(found) == told
    assert all("ln 2" in text for text in found)


def test_records_that_are_too_long_are_told_where_they_are_many() -> None:
    (told,) = length_warnings("M1", "sft", {"records": 113, "truncated": 109})
    assert told.startswith("M1: 109 of 113 records were left out of its training, as they have more than sft.max_leng")
    for counts in ({"records": 100, "truncated": 10}, {"records": 100}, {}):
        assert list(length_warnings("M1", "sft", counts)) == []


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert list(training_warnings("M2", tmp_path / "log.jsonl")) == []
