"""A mean, a mean of means, or any statistic, with an interval that keeps clusters whole."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy import special
from scipy.stats import binomtest

from selfreward_bench.stats.resampling import mean_bca, resampled_interval
from selfreward_bench.stats.samples import ROUNDING, Floats, array, cluster_totals, codes_of, is_share, table_of
from selfreward_bench.types import Metric

__all__ = ["bootstrap_interval", "mean_interval", "stratified_mean"]

Statistic = Callable[..., float | None]
_FEW = 3  # successes, up to which Wilson's interval is too narrow


def mean_interval(
    values: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    n_boot: int = 10_000,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Metric:
    """The mean with a cluster bootstrap interval.

    Whole clusters (for example all samples of one prompt) are resampled. The interval is BCa (Efron 1987, "Better
    Bootstrap Confidence Intervals"), both its constants taken from the skewness of the cluster totals, which is what
    they are for a mean; its tails are widened for few clusters as Student's t asks (Hesterberg 2015, "What Teachers
    Should Know About the Bootstrap").

    A share with one value per cluster, known by ``bounds`` that are its only values, has Wilson's (1927) instead: few
    distinct outcomes make a bootstrap's ends jump. With three successes or fewer the end towards 0 is the exact one,
    and likewise towards 1: Wilson's is too narrow there (Brown, Cai & DasGupta 2001, "Interval Estimation for a
    Binomial Proportion").

    Where all clusters are alike there is nothing to resample, though 0 of n still allows a rate of about 3.7/n. Where
    ``bounds`` are known the interval is then Clopper and Pearson's of "none of n clusters is unlike" (the exact form of
    the rule of three), with an unlike cluster as far away as they allow: on the wide side for clusters of several
    values. Where they are not, it is that one point.

    Assumes independent clusters from the population one speaks of. Not for medians or correlations
    (``bootstrap_interval``).

    Args:
        values: shape (n,); None, NaN and infinite values are not scored.
        clusters: shape (n,); None makes every value its own cluster.
        bounds: the least and the greatest value there can be; (0, 1) for a share. No end lies beyond them.

    >>> found = mean_interval([0.0] * 80, bounds=(0, 1))
    >>> found.value, found.low, round(found.high, 3)
    (0.0, 0.0, 0.045)
    """
    sums, counts = cluster_totals(array(values), clusters)
    is_simple = bounds is not None and len(sums) == counts.sum() and set(sums) == set(bounds)
    low, high = _share(sums, level) if is_simple else mean_bca(sums, counts, seed, n_boot, level, bounds)
    n_scored = int(counts.sum())
    value = float(sums.sum() / n_scored) if n_scored else None
    return Metric(value=value, low=low, high=high, n_scored=n_scored, n_total=len(values))


def _share(values: Floats, level: float) -> tuple[float | None, float | None]:
    """Interval of the mean of independent values of two kinds, both of which occur."""
    least, greatest = values.min(), values.max()
    n, successes = len(values), int((values == greatest).sum())
    test = binomtest(successes, n)
    (low, high), exact = test.proportion_ci(level, "wilson"), test.proportion_ci(level, "exact")
    if successes <= _FEW:
        low = min(low, exact.low)
    if n - successes <= _FEW:
        high = max(high, exact.high)
    spread = float(greatest - least)
    return float(least) + spread * float(low), float(least) + spread * float(high)


def stratified_mean(
    strata: Sequence[tuple[Sequence[float | None], Sequence[Hashable], float]], *, level: float = 0.95
) -> Metric:
    """The weighted sum of the strata's means; clusters are drawn within each stratum, as of MMLU's subjects.

    Each mean's variance is that of a cluster sample, the interval Student's, at most as wide as shares can be where all
    values are shares. A stratum of shares whose clusters are all alike gets the variance that two more successes and
    two more failures would give it (Agresti & Coull 1998), because it is not certain.

    Args:
        strata: values, clusters, and the weight of their mean; weights sum to 1.

    Returns:
        Without a value where a stratum has none; without an interval where one has a single cluster.
    """
    value, variance, freedom, n_scored, shares = 0.0, 0.0, 0, 0, True
    for column, clusters, weight in strata:
        scores = array(column)
        sums, counts = cluster_totals(scores, clusters)
        n_scored += int(counts.sum())
        mean = float(sums.sum() / counts.sum()) if len(sums) else np.nan
        value += weight * mean
        variance += weight**2 * _variance(sums, counts, alike=is_share(scores))
        freedom += len(sums) - 1
        shares &= not ((scores < 0) | (scores > 1)).any()
    n_total = sum(len(column) for column, _, _ in strata)
    if np.isnan(value) or np.isnan(variance):
        return Metric(value=None if np.isnan(value) else value, n_scored=n_scored, n_total=n_total)
    half = float(special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance))
    low, high = (max(0.0, value - half), min(1.0, value + half)) if shares else (value - half, value + half)
    return Metric(value=value, low=low, high=high, n_scored=n_scored, n_total=n_total)


def _variance(sums: Floats, counts: Floats, *, alike: bool) -> float:
    """Of ``sum(sums) / sum(counts)``; NaN for fewer than two clusters.

    Args:
        alike: whether clusters that are all alike are shares, of which more is known.
    """
    n = len(sums)
    if n < 2:
        return np.nan
    mean = sums.sum() / counts.sum()
    spread = float(((sums - mean * counts) ** 2).sum())
    if alike and spread <= (ROUNDING * counts.sum()) ** 2:
        share = (n * mean + 2) / (n + 4)
        return float(share * (1 - share) / (n + 4))
    return float(spread / counts.sum() ** 2 * n / (n - 1))


def bootstrap_interval(
    statistic: Statistic,
    columns: Sequence[Sequence[float | None]],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    n_boot: int = 2_000,
    level: float = 0.95,
) -> Metric:
    """Any statistic of columns with a cluster bootstrap interval, for example a correlation pooled over prompts.

    The interval is that of ``resampled_interval``, with its assumptions; the statistic is called ``n_boot`` times and
    once per cluster. Not for means: ``mean_interval`` is many times as fast.

    Args:
        statistic: takes the columns as arrays; None or NaN where it has no value.
        columns: each of shape (n,); a row counts where no column lacks its value.

    Raises:
        ValueError: lengths differ, or there is no column.

    >>> from selfreward_bench.stats import spearman
    >>> x, y = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 1.0, 4.0, 3.0, 6.0, None]
    >>> found = bootstrap_interval(spearman, [x, y], n_boot=500)
    >>> round(found.value, 3), found.n_scored, found.n_total
    (0.8, 5, 6)
    """
    table = table_of(columns)
    scored = ~np.isnan(table).any(axis=0)
    kept = table[:, scored]
    _, codes = np.unique(codes_of(clusters, table.shape[1])[scored], return_inverse=True)
    value = _defined(statistic(*kept)) if scored.any() else np.nan
    n_scored, n_total = kept.shape[1], table.shape[1]
    if np.isnan(value):
        return Metric(value=None, n_scored=n_scored, n_total=n_total)
    rows = np.arange(n_scored)

    def drawn(times: Floats) -> Floats:
        chosen = (kept[:, np.repeat(rows, row[codes].astype(np.intp))] for row in times)
        return np.array([_defined(statistic(*resample)) for resample in chosen])

    low, high = resampled_interval(drawn, int(codes.max()) + 1, seed=seed, n_boot=n_boot, level=level)
    return Metric(value=value, low=low, high=high, n_scored=n_scored, n_total=n_total)


def _defined(value: float | None) -> float:
    return np.nan if value is None else float(value)
