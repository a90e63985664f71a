"""Meta-Rewarding (Wu et al., arXiv 2407.19594): preferences between judgments, so that the judge is trained as well.

Of each prompt the response is taken whose judgments differ most. Which of them is better, the model says itself as a
meta-judge, comparing every two in both orders (``elo``: strengths of a Bradley-Terry model), or their mean does
(``consensus``: the nearest to it against the farthest).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from selfreward_bench.judges.pairwise import PairItem, PairResult
from selfreward_bench.judges.prompts import JudgePrompt
from selfreward_bench.types import Completion, Judgment, Message, PreferencePair, Prompt

__all__ = ["Judged", "comparisons", "most_disputed", "prefer_by_consensus", "prefer_by_elo", "strengths"]

_ROUNDS: Final = 200
_PRIOR: Final = 0.5  # a draw against an opponent of mean strength: nobody's strength is infinite
_LEAST: Final = 1e-9


@dataclass(frozen=True)
class Judged:
    """A response and its judgments that gave a score, by the number of their sample."""

    prompt_id: str
    index: int
    asked: tuple[Message, ...]
    judgments: tuple[Judgment, ...]

    @property
    def id(self) -> str:
        return f"{self.prompt_id}/{self.index}"

    @property
    def mean(self) -> float:
        return statistics.fmean(_score(j) for j in self.judgments)


def most_disputed(
    prompts: Sequence[Prompt], answers: Iterable[Completion], judgments: Iterable[Judgment], judge: JudgePrompt
) -> list[Judged]:
    """Of each prompt the response with the largest variance of scores; prompts whose judgments all agree have none."""
    texts = {answer.id: answer.text for answer in answers}
    groups: dict[str, dict[int, list[Judgment]]] = {}
    for judgment in judgments:
        if judgment.score is not None:
            groups.setdefault(judgment.prompt_id, {}).setdefault(judgment.index, []).append(judgment)
    found = []
    for prompt in prompts:
        spread = {
            index: variance
            for index, group in groups.get(prompt.id, {}).items()
            if len(group) > 1 and (variance := statistics.pvariance(map(_score, group))) > _LEAST
        }
        if spread:
            index = max(spread, key=lambda at: (spread[at], -at))
            asked = judge.render(prompt.messages, response=texts[f"{prompt.id}/{index}"])
            kept = tuple(sorted(groups[prompt.id][index], key=lambda j: j.sample))
            found.append(Judged(prompt.id, index, asked, kept))
    return found


def prefer_by_consensus(judged: Iterable[Judged], min_gap: float) -> Iterator[PreferencePair]:
    """The judgment nearest to the mean score against the farthest, where that is ``min_gap`` farther."""
    for response in judged:
        mean = response.mean
        away = {j.sample: abs(_score(j) - mean) for j in response.judgments}
        near = min(response.judgments, key=lambda j: (away[j.sample], j.sample))
        far = max(response.judgments, key=lambda j: (away[j.sample], -j.sample))
        gap = away[far.sample] - away[near.sample]
        if gap > _LEAST and gap >= min_gap - _LEAST:
            yield _pair(response, near, far, -away[near.sample], -away[far.sample])


def comparisons(judged: Iterable[Judged]) -> Iterator[tuple[PairItem, tuple[int, int]]]:
    """Every two judgments of unlike texts, for the meta-judge; with the numbers of their samples."""
    for response in judged:
        pairs = [(a, b) for a, b in combinations(response.judgments, 2) if a.raw.strip() != b.raw.strip()]
        for number, (a, b) in enumerate(pairs):
            yield PairItem(response.id, number, response.asked, a.raw, b.raw), (a.sample, b.sample)


def prefer_by_elo(
    judged: Iterable[Judged], results: Iterable[PairResult], who: Mapping[tuple[str, int], tuple[int, int]]
) -> Iterator[PreferencePair]:
    """The strongest judgment against the weakest, by the meta-judge's comparisons.

    Args:
        results: of the comparisons, by response and number; those that could not be read do not count.
        who: the samples that a comparison was of.
    """
    fought: dict[str, list[tuple[int, int, float]]] = {}
    for result in results:
        if result.score is not None:
            fought.setdefault(result.prompt_id, []).append((*who[result.prompt_id, result.index], result.score))
    for response in judged:
        if not (matches := fought.get(response.id)):
            continue
        strength = strengths(matches)
        by_sample = {j.sample: j for j in response.judgments}
        best = max(strength, key=lambda sample: (strength[sample], -sample))
        worst = min(strength, key=lambda sample: (strength[sample], sample))
        if strength[best] - strength[worst] > 1e-6:
            yield _pair(response, by_sample[best], by_sample[worst], strength[best], strength[worst])


def strengths(matches: Sequence[tuple[int, int, float]]) -> dict[int, float]:
    """Strengths of a Bradley-Terry model in Elo's points (400 are odds of ten to one), their mean being 0.

    By Hunter's MM iterations (Annals of Statistics 32, 2004), with a draw of everybody against the mean.

    >>> {name: round(points) for name, points in strengths([(0, 1, 1.0), (1, 2, 1.0), (0, 2, 1.0)]).items()}
    {0: 225, 1: 0, 2: -225}

    Args:
        matches: who, against whom, and 1, 1/2 or 0 for the first.
    """
    names = sorted({name for a, b, _ in matches for name in (a, b)})
    won = dict.fromkeys(names, _PRIOR)
    for a, b, score in matches:
        won[a] += score
        won[b] += 1 - score
    strength = dict.fromkeys(names, 1.0)
    for _ in range(_ROUNDS):
        met = {name: 2 * _PRIOR / (strength[name] + 1) for name in names}
        for a, b, _ in matches:
            share = 1 / (strength[a] + strength[b])
            met[a] += share
            met[b] += share
        strength = {name: won[name] / met[name] for name in names}
    points = {name: 400 * math.log10(strength[name]) for name in names}
    mean = statistics.fmean(points.values())
    return {name: value - mean for name, value in points.items()}


def _pair(response: Judged, chosen: Judgment, rejected: Judgment, high: float, low: float) -> PreferencePair:
    return PreferencePair(
        prompt_id=f"judge:{response.id}",
        prompt=response.asked,
        chosen=(Message(role="assistant", content=chosen.raw.strip()),),
        rejected=(Message(role="assistant", content=rejected.raw.strip()),),
        chosen_score=high,
        rejected_score=low,
        chosen_index=chosen.sample,
        rejected_index=rejected.sample,
    )


def _score(judgment: Judgment) -> float:
    if judgment.score is None:
        raise ValueError(f"judgment {judgment.id} has no score")
    return judgment.score
