"""Clusters drawn again, or with their signs flipped: the distributions that intervals and tests are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from selfreward_bench.stats.samples import ROUNDING, Floats

__all__ = ["percentile_interval", "resampled_interval"]

_BLOCK = 2**18  # elements of a resampling matrix made at once


@lru_cache(maxsize=128)  # of at most 256 KiB each; the metrics of one benchmark share their prompts' draws
def _resample(n: int, rows: int, seed: int, block: int) -> NDArray[np.uint8]:
    """How often each of n clusters is drawn; shape (rows, n), each row sums to n."""
    drawn = np.random.default_rng((seed, block)).integers(n, size=(rows, n), dtype=np.uint32)
    cells = drawn + n * np.arange(rows)[:, None]
    times = np.bincount(cells.ravel(), minlength=rows * n).astype(np.uint8).reshape(rows, n)
    times.setflags(write=False)
    return times


def _blocks(n_rows: int, n_columns: int) -> Iterator[int]:
    size = max(1, _BLOCK // n_columns)
    for start in range(0, n_rows, size):
        yield min(size, n_rows - start)


def _resamples(n: int, n_boot: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    for block, rows in enumerate(_blocks(n_boot, n)):
        yield _resample(n, rows, seed, block)


def mean_bca(
    sums: Floats, counts: Floats, seed: int, n_boot: int, level: float, bounds: tuple[float, float] | None = None
) -> tuple[float | None, float | None]:
    """BCa interval of ``sum(sums) / sum(counts)``; where all clusters are alike, what one unlike them could change."""
    n = len(sums)
    if n < 2:
        return None, None
    mean = float(sums.sum() / counts.sum())
    residuals = sums - mean * counts
    scale = float(np.sqrt((residuals**2).sum()))
    if scale <= ROUNDING * np.abs(sums).sum():
        least, greatest = bounds or (mean, mean)
        unlike = 1 - ((1 - level) / 2) ** (1 / n)  # Clopper & Pearson 1934: the largest share that none of n has
        return mean - unlike * (mean - least), mean + unlike * (greatest - mean)
    skewness = float(((residuals / scale) ** 3).sum()) / 6
    columns = np.stack([residuals / scale, counts], axis=1).astype(np.float32)  # centred: float32 loses nothing
    totals = np.concatenate([times.astype(np.float32) @ columns for times in _resamples(n, n_boot, seed)])
    ends = mean + scale * np.quantile(totals[:, 0] / totals[:, 1], _tails(n, level, skewness, skewness))
    low, high = np.clip(ends, *bounds) if bounds else ends  # float32 may go beyond by a hair
    return float(low), float(high)


def resampled_interval(
    statistic: Callable[[Floats], Floats], n_clusters: int, *, seed: int = 0, n_boot: int = 2_000, level: float = 0.95
) -> tuple[float | None, float | None]:
    """Interval of a statistic that can be told from how often each cluster is drawn, many resamples at once.

    BCa as ``scipy.stats.bootstrap`` has it, but with whole clusters drawn and left out in turn; its tails are widened
    for few clusters as in ``mean_interval``. Assumes independent clusters, and a statistic that changes smoothly with
    the data: not for extremes, nor where few clusters decide it.

    Args:
        statistic: how often each cluster is drawn, shape (draws, clusters) -> values, shape (draws,); NaN: undefined.

    Returns:
        None, None with fewer than two clusters, or where the statistic of the clusters themselves or more than 1 in
        20 resamples have no value.
    """
    if n_clusters < 2:
        return None, None
    value = float(statistic(np.ones((1, n_clusters)))[0])
    draws = np.concatenate([statistic(times.astype(np.float64)) for times in _resamples(n_clusters, n_boot, seed)])
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or len(draws) < 0.95 * n_boot:
        return None, None
    bias = special.ndtri(np.clip((draws < value).mean() + (draws == value).mean() / 2, 0.5 / n_boot, 1 - 0.5 / n_boot))
    low, high = np.quantile(draws, _tails(n_clusters, level, float(bias), _jackknife_skewness(statistic, n_clusters)))
    return float(low), float(high)


def percentile_interval(draws: Floats, n_clusters: int, *, level: float = 0.95) -> Floats:
    """Percentile interval of a statistic's values on resamples of whole clusters; NaN draws are left out.

    For statistics whose BCa constants are too costly. Its tails are widened for few clusters as in ``mean_interval``.

    Args:
        draws: shape (draws, ...).

    Returns:
        Both ends, shape (2, ...).
    """
    return np.asarray(np.nanquantile(draws, _tails(n_clusters, level, 0.0, 0.0), axis=0))


def _jackknife_skewness(statistic: Callable[[Floats], Floats], n: int) -> float:
    """BCa's acceleration, from the statistic without each cluster in turn."""
    starts = np.cumsum([0, *_blocks(n, n)])
    left_out = [statistic(1 - np.eye(b - a, n, k=a)) for a, b in pairwise(starts)]
    values = np.concatenate(left_out)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return 0.0
    influence = values.mean() - values
    scale = np.sqrt((influence**2).sum())
    return float(((influence / scale) ** 3).sum()) / 6 if scale > 0 else 0.0


def _tails(n: int, level: float, bias: float, acceleration: float) -> Floats:
    """Where in the bootstrap distribution of n clusters the interval ends; shape (2,)."""
    reach = special.stdtrit(n - 1, (1 + level) / 2) * np.sqrt(n / (n - 1))
    ends = bias + np.array([-reach, reach])
    return np.asarray(special.ndtr(bias + ends / np.maximum(1 - acceleration * ends, 1e-3)), dtype=np.float64)


def sign_flip(sums: Floats, seed: int, n_flips: int) -> float:
    """Share of sign patterns under which the total is at least as far from 0."""
    sums = sums[sums != 0]  # a zero has no sign, and fewer clusters can be counted out
    n, total = len(sums), sums.sum()
    observed = abs(total) - ROUNDING * np.abs(sums).sum()
    if 2**n <= n_flips:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float((np.abs(total - 2 * (flipped @ sums)) >= observed).mean())
    rng = np.random.default_rng((seed, 1))
    extreme = 0
    for rows in _blocks(n_flips, n):
        coins = rng.integers(256, size=(rows, -(-n // 8)), dtype=np.uint8)
        flipped = np.unpackbits(coins, axis=1, count=n).astype(np.float64)  # ties count: no float32 here
        extreme += int((np.abs(total - 2 * (flipped @ sums)) >= observed).sum())
    return (extreme + 1) / (n_flips + 1)
