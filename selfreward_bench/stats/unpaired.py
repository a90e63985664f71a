"""Two sides on samples of their own: what cannot be paired, such as judgments of each model's own answers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy import special

from selfreward_bench.stats.paired import Difference
from selfreward_bench.stats.samples import Floats, array, cluster_totals

__all__ = ["unpaired_difference"]


def unpaired_difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    clusters_a: Sequence[Hashable] | None = None,
    clusters_b: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Difference:
    """The difference of two means whose samples are unlike, with Welch's (1947) interval and test.

    Each mean's variance is that of a cluster sample. Assumes that both sides are independent: where they share prompts
    whose difficulty both feel, the interval is too wide, never too narrow. Not for what can be paired.

    Returns:
        Without interval and test where a side has fewer than two clusters, or shows no spread at all.
    """
    sides = [cluster_totals(array(values), c) for values, c in ((a, clusters_a), (b, clusters_b))]
    n = int(min(counts.sum() for _, counts in sides))
    n_total = max(len(a), len(b))
    if not n:
        return Difference(None, None, None, None, 0, n_total)
    value = float(np.subtract(*(sums.sum() / counts.sum() for sums, counts in sides)))
    parts = [(_variance(sums, counts), len(sums) - 1) for sums, counts in sides]
    total = sum(variance for variance, _ in parts)
    if min(freedom for _, freedom in parts) < 1 or not total > 0:
        return Difference(value, None, None, None, n, n_total)
    freedom = total**2 / sum(variance**2 / f for variance, f in parts)
    half = float(special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(total))
    p_value = float(2 * special.stdtr(freedom, -abs(value) / np.sqrt(total)))
    return Difference(value, value - half, value + half, p_value, n, n_total)


def _variance(sums: Floats, counts: Floats) -> float:
    n = len(sums)
    if n < 2:
        return 0.0
    residuals = sums - counts * (sums.sum() / counts.sum())
    return float(n / (n - 1) * (residuals**2).sum() / counts.sum() ** 2)
