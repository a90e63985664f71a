"""Numbers over all prompts at once that are no means over rows, with intervals that keep each prompt whole.

Correlations are written as functions of how often each prompt is drawn, so that thousands of resamples are a few matrix
products; the resampling itself is ``selfreward_bench.stats``'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfreward_bench import stats
from selfreward_bench.stats.samples import codes_of
from selfreward_bench.types import Metric

__all__ = ["Floats", "pooled_kendall", "pooled_spearman", "resampled_metric"]

Floats = NDArray[np.float64]

_N_BOOT: Final = 1_000
_MAX_PAIRWISE: Final = 4_000  # above so many values Kendall's tau has no interval: its matrix grows with the square


def pooled_spearman(x: Sequence[float | None], y: Sequence[float | None], clusters: Sequence[str]) -> Metric:
    """Spearman's correlation over all values that both have, with a cluster bootstrap interval."""
    left, right, codes, n_clusters = _scored(x, y, clusters)
    return resampled_metric(_Spearman(left, right, codes), n_clusters, len(left), len(x))


def pooled_kendall(x: Sequence[float | None], y: Sequence[float | None], clusters: Sequence[str]) -> Metric:
    """Kendall's tau-b over all values that both have; its interval as above, None for more than 4,000 values."""
    left, right, codes, n_clusters = _scored(x, y, clusters)
    if len(left) > _MAX_PAIRWISE:
        return Metric(value=stats.kendall_tau_b(x, y), n_scored=len(left), n_total=len(x))
    return resampled_metric(_Kendall(left, right, codes), n_clusters, len(left), len(x))


def resampled_metric(statistic: Callable[[Floats], Floats], n_clusters: int, n_scored: int, n_total: int) -> Metric:
    """The statistic of all clusters drawn once, with its interval; None where it is undefined.

    Args:
        statistic: as ``stats.resampled_interval`` takes it.
    """
    value = float(statistic(np.ones((1, n_clusters)))[0]) if n_scored else float("nan")
    if not np.isfinite(value):
        return Metric(value=None, n_scored=n_scored, n_total=n_total)
    low, high = stats.resampled_interval(statistic, n_clusters, n_boot=_N_BOOT)
    return Metric(value=value, low=low, high=high, n_scored=n_scored, n_total=n_total)


def _scored(
    x: Sequence[float | None], y: Sequence[float | None], clusters: Sequence[str]
) -> tuple[Floats, Floats, NDArray[np.intp], int]:
    """What both have, sorted by cluster."""
    kept = [(a, b, c) for a, b, c in zip(x, y, clusters, strict=True) if a is not None and b is not None]
    kept.sort(key=lambda k: k[2])
    codes = codes_of([c for _, _, c in kept], len(kept))
    return np.array([a for a, _, _ in kept]), np.array([b for _, b, _ in kept]), codes, len(set(codes.tolist()))


class _Spearman:
    """Spearman's correlation of values that are drawn so many times: the correlation of their mid-ranks."""

    def __init__(self, x: Floats, y: Floats, codes: NDArray[np.intp]) -> None:
        self._codes = codes
        self._groups = [np.unique(v, return_inverse=True)[1] for v in (x, y)]

    def __call__(self, draws: Floats) -> Floats:
        weights = draws[:, self._codes]
        total = weights.sum(axis=1, keepdims=True)
        x, y = (self._centred_ranks(weights, total, group) for group in self._groups)
        with np.errstate(invalid="ignore", divide="ignore"):
            covariance = (weights * x * y).sum(axis=1)
            return np.asarray(covariance / np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1)))

    @staticmethod
    def _centred_ranks(weights: Floats, total: Floats, group: NDArray[np.intp]) -> Floats:
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        share = np.add.reduceat(weights[:, order], starts, axis=1)  # drawn values of each size, smallest first
        return np.asarray((np.cumsum(share, axis=1) - share / 2 - total / 2)[:, group])


class _Kendall:
    """Kendall's tau-b of values that are drawn so many times, from sums of signs between and within clusters."""

    def __init__(self, x: Floats, y: Floats, codes: NDArray[np.intp]) -> None:
        sign_x, sign_y = (np.sign(v[:, None] - v).astype(np.int8) for v in (x, y))
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        self._sums = [self._by_cluster(s, starts) for s in (sign_x * sign_y, sign_x * sign_x, sign_y * sign_y)]

    @staticmethod
    def _by_cluster(signs: NDArray[np.int8], starts: NDArray[np.intp]) -> Floats:
        if not len(starts):
            return np.zeros((0, 0))
        rows = np.add.reduceat(signs, starts, axis=0, dtype=np.int64)
        return np.add.reduceat(rows, starts, axis=1).astype(np.float64)

    def __call__(self, draws: Floats) -> Floats:
        agree, untied_x, untied_y = (np.einsum("dc,dc->d", draws @ s, draws) for s in self._sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(agree / np.sqrt(untied_x * untied_y))
