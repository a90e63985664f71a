"""Ranked responses judged one at a time: what a judge is asked, and how its scores agree with people's ranks."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.base import measures
from leaderboards.judge_accuracy.agreement import PairVerdict, agreement_rows, five_best_rows
from leaderboards.judge_accuracy.health import Judged, health_metrics, health_rows, nearest_grade
from leaderboards.judge_accuracy.pairwise import human_preference
from leaderboards.pooled import pooled_kendall, pooled_spearman
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.judges.prompts import JudgePrompt
from selfreward_bench.types import Metric, RankedPrompt, SampleScore

__all__ = ["ranked_items", "ranked_outcome", "verdicts_by_score"]


def ranked_items(prompts: Sequence[RankedPrompt]) -> list[JudgeItem]:
    """Every response as a pointwise judge gets it; ``index`` is its place in the prompt."""
    return [JudgeItem(p.id, i, p.messages, response.text) for p in prompts for i, response in enumerate(p.responses)]


def ranked_outcome(
    prompts: Sequence[RankedPrompt], judged: Sequence[Judged], prompt: JudgePrompt, *, pairs: bool = False
) -> tuple[list[SampleScore], dict[str, Metric]]:
    """Agreement with the ranks and health of the scores, of a pointwise judge.

    Args:
        judged: of ``ranked_items(prompts)``.
        pairs: whether all prompts have two responses, whose order is no more than the pair.
    """
    scores = {j.item.id: j.score for j in judged}
    rows = health_rows(judged, prompt.scale)
    all_scores: list[float | None] = []
    all_truth: list[float] = []
    for p in prompts:
        mine = [scores.get(f"{p.id}/{i}") for i in range(len(p.responses))]
        truth = [-float(r.rank) for r in p.responses]
        rows += agreement_rows("", p.id, mine, truth, category=p.category, order=not pairs)
        if len(set(truth)) > 1:
            grades = [nearest_grade(s, prompt.scale) for s in mine]
            rows += five_best_rows(p.id, grades, truth, prompt.scale.grades[-1])
        all_scores += mine
        all_truth += truth
    metrics = health_metrics(judged, prompt.scale)
    if not any("five_best" in measures(r) for r in rows):  # no response was given the top grade
        metrics["five_best"] = Metric(value=None, n_scored=0, n_total=0)
    if not pairs:
        clusters = [p.id for p in prompts for _ in p.responses]
        metrics["spearman_pooled"] = pooled_spearman(all_scores, all_truth, clusters)
        metrics["kendall_tau_b_pooled"] = pooled_kendall(all_scores, all_truth, clusters)
    return rows, metrics


def verdicts_by_score(prompts: Sequence[RankedPrompt], judged: Sequence[Judged]) -> list[PairVerdict]:
    """The verdict of a pointwise judge: the higher score wins, equal scores tie."""
    scores = {j.item.id: j.score for j in judged}
    found = []
    for p in prompts:
        a, b = (scores.get(f"{p.id}/{i}") for i in (0, 1))
        verdict = None if a is None or b is None else (a > b) + (a == b) / 2
        found.append(PairVerdict(f"{p.id}/0", p.id, human_preference(p, 0, 1), verdict, category=p.category))
    return found
