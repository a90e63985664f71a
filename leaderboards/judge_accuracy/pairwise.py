"""Ranked responses judged two at a time: which pairs there are, and both orders of each as one verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

from leaderboards.base import Subject, kept
from leaderboards.judge_accuracy.agreement import PairVerdict, kappas, label_rows, pair_rows
from leaderboards.judge_accuracy.data import JudgeData
from selfreward_bench import stats
from selfreward_bench.judges.pairwise import Order, PairItem, PairwiseJudge, combine, request_id
from selfreward_bench.types import Judgment, Metric, RankedPrompt, SampleScore

__all__ = ["human_preference", "pair_items", "pair_judgments", "pair_verdicts", "pairwise_outcome"]

_SHOWN_CHARACTERS: Final = 1_000


def _pairs(prompt: RankedPrompt) -> list[tuple[int, int]]:
    return list(combinations(range(len(prompt.responses)), 2))


def pair_items(prompts: Sequence[RankedPrompt]) -> list[PairItem]:
    """Every pair of a prompt's responses as a pairwise judge gets it; ``index`` is its place among the prompt's."""
    return [
        PairItem(p.id, k, p.messages, p.responses[i].text, p.responses[j].text)
        for p in prompts
        for k, (i, j) in enumerate(_pairs(p))
    ]


def pair_judgments(subject: Subject, judge: PairwiseJudge, items: Sequence[PairItem]) -> list[Judgment]:
    """As ``base.judgments``, for pairs, in ``judgments.jsonl``."""
    return kept(
        subject, "judgments.jsonl", Judgment, lambda stored: judge.judge(items, {request_id(j) for j in stored})
    )


def human_preference(prompt: RankedPrompt, i: int, j: int) -> float:
    """1 where people rank response ``i`` above ``j``, 1/2 where they rank both alike, else 0."""
    a, b = prompt.responses[i].rank, prompt.responses[j].rank
    return (a < b) + (a == b) / 2


def pair_verdicts(
    prompts: Sequence[RankedPrompt],
    made: Sequence[Judgment],
    orders: tuple[Order, ...],
    failures: Mapping[str, str],
) -> Iterator[PairVerdict]:
    """Both orders of each pair as one verdict; with one order, that order's."""
    by_id = {request_id(j): j for j in made}
    both = {f"{r.prompt_id}/{r.index}": r.score for r in combine(made)} if len(orders) > 1 else {}
    for p in prompts:
        for k, (i, j) in enumerate(_pairs(p)):
            name = f"{p.id}/{k}"
            ab, ba = by_id.get(f"{name}/ab"), by_id.get(f"{name}/ba")
            said = [None if x is None else x.score for x in (ab, ba)]
            yield PairVerdict(
                id=name,
                cluster=p.id,
                truth=human_preference(p, i, j),
                verdict=both.get(name) if len(orders) > 1 else said[0 if orders == ("ab",) else 1],
                ab=said[0],
                ba=said[1],
                orders=orders,
                category=p.category,
                reason=_reason(name, ab, ba, failures),
                missing=("ab" in orders and ab is None) or ("ba" in orders and ba is None),
                detail={
                    "prompt": p.messages[-1].content[:_SHOWN_CHARACTERS],
                    "responses": [p.responses[n].text[:_SHOWN_CHARACTERS] for n in (i, j)],
                    "raw": {x.order: x.raw[:_SHOWN_CHARACTERS] for x in (ab, ba) if x is not None},
                },
            )


def _reason(name: str, ab: Judgment | None, ba: Judgment | None, failures: Mapping[str, str]) -> str | None:
    """Why a pair has no verdict, where it has none."""
    unread = next((x.reason for x in (ab, ba) if x is not None and x.reason), None)
    failed = next((failures[f"{name}/{order}"] for order in ("ab", "ba") if f"{name}/{order}" in failures), None)
    return unread or failed or ("not_judged" if ab is None and ba is None else None)


def pairwise_outcome(
    verdicts: Sequence[PairVerdict], made: Sequence[Judgment], data: JudgeData
) -> tuple[list[SampleScore], dict[str, Metric]]:
    """Agreement with people's preferences, and how many judgments gave no verdict.

    Args:
        made: the judgments that the verdicts were made of.
    """
    metrics = kappas(verdicts)
    lost, clusters = [float(j.score is None) for j in made], [j.prompt_id for j in made]
    metrics["parse_failures"] = stats.mean_interval(lost, clusters, bounds=(0, 1))
    return pair_rows(verdicts) + (label_rows(verdicts) if data.three_way else []), metrics
