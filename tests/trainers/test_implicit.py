"""DICE's length regularisation: what is taken off per token, and how much."""

from __future__ import annotations

import json

import pytest

from selfreward_bench.types import Judgment, Reward
from trainers.implicit import length_regularised, longer


def scored(*groups: list[tuple[float | None, int]]) -> tuple[list[Reward], list[Judgment]]:
    rewards, judgments = [], []
    for n, group in enumerate(groups):
        for i, (score, tokens) in enumerate(group):
            known = int(score is not None)
            rewards.append(Reward(prompt_id=f"p{n}", index=i, score=score, n_parsed=known, n_judgments=1))
            raw = json.dumps({"tokens": tokens})
            judgments.append(Judgment(prompt_id=f"p{n}", index=i, judge="implicit", score=score, raw=raw))
    return rewards, judgments


def test_a_given_alpha_is_taken_off_per_token() -> None:
    rewards, alpha = length_regularised(*scored([(1.0, 10), (None, 5)]), 0.02)
    assert alpha == 0.02
    assert [r.score for r in rewards] == [pytest.approx(0.8), None]


def test_alpha_is_found_where_chosen_answers_are_no_longer_than_rejected_ones() -> None:
    groups = [[(1.0, 20), (0.9, 10)], [(0.5, 30), (0.0, 10)], [(0.2, 5), (0.1, 15)]]
    rewards, alpha = length_regularised(*scored(*groups), None)  # type: ignore[arg-type]
    assert longer(groups, 0.0) == pytest.approx((10 + 20 - 10) / 3)
    assert alpha == pytest.approx(0.01, abs=1e-6)  # where the first group turns: 1 - 20 a = 0.9 - 10 a
    assert longer(groups, alpha) <= 0 < longer(groups, alpha - 1e-4)
    assert [r.score for r in rewards] == pytest.approx([s - alpha * n for group in groups for s, n in group])


def test_nothing_is_taken_off_where_short_answers_win_already() -> None:
    assert length_regularised(*scored([(1.0, 5), (0.0, 9)]), None)[1] == 0.0
    assert length_regularised(*scored([(1.0, 5)]), None)[1] == 0.0
