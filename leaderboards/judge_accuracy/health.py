"""What a judge's scores look like, whatever is right: histogram, entropy, saturation, noise, length, lost judgments.

A judge whose scores all say the same, who contradicts itself, or who grades by length cannot teach, however well it
agrees with people elsewhere. Agreement with the truth is in ``agreement``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from leaderboards.base import row
from leaderboards.pooled import Floats, pooled_spearman, resampled_metric
from selfreward_bench import stats
from selfreward_bench.judges.parsing import Scale
from selfreward_bench.judges.pointwise import JudgeItem, rewards
from selfreward_bench.stats.samples import codes_of
from selfreward_bench.types import Judgment, Metric, Reward, SampleScore

__all__ = ["Judged", "collect", "health_metrics", "health_rows", "nearest_grade"]

_SHOWN_CHARACTERS: Final = 1_000
_SHOWN_JUDGMENTS: Final = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """One response and all judgments of it.

    Attributes:
        reward: None where no judgment was made at all; ``reason`` says why.
    """

    item: JudgeItem
    judgments: tuple[Judgment, ...]
    reward: Reward | None
    reason: str | None

    @property
    def score(self) -> float | None:
        """The mean of the parsed judgments, or the expected grade."""
        return None if self.reward is None else self.reward.score


def collect(items: Sequence[JudgeItem], judged: Iterable[Judgment], failures: Mapping[str, str]) -> list[Judged]:
    """Responses with their judgments, found by id.

    Args:
        failures: item id -> why the engine gave no answer (``Engine.failures``).
    """
    judged = list(judged)
    by_id: dict[str, list[Judgment]] = {}
    for judgment in judged:
        by_id.setdefault(f"{judgment.prompt_id}/{judgment.index}", []).append(judgment)
    reward = {r.id: r for r in rewards(judged)}
    found = []
    for item in items:
        mine = tuple(by_id.get(item.id, ()))
        reason = next((j.reason for j in mine if j.reason), None) or failures.get(item.id, "not_judged")
        lost = item.id not in reward or reward[item.id].score is None
        found.append(Judged(item, mine, reward.get(item.id), reason if lost else None))
    return found


def nearest_grade(score: float | None, scale: Scale) -> float | None:
    """The grade a score stands for: the nearest one, the higher of two equally near.

    >>> nearest_grade(4.5, Scale(low=0, high=5)), nearest_grade(4.49, Scale(low=0, high=5))
    (5.0, 4.0)
    """
    if score is None:
        return None
    step = math.floor((score - scale.low) / scale.step + 0.5 + 1e-9)  # 1e-9: a mean of grades is not exact
    return scale.grades[min(max(step, 0), len(scale.grades) - 1)]


def health_rows(judged: Sequence[Judged], scale: Scale) -> list[SampleScore]:
    """A row per response, and one per prompt for the correlation of its scores with its responses' lengths."""
    by_prompt: dict[str, list[Judged]] = {}
    for j in judged:
        by_prompt.setdefault(j.item.prompt_id, []).append(j)
    rows = [_response_row(j, scale) for j in judged]
    return rows + [_length_row(prompt_id, group) for prompt_id, group in by_prompt.items()]


def _response_row(judged: Judged, scale: Scale) -> SampleScore:
    grade = nearest_grade(judged.score, scale)
    numbers: dict[str, float | None] = {
        "mean_score": judged.score,
        "top_share": None if grade is None else float(grade == scale.grades[-1]),
    }
    numbers |= {f"grade/{g:g}": None if grade is None else float(grade == g) for g in scale.grades}
    spread = None if judged.reward is None else judged.reward.spread
    if spread is not None or len(judged.judgments) > 1:  # one sample has neither; one judgment's distribution has both
        numbers["score_spread"] = spread
        numbers["self_agreement"] = _self_agreement(judged.judgments)
    item = judged.item
    return row(
        f"response/{item.id}",
        item.prompt_id,
        numbers,
        reason=judged.reason,
        prompt=item.messages[-1].content[:_SHOWN_CHARACTERS],
        response=item.response[:_SHOWN_CHARACTERS],
        raw=[j.raw[:_SHOWN_CHARACTERS] for j in judged.judgments[:_SHOWN_JUDGMENTS]],
    )


def _self_agreement(made: Sequence[Judgment]) -> float | None:
    """The share of equal scores among pairs of parsed samples; of a distribution, the chance that two draws agree."""
    if len(made) == 1:
        shares = [float(p) for p in json.loads(made[0].raw)["probs"].values()]
        return math.fsum(p * p for p in shares) / math.fsum(shares) ** 2
    pairs = list(combinations([j.score for j in made if j.score is not None], 2))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def _length_row(prompt_id: str, group: Sequence[Judged]) -> SampleScore:
    value = stats.spearman([j.score for j in group], [len(j.item.response) for j in group])
    reason = "constant_scores_or_lengths" if value is None else None
    return row(f"length/{prompt_id}", prompt_id, {"length_spearman": value}, reason=reason)


def health_metrics(judged: Sequence[Judged], scale: Scale) -> dict[str, Metric]:
    """What is no mean over responses: entropy of the histogram (nats), pooled length correlation, lost judgments."""
    clusters = [j.item.prompt_id for j in judged]
    scores = [j.score for j in judged]
    made = [judgment for j in judged for judgment in j.judgments]
    return {
        "score_entropy": _entropy([nearest_grade(s, scale) for s in scores], clusters, scale),
        "length_spearman_pooled": pooled_spearman(scores, [len(j.item.response) for j in judged], clusters),
        "parse_failures": stats.mean_interval(
            [float(j.score is None) for j in made], [j.prompt_id for j in made], bounds=(0, 1)
        ),
    }


def _entropy(grades: Sequence[float | None], clusters: Sequence[str], scale: Scale) -> Metric:
    codes, n_clusters = codes_of(clusters, len(clusters)), len(set(clusters))
    column = {grade: k for k, grade in enumerate(scale.grades)}
    counts = np.zeros((n_clusters, len(column)))
    for code, grade in zip(codes, grades, strict=True):
        if grade is not None:
            counts[code, column[grade]] += 1

    def entropy(weights: Floats) -> Floats:
        histogram = weights @ counts
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = histogram / histogram.sum(axis=1, keepdims=True)
            return np.asarray(-np.where(shares > 0, shares * np.log(shares), shares * 0).sum(axis=1))

    return resampled_metric(entropy, n_clusters, int(counts.sum()), len(grades))
