"""Pairs of judgments: of which response, which two, and how strong comparisons make them."""

from __future__ import annotations

import pytest

from selfreward_bench.judges.pairwise import PairResult
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.types import Completion, Judgment, Message, Prompt
from trainers.meta import comparisons, most_disputed, prefer_by_consensus, prefer_by_elo, strengths

JUDGE = load_judge_prompt("additive-5pt")
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Name a red food."),))


def answer(index: int) -> Completion:
    return Completion(prompt_id="p", index=index, text=f"answer {index}", n_tokens=1, finish_reason="stop", seed=0)


def judgment(index: int, sample: int, score: float | None) -> Judgment:
    raw = f" I say so. Score: {score}" if score is not None else "I cannot say."
    return Judgment(prompt_id="p", index=index, sample=sample, judge="j", score=score, raw=raw)


def judgments(*scores: tuple[float | None, ...]) -> list[Judgment]:
    return [judgment(i, k, s) for i, group in enumerate(scores) for k, s in enumerate(group)]


def test_the_response_is_taken_whose_judgments_differ_most() -> None:
    (found,) = most_disputed([PROMPT], [answer(0), answer(1)], judgments((3, 4, 4), (1, 5, None)), JUDGE)
    assert (found.index, [j.sample for j in found.judgments]) == (1, [0, 1])  # the unreadable one is none
    assert "answer 1" in found.asked[-1].content
    assert most_disputed([PROMPT], [answer(0)], judgments((3, 3, None)), JUDGE) == []


def test_the_nearest_to_the_mean_is_preferred_to_the_farthest() -> None:
    judged = most_disputed([PROMPT], [answer(0)], judgments((4, 3, 1, 4)), JUDGE)  # the mean is 3
    (pair,) = prefer_by_consensus(judged, 1.0)
    assert (pair.chosen_index, pair.rejected_index) == (1, 2)
    assert (pair.chosen_score, pair.rejected_score) == (0.0, -2.0)
    assert pair.chosen[-1].content == "I say so. Score: 3"
    assert pair.prompt == judged[0].asked
    assert list(prefer_by_consensus(judged, 2.5)) == []
    even = most_disputed([PROMPT], [answer(0)], judgments((2, 4)), JUDGE)
    assert list(prefer_by_consensus(even, 0.0)) == []  # both are as far from 3


def test_every_two_unlike_judgments_meet_once() -> None:
    judged = most_disputed([PROMPT], [answer(0)], judgments((4, 3, 4)), JUDGE)
    assert [samples for _, samples in comparisons(judged)] == [(0, 1), (1, 2)]  # 0 and 2 say the same


def test_who_wins_the_comparisons_is_preferred() -> None:
    judged = most_disputed([PROMPT], [answer(0)], judgments((4, 3, 1)), JUDGE)
    asked = list(comparisons(judged))
    who = {(item.prompt_id, item.index): samples for item, samples in asked}
    scores = {(0, 1): 0.0, (0, 2): 0.5, (1, 2): 1.0}
    results = [PairResult(item.prompt_id, item.index, scores[s], True, 2) for item, s in asked]
    (pair,) = prefer_by_elo(judged, results, who)
    assert (pair.chosen_index, pair.rejected_index) == (1, 2) or pair.chosen_index == 1
    assert pair.chosen_score > pair.rejected_score
    unread = [PairResult(item.prompt_id, item.index, None, None, 1) for item, _ in asked]
    assert list(prefer_by_elo(judged, unread, who)) == []
    ties = [PairResult(item.prompt_id, item.index, 0.5, False, 2) for item, _ in asked]
    assert list(prefer_by_elo(judged, ties, who)) == []


def test_strengths_are_those_of_a_bradley_terry_model_with_its_prior() -> None:
    """Held against its likelihood, maximised by scipy."""
    import numpy as np
    from scipy.optimize import minimize

    matches = [(0, 1, 1.0), (0, 1, 0.0), (0, 1, 1.0), (1, 2, 0.5), (0, 2, 1.0), (2, 1, 1.0)]

    def loss(points: np.ndarray) -> float:
        total = sum(0.5 * (np.logaddexp(0, -p) + np.logaddexp(0, p)) for p in points)
        for a, b, score in matches:
            total += score * np.logaddexp(0, points[b] - points[a])
            total += (1 - score) * np.logaddexp(0, points[a] - points[b])
        return float(total)

    best = minimize(loss, np.zeros(3), tol=1e-12).x * 400 / np.log(10)
    found = strengths(matches)
    assert [found[i] for i in range(3)] == pytest.approx(list(best - best.mean()), abs=0.1)
