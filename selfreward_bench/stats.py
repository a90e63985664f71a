"""Statistics of paired, clustered samples: means and differences with intervals, rank agreement, Holm's correction.

A value that could not be scored is None: it is left out of the number and counted beside it, never made a number.
Nothing here depends on a model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from selfreward_bench.types import Metric

__all__ = [
    "Difference",
    "PairwiseAccuracy",
    "TiePolicy",
    "holm",
    "kendall_tau_b",
    "mean_interval",
    "paired_difference",
    "pairwise_accuracy",
    "spearman",
]

TiePolicy = Literal["half", "wrong", "drop"]
Floats = NDArray[np.float64]
_CHUNK = 2_000_000  # elements of a resampling matrix held at once


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of ``a - b`` over the samples both have.

    Attributes:
        low, high: bootstrap interval; None with fewer than two clusters.
        p_value: two-sided sign-flip test; None with nothing to compare.
        n: pairs used.
        n_total: pairs given.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n: int
    n_total: int


def mean_interval(
    values: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    n_boot: int = 10_000,
    level: float = 0.95,
) -> Metric:
    """The mean with a cluster bootstrap interval.

    Whole clusters (for example all samples of one prompt) are resampled. Percentile interval, its tails widened for few
    clusters as Student's t asks: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", expanded percentile.

    Args:
        values: shape (n,); None and NaN are not scored.
        clusters: shape (n,); None makes every value its own cluster.
    """
    sums, counts = _cluster_totals(values, clusters)
    low, high = _bootstrap(sums, counts, seed, n_boot, level)
    n_scored = int(counts.sum())
    value = float(sums.sum() / n_scored) if n_scored else None
    return Metric(value=value, low=low, high=high, n_scored=n_scored, n_total=len(values))


def paired_difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    n_boot: int = 10_000,
    level: float = 0.95,
) -> Difference:
    """Mean of ``a - b`` over samples in the same order, its cluster bootstrap interval and a sign-flip test.

    Under the hypothesis of no difference a cluster's total is as likely as its negative. All sign patterns are counted
    where there are at most ``n_boot``, otherwise ``n_boot`` random ones and the observed one (so p is never 0).

    Raises:
        ValueError: lengths differ.
    """
    gaps = [None if x is None or y is None else x - y for x, y in zip(a, b, strict=True)]
    sums, counts = _cluster_totals(gaps, clusters)
    n = int(counts.sum())
    if not n:
        return Difference(None, None, None, None, 0, len(gaps))
    low, high = _bootstrap(sums, counts, seed, n_boot, level)
    return Difference(float(sums.sum() / n), low, high, _sign_flip(sums, seed, n_boot), n, len(gaps))


def spearman(x: Sequence[float | None], y: Sequence[float | None]) -> float | None:
    """Spearman's rank correlation over the pairs both have; None when either side is constant."""
    pair = _both(x, y)
    return None if pair is None else float(scipy_stats.spearmanr(*pair).statistic)


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
        values = _array(scores)
        i, j = np.triu_indices(len(values), k=1)
        order = np.sign(_array(ranks)[j] - _array(ranks)[i])  # 1: response i is the better one
        agree = (order * np.sign(values[i] - values[j]))[order != 0]
        correct += int((agree > 0).sum())
        wrong += int((agree < 0).sum())
        ties += int((agree == 0).sum())
        unscored += int(np.isnan(agree).sum())
    return PairwiseAccuracy(correct, wrong, ties, unscored)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for step, position in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - step) * p_values[position]))
        adjusted[position] = running
    return adjusted


def _array(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _both(x: Sequence[float | None], y: Sequence[float | None]) -> tuple[Floats, Floats] | None:
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} values cannot be paired")
    left, right = _array(x), _array(y)
    keep = ~(np.isnan(left) | np.isnan(right))
    left, right = left[keep], right[keep]
    return (left, right) if len(left) > 1 and np.ptp(left) > 0 and np.ptp(right) > 0 else None


def _cluster_totals(values: Sequence[float | None], clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and count of the scored values of each cluster that has any; shapes (clusters,)."""
    labels = range(len(values)) if clusters is None else clusters
    if len(labels) != len(values):
        raise ValueError(f"{len(values)} values with {len(labels)} cluster labels")
    totals: dict[Hashable, list[float]] = {}
    for value, label in zip(values, labels, strict=True):
        if value is not None and not np.isnan(value):
            total = totals.setdefault(label, [0.0, 0.0])
            total[0] += value
            total[1] += 1
    table = np.array(list(totals.values()), dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _chunks(n_rows: int, n_columns: int) -> Iterator[int]:
    size = max(1, _CHUNK // n_columns)
    for start in range(0, n_rows, size):
        yield min(size, n_rows - start)


def _bootstrap(sums: Floats, counts: Floats, seed: int, n_boot: int, level: float) -> tuple[float | None, float | None]:
    n = len(sums)
    if n < 2:
        return None, None
    rng = np.random.default_rng(seed)
    means = []
    for rows in _chunks(n_boot, n):
        drawn = rng.integers(n, size=(rows, n))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    quantile = scipy_stats.t.ppf((1 + level) / 2, n - 1) * np.sqrt(n / (n - 1))
    tail = float(scipy_stats.norm.sf(quantile))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _sign_flip(sums: Floats, seed: int, n_flips: int) -> float:
    n = len(sums)
    observed = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # equal sums may differ in their last bits
    if 2**n <= n_flips:
        patterns = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(patterns @ sums) >= observed).mean())
    rng = np.random.default_rng((seed, 1))
    extreme = 0
    for rows in _chunks(n_flips, n):
        signs = 1 - 2 * rng.integers(2, size=(rows, n), dtype=np.int8)
        extreme += int((np.abs(signs @ sums) >= observed).sum())
    return (extreme + 1) / (n_flips + 1)
