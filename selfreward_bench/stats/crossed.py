"""Means over runs and prompts, both of which were drawn: training seeds, each asked the same prompts.

The pigeonhole bootstrap (Owen 2007, arXiv 0712.1111): so many runs are drawn out of the runs and so many prompts out
of the prompts, and what is counted is each drawn run's part of each drawn prompt. Ends are percentiles. Of few runs
these cannot reach far enough (of two, nothing beyond the two is ever drawn), so an interval is at least as wide as
Student's of the runs' own means. ``perf/derived.py seeds`` measures what it covers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from selfreward_bench.stats.samples import ROUNDING, Floats

__all__ = ["Crossed", "Totals", "crossed_difference", "crossed_interval"]

_N_BOOT = 4_000


class Totals(NamedTuple):
    """Values of runs on prompts.

    Attributes:
        sums: a run's total of a prompt's values; shape (runs, prompts).
        counts: of how many values; the same shape. 0 leaves a prompt out of a run.
    """

    sums: Floats
    counts: Floats


class Crossed(NamedTuple):
    """A value with its interval; None, None where there is no spread to tell it from."""

    value: float | None
    low: float | None
    high: float | None


def crossed_interval(totals: Totals, *, seed: int = 0, level: float = 0.95) -> Crossed:
    """The mean of all values, and its interval over runs and prompts.

    No value of nothing; no interval with fewer than two runs or two prompts.

    >>> crossed_interval(Totals(np.array([[1.0, 3.0]]), np.ones((1, 2))))
    Crossed(value=2.0, low=None, high=None)
    """
    n_runs, n_prompts = totals.sums.shape
    value = _mean(totals)
    if value is None or n_runs < 2 or n_prompts < 2:
        return Crossed(value, None, None)
    runs, prompts = _drawn((n_runs, n_prompts), seed)
    return _ends(
        value,
        _means(totals, runs, prompts),
        _student([totals], level),
        level,
        float(np.abs(totals.sums).max(initial=0.0)),
    )


def crossed_difference(a: Totals, b: Totals, *, seed: int = 0, level: float = 0.95) -> Crossed:
    """The mean of ``a`` less that of ``b``: each side's runs are drawn by themselves, prompts for both at once.

    Of a side with one run that run is all there is: the interval is then about it, and not about its recipe.

    Raises:
        ValueError: the prompts are not the same number.
    """
    if a.sums.shape[1] != b.sums.shape[1]:
        raise ValueError(f"{a.sums.shape[1]} prompts cannot be paired with {b.sums.shape[1]}")
    left, right = _mean(a), _mean(b)
    if left is None or right is None:
        return Crossed(None, None, None)
    if a.sums.shape[1] < 2:
        return Crossed(left - right, None, None)
    runs, others, prompts = _drawn((len(a.sums), len(b.sums), a.sums.shape[1]), seed)
    draws = _means(a, runs, prompts) - _means(b, others, prompts)
    least = _student([side for side in (a, b) if len(side.sums) > 1], level)
    return _ends(left - right, draws, least, level, float(np.abs(np.concatenate([a.sums, b.sums])).max(initial=0.0)))


def _mean(totals: Totals) -> float | None:
    """None where a run has no value at all."""
    if not totals.counts.size or not totals.counts.sum(axis=1).all():
        return None
    return float(totals.sums.sum() / totals.counts.sum())


def _means(totals: Totals, runs: Floats, prompts: Floats) -> Floats:
    """The mean under each draw; NaN where nothing was drawn."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sums, counts = (((runs @ part) * prompts).sum(axis=1) for part in totals)
        return np.asarray(sums / counts)


def _ends(value: float, draws: Floats, least: float, level: float, size: float) -> Crossed:
    tail = (1 - level) / 2
    low, high = (float(end) for end in np.nanquantile(draws, [tail, 1 - tail]))
    low, high = min(low, value - least), max(high, value + least)
    return Crossed(value, low, high) if high - low > ROUNDING * size else Crossed(value, None, None)


def _student(sides: list[Totals], level: float) -> float:
    """Half of the interval that the runs' own means give: Student's of one side, Welch's (1947) of two."""
    means = [side.sums.sum(axis=1) / side.counts.sum(axis=1) for side in sides]
    parts = [(float(m.var(ddof=1)) / len(m), len(m) - 1) for m in means]
    variance = sum(part for part, _ in parts)
    if not variance:
        return 0.0
    freedom = variance**2 / sum(part**2 / n for part, n in parts)
    return float(special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance))


@lru_cache(maxsize=16)
def _drawn(sizes: tuple[int, ...], seed: int) -> tuple[Floats, ...]:
    """How often each of so many is drawn; shapes (draws, size), one for each size."""
    rng = np.random.default_rng(seed)
    found = [np.zeros((_N_BOOT, n), dtype=np.float64) for n in sizes]
    for row in range(_N_BOOT):
        for n, drawn in zip(sizes, found, strict=True):
            drawn[row] = np.bincount(rng.integers(n, size=n), minlength=n)
    return tuple(found)
