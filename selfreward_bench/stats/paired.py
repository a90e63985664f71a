"""Two sides on the same samples: the difference, its tests, and what the comparison could have detected."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from selfreward_bench.stats.resampling import mean_bca, sign_flip
from selfreward_bench.stats.samples import ROUNDING, Floats, array, cluster_totals, gaps_of, is_share
from selfreward_bench.stats.shares import paired_share_interval

__all__ = [
    "Difference",
    "WinLoss",
    "detectable_difference",
    "holm",
    "mcnemar",
    "paired_difference",
    "planned_detectable_difference",
    "sign_test",
]

_FEW = 12  # clusters that differ: all their sign patterns are counted, and a bootstrap of them jumps


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of ``a - b`` over the samples both have.

    Attributes:
        low, high: interval; None with fewer than two clusters, or where there is no spread to tell it from.
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


@dataclass(frozen=True, slots=True)
class WinLoss:
    """How often ``a`` beats ``b``, and a two-sided test of wins being as likely as losses.

    Attributes:
        wins, losses, ties: pairs (``mcnemar``) or clusters (``sign_test``); what lacks a value is none of them.
        p_value: None with nothing to compare; 1 where all are ties.
        n_total: pairs given.
    """

    wins: int
    losses: int
    ties: int
    p_value: float | None
    n_total: int


def paired_difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    n_boot: int = 10_000,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Difference:
    """Mean of ``a - b`` over samples in the same order, its interval (see ``mean_interval``) and a sign-flip test.

    Of shares with one value per cluster the interval is ``paired_share_interval``'s and the test McNemar's. Of anything
    else, where few clusters differ, the interval excludes zero only where the test does: an end that says otherwise is
    moved to zero. Where all clusters differ by the same there is no spread to tell anything from: no interval, unless
    ``bounds`` say how far an unlike one could be.

    Under the hypothesis of no difference a cluster's total is as likely as its negative (Fisher's randomisation test).
    All sign patterns are counted where there are at most ``n_boot``, otherwise ``n_boot`` random ones and the observed
    one (so p is never 0). That is exact where ``a`` and ``b`` could be exchanged; where only their means are equal it
    holds for many clusters. Interval and test may disagree where p is close to ``1 - level`` and many clusters differ:
    the p-value decides.

    Args:
        bounds: the least and the greatest value that ``a`` and ``b`` can have.

    Raises:
        ValueError: lengths differ.
    """
    gaps = gaps_of(a, b)
    sums, counts = cluster_totals(gaps, clusters)
    n = int(counts.sum())
    if not n:
        return Difference(None, None, None, None, 0, len(gaps))
    value = float(sums.sum() / n)
    half = _is_half(array(b))
    if len(sums) == n > 1 and not half and _are_answers(array(a), array(b), gaps):
        wins, losses, _ = _votes(sums)
        ends = paired_share_interval(wins, losses, n, level)
        return Difference(value, *ends, _binomial(wins, losses), n, len(gaps))
    p_value = sign_flip(sums, seed, n_boot)
    limits = _bounds(array(a), array(b), bounds)
    low, high = mean_bca(sums, counts, seed, n_boot, level, limits)
    if limits is None and low == high:
        low = high = None
    if low is not None and high is not None and p_value >= 1 - level and not half and (sums != 0).sum() <= _FEW:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(value, low, high, p_value, n, len(gaps))


def _are_answers(a: Floats, b: Floats, gaps: Floats) -> bool:
    """Whether both are 0 or 1 throughout, and some differ."""
    known = np.concatenate([a[~np.isnan(a)], b[~np.isnan(b)]])
    return bool((np.nan_to_num(gaps) != 0).any() and np.isin(known, (0.0, 1.0)).all())


def _is_half(b: Floats) -> bool:
    """Whether a side is what a win rate is held against; its interval is that of the win rate's other forms."""
    return bool((b[~np.isnan(b)] == 0.5).all())


def mcnemar(
    a: Sequence[float | None],
    b: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    n_flips: int = 10_000,
) -> WinLoss:
    """McNemar's exact test of two shares over the same samples, such as correct answers of two checkpoints.

    Among the pairs that differ each side is as likely to be the 1 (McNemar 1947; binomial, no continuity correction).
    Conservative: with few differing pairs its true level is well below the nominal one. It assumes independent pairs;
    where a cluster has several, p is that of the sign-flip test on cluster totals (see ``paired_difference``): the
    same hypothesis, with whole clusters exchanged. Not for grades or win rates (``paired_difference``, ``sign_test``).

    Args:
        a, b: shape (n,), of 0 and 1 (or False and True); None and NaN are not scored.

    Raises:
        ValueError: lengths differ, or a value is neither 0 nor 1.
    """
    for column in (array(a), array(b)):
        if odd := set(column[~np.isnan(column)]) - {0.0, 1.0}:
            raise ValueError(f"McNemar's test takes 0 and 1, not {min(odd):g}; use paired_difference or sign_test")
    gaps = gaps_of(a, b)
    sums, counts = cluster_totals(gaps, clusters)
    wins, losses, ties = _votes(gaps)
    if not len(sums):
        p_value = None
    elif counts.max() > 1:
        p_value = sign_flip(sums, seed, n_flips)
    else:
        p_value = _binomial(wins, losses)
    return WinLoss(wins, losses, ties, p_value, len(gaps))


def sign_test(
    a: Sequence[float | None], b: Sequence[float | None], clusters: Sequence[Hashable] | None = None
) -> WinLoss:
    """The exact sign test: wins against losses, ties dropped; each cluster has one vote, the sign of its total.

    Asks whether ``a`` is better more OFTEN, whatever by how much (Dixon & Mood 1946). It assumes nothing of how large
    differences are distributed, and is weaker than ``paired_difference`` where these carry information. Not for a claim
    about a mean: a mean can rise while most prompts lose. For win rates let ``b`` be all 0.5.

    Raises:
        ValueError: lengths differ.
    """
    gaps = gaps_of(a, b)
    sums, _ = cluster_totals(gaps, clusters)
    sizes, _ = cluster_totals(np.abs(gaps), clusters)
    wins, losses, ties = _votes(np.where(np.abs(sums) <= ROUNDING * sizes, 0.0, sums))
    return WinLoss(wins, losses, ties, _binomial(wins, losses) if len(sums) else None, len(gaps))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979).

    Keeps the chance of any false finding among all of them at the level, whatever their dependence. For the
    comparisons of ONE claim, such as the same two checkpoints over several benchmarks.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for step, position in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - step) * p_values[position]))
        adjusted[position] = running
    return adjusted


# --- what a comparison could detect


def detectable_difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """The smallest true difference that a two-sided test finds with this power, given how much these pairs vary.

    ``(t(1 - alpha/2) + t(power)) * SE``: the quantiles of Student's t at clusters - 1 degrees of freedom (Bloom 1995,
    "Minimum Detectable Effects") and the cluster-robust standard error of the observed mean difference. It tells what
    the comparison could have seen, not what it saw: never judge a difference by power computed from its own size.

    Returns:
        None with fewer than two clusters, or where all differ by the same: no spread seen is no certainty.

    Raises:
        ValueError: lengths differ.
    """
    sums, counts = cluster_totals(gaps_of(a, b), clusters)
    n = len(sums)
    if n < 2:
        return None
    residuals = sums - counts * (sums.sum() / counts.sum())
    standard_error = float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / counts.sum())
    if standard_error <= ROUNDING * float(np.abs(sums).max(initial=0.0)):
        return None
    return _quantiles(n, alpha, power) * standard_error


def planned_detectable_difference(n: int, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The same for a comparison not yet run: ``n`` prompts whose differences will have standard deviation ``sd``.

    Assumes that ``sd`` is that of a prompt's MEAN difference, over its samples; take it from a like comparison.

    Raises:
        ValueError: fewer than two prompts, or a negative standard deviation.

    >>> round(planned_detectable_difference(805, 0.45), 3)  # a win rate over AlpacaEval's prompts
    0.044
    """
    if n < 2 or not sd >= 0:
        raise ValueError(f"n = {n} and sd = {sd}: a comparison needs at least two prompts and sd >= 0")
    return _quantiles(n, alpha, power) * sd / float(np.sqrt(n))


def _bounds(a: Floats, b: Floats, given: tuple[float, float] | None) -> tuple[float, float] | None:
    """Of ``a - b``, where those of both are known or both are shares; against 1/2 throughout goes a win rate."""
    if not (is_share(a) and is_share(b)):
        return (given[0] - given[1], given[1] - given[0]) if given else None
    return (-0.5, 0.5) if (b[~np.isnan(b)] == 0.5).all() else (-1.0, 1.0)


def _votes(gaps: Floats) -> tuple[int, int, int]:
    return int((gaps > 0).sum()), int((gaps < 0).sum()), int((gaps == 0).sum())


def _binomial(wins: int, losses: int) -> float:
    """Two-sided binomial test against 1/2; ``scipy.stats.binomtest`` takes a hundred times as long to find this."""
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), wins + losses, 0.5)))


def _quantiles(n: int, alpha: float, power: float) -> float:
    return float(special.stdtrit(n - 1, 1 - alpha / 2) + special.stdtrit(n - 1, power))
