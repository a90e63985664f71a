"""DICE's length regularisation: what is taken off per token, and how much."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from selfreward_bench.config import PairsConfig
from selfreward_bench.types import Completion, Judgment, Message, Prompt, Reward
from trainers.implicit import alpha_of, length_regularised, longer

Rewarded = list[tuple[Prompt, list[Completion], list[Reward]]]


def scored(*groups: Sequence[tuple[float | None, int]], **finish: str) -> tuple[Rewarded, list[Judgment]]:
    """Answers as (reward, tokens); ``p0_1="length"`` ends the second of the first prompt."""
    rewarded: Rewarded = []
    judgments = []
    for n, group in enumerate(groups):
        prompt = Prompt(id=f"p{n}", messages=(Message(role="user", content="Go on."),))
        answers, rewards = [], []
        for i, (score, tokens) in enumerate(group):
            told: Any = finish.get(f"p{n}_{i}", "stop")
            name = {"prompt_id": prompt.id, "index": i}
            answers.append(Completion(**name, text=f"answer {i}", n_tokens=tokens, finish_reason=told, seed=0))
            rewards.append(Reward(**name, score=score, n_parsed=int(score is not None), n_judgments=1))
            raw = json.dumps({"tokens": tokens})
            judgments.append(Judgment(**name, judge="implicit", score=score, raw=raw))
        rewarded.append((prompt, answers, rewards))
    return rewarded, judgments


def found(*groups: Sequence[tuple[float | None, int]], **finish: str) -> float:
    return alpha_of(*scored(*groups, **finish), PairsConfig())


GROUPS = [[(1.0, 20), (0.9, 10)], [(0.5, 30), (0.0, 10)], [(0.2, 5), (0.1, 15)]]


def test_alpha_is_taken_off_per_token() -> None:
    rewarded, judgments = scored([(1.0, 10), (None, 5)])
    rewards = length_regularised(rewarded[0][2], judgments, 0.02)
    assert [r.score for r in rewards] == [pytest.approx(0.8), None]


def test_alpha_is_found_where_chosen_answers_are_no_longer_than_rejected_ones() -> None:
    sides = [(group, group) for group in GROUPS]
    alpha = found(*GROUPS)
    assert longer(sides, 0.0) == pytest.approx((10 + 20 - 10) / 3)
    assert alpha == pytest.approx(0.01, abs=1e-6)  # where the first group turns: 1 - 20 a = 0.9 - 10 a
    assert longer(sides, alpha) <= 0 < longer(sides, alpha - 1e-4)


def test_nothing_is_taken_off_where_short_answers_win_already() -> None:
    assert found([(1.0, 5), (0.0, 9)]) == 0.0
    assert found([(1.0, 5)]) == 0.0


def test_answers_that_can_be_in_no_pair_do_not_count() -> None:
    """One that was cut off is long, and its reward high: chosen answers are not that long."""
    with_long = [[*group, (9.0, 400)] for group in GROUPS]
    assert found(*with_long, p0_2="length", p1_2="length", p2_2="length") == found(*GROUPS)
    assert found(*with_long) > 0.02
    assert found(*[[*group, (None, 400)] for group in GROUPS]) == found(*GROUPS)


def test_each_side_counts_the_answers_that_may_be_on_it() -> None:
    """What people wrote is chosen: how long the model's own better answers are does not matter."""
    rewarded, judgments = scored([(3.0, 50), (0.0, 10)])
    prompt, answers, rewards = rewarded[0]
    changes = {"index": 1000, "text": "by a person"}
    answers.append(answers[0].model_copy(update=changes))
    rewards.append(Reward(prompt_id=prompt.id, index=1000, score=1.0, n_parsed=1, n_judgments=1))
    judgments.append(judgments[0].model_copy(update={"index": 1000, "raw": json.dumps({"tokens": 12}), "score": 1.0}))
    alpha = alpha_of(rewarded, judgments, PairsConfig(chosen_from="human"))
    assert alpha == pytest.approx(3 / 40)  # where the long one is the worst: 3 - 50 a = 0 - 10 a
    assert alpha_of(rewarded, judgments, PairsConfig()) == pytest.approx(3 / 40)  # of its own two
    judgments[-1] = judgments[-1].model_copy(update={"raw": json.dumps({"tokens": 9})})
    assert alpha_of(rewarded, judgments, PairsConfig(chosen_from="human")) == 0.0
