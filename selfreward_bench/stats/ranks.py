"""Agreement of orders: rank correlations, and pairs put in the right order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats as scipy_stats

from selfreward_bench.stats.samples import Floats, array, table_of

__all__ = [
    "PairwiseAccuracy",
    "TiePolicy",
    "kendall_tau_b",
    "pairwise_accuracy",
    "spearman",
]

TiePolicy = Literal["half", "wrong", "drop"]


def spearman(x: Sequence[float | None], y: Sequence[float | None]) -> float | None:
    """Spearman's rank correlation over the pairs both have; None when either side is constant."""
    pair = _both(x, y)
    if pair is None:
        return None
    left, right = (ranks - ranks.mean() for ranks in map(_ranks, pair))
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


def kendall_tau_b(x: Sequence[float | None], y: Sequence[float | None]) -> float | None:
    """Kendall's tau-b (corrected for ties) over the pairs both have; None when either side is constant."""
    pair = _both(x, y)
    return None if pair is None else float(scipy_stats.kendalltau(*pair, variant="b").statistic)


@dataclass(frozen=True, slots=True)
class PairwiseAccuracy:
    """How often scores order two responses as ranks do. Only pairs with DIFFERENT ranks count.

    Attributes:
        n_correct, n_wrong, n_ties: pairs both of whose responses have a score; a tie is two equal scores.
        n_unscored: pairs that lack a score.
    """

    n_correct: int
    n_wrong: int
    n_ties: int
    n_unscored: int

    @property
    def n_scored(self) -> int:
        """Pairs with two scores, ties included."""
        return self.n_correct + self.n_wrong + self.n_ties

    @property
    def tie_rate(self) -> float | None:
        """Share of the scored pairs that are ties."""
        return self.n_ties / self.n_scored if self.n_scored else None

    def accuracy(self, ties: TiePolicy = "half") -> float | None:
        """Share of correct pairs, a tie counting half, as wrong, or not at all."""
        total = self.n_scored - (self.n_ties if ties == "drop" else 0)
        return (self.n_correct + (self.n_ties / 2 if ties == "half" else 0)) / total if total else None


def pairwise_accuracy(groups: Iterable[tuple[Sequence[float | None], Sequence[int]]]) -> PairwiseAccuracy:
    """Counts the pairs within each group.

    Args:
        groups: for each prompt ``(scores, ranks)``, one entry per response; rank 0 is the best.

    >>> pairwise_accuracy([([3.0, 5.0, 3.0, None], [1, 0, 2, 3])])
    PairwiseAccuracy(n_correct=2, n_wrong=0, n_ties=1, n_unscored=3)
    """
    correct = wrong = ties = unscored = 0
    for scores, ranks in groups:
        values = array(scores)
        i, j = np.triu_indices(len(values), k=1)
        order = np.sign(array(ranks)[j] - array(ranks)[i])  # 1: response i is the better one
        agree = (order * np.sign(values[i] - values[j]))[order != 0]
        correct += int((agree > 0).sum())
        wrong += int((agree < 0).sum())
        ties += int((agree == 0).sum())
        unscored += int(np.isnan(agree).sum())
    return PairwiseAccuracy(correct, wrong, ties, unscored)


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing their mean rank; quicker than scipy's, which matters to a bootstrap."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[group], dtype=np.float64)


def _both(x: Sequence[float | None], y: Sequence[float | None]) -> Floats | None:
    pair = table_of([x, y])
    pair = pair[:, ~np.isnan(pair).any(axis=0)]
    return pair if pair.shape[1] > 1 and (np.ptp(pair, axis=1) > 0).all() else None
