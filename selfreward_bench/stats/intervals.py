"""A mean, or any statistic, with an interval that keeps clusters whole."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from selfreward_bench.stats.resampling import mean_bca, resampled_interval
from selfreward_bench.stats.samples import Floats, array, cluster_totals, codes_of, table_of
from selfreward_bench.types import Metric

__all__ = ["bootstrap_interval", "mean_interval"]

Statistic = Callable[..., float | None]


def mean_interval(
    values: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    n_boot: int = 10_000,
    level: float = 0.95,
) -> Metric:
    """The mean with a cluster bootstrap interval.

    Whole clusters (for example all samples of one prompt) are resampled. The interval is BCa (Efron 1987, "Better
    Bootstrap Confidence Intervals"), both its constants taken from the skewness of the cluster totals, which is what
    they are for a mean; its tails are widened for few clusters as Student's t asks (Hesterberg 2015, "What Teachers
    Should Know About the Bootstrap").

    Assumes independent clusters from the population one speaks of. Not for values that are nearly all equal: where all
    are, the interval is that one point, though 0 of n still allows a rate of about 3/n. Not for medians or correlations
    (``bootstrap_interval``).

    Args:
        values: shape (n,); None, NaN and infinite values are not scored.
        clusters: shape (n,); None makes every value its own cluster.
    """
    sums, counts = cluster_totals(array(values), clusters)
    low, high = mean_bca(sums, counts, seed, n_boot, level)
    n_scored = int(counts.sum())
    value = float(sums.sum() / n_scored) if n_scored else None
    return Metric(value=value, low=low, high=high, n_scored=n_scored, n_total=len(values))


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
