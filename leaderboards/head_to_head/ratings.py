"""From comparisons of two answers each to numbers: one record per pair of checkpoints, Bradley-Terry ratings for all.

Nothing here knows who judged, or how. Ratings are fitted by ``choix`` (iterative Luce spectral ranking, which finds the
maximum-likelihood estimate: Maystre and Grossglauser 2015, "Fast and Accurate Inference of Plackett-Luce Models").
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from leaderboards.standings import HeadToHead, Positions, Rating
from selfreward_bench import stats

__all__ = ["ANCHOR_RATING", "PRIOR_TIES", "Comparison", "RatingTable", "bradley_terry", "pair_result"]

ANCHOR_RATING: Final = 1000.0
ELO_PER_NAT: Final = 400 / math.log(10)
#: ties added to each pair of checkpoints that met: a finite rating for one that wins (or loses) everything
PRIOR_TIES: Final = 1.0
RESAMPLES: Final = 1_000

Floats = NDArray[np.float64]
Interval = tuple[float, float | None, float | None]  # value, low, high


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two checkpoints' answers to one prompt.

    Attributes:
        cluster: the prompt; comparisons of one prompt are resampled together.
        points: 1 where ``a`` wins, 1/2 for a tie, 0 where ``b`` wins, or between; None is not scored.
        reason: why ``points`` is None.
    """

    a: str
    b: str
    cluster: str
    points: float | None
    reason: str | None = None


# --- one pair


def pair_result(
    a: str,
    b: str,
    comparisons: Sequence[Comparison],
    *,
    benchmark: str,
    judge: str,
    n_identical: int = 0,
    positions: Positions | None = None,
    comparability: Mapping[str, str] | None = None,
) -> HeadToHead:
    """All comparisons of one pair, from the side of ``a``.

    Args:
        comparisons: between ``a`` and ``b``, in any order; more than one per prompt is fine.
    """
    ordered = sorted(comparisons, key=lambda c: c.cluster)
    points, clusters = [c.points for c in ordered], [c.cluster for c in ordered]
    outcomes = [None if p is None else float(np.sign(p - 0.5)) for p in points]
    edge = stats.paired_difference(points, [0.5] * len(points), clusters)
    counts = Counter(o for o in outcomes if o is not None)
    n_scored = counts.total()
    shares = [counts[o] / n_scored if n_scored else None for o in (1.0, 0.0, -1.0)]
    return HeadToHead(
        benchmark=benchmark,
        judge=judge,
        a=a,
        b=b,
        win_rate=None if edge.value is None else 0.5 + edge.value,
        low=None if edge.low is None else 0.5 + edge.low,
        high=None if edge.high is None else 0.5 + edge.high,
        p_value=edge.p_value,
        win=shares[0],
        tie=shares[1],
        loss=shares[2],
        n_scored=n_scored,
        n_total=len(points),
        n_prompts=len(set(clusters)),
        wins=counts[1.0],
        ties=counts[0.0],
        losses=counts[-1.0],
        net_win=stats.mean_interval(outcomes, clusters, bounds=(-1, 1)),
        sign_p_value=_sign_test(clusters, outcomes),
        n_identical=n_identical,
        positions=positions,
        reasons=dict(sorted(Counter(c.reason or "unknown" for c in ordered if c.points is None).items())),
        comparability=dict(comparability or {}),
    )


def _sign_test(clusters: Sequence[str], outcomes: Sequence[float | None]) -> float | None:
    """Over prompts, not comparisons: several samples of one prompt are no independent trials."""
    totals: Counter[str] = Counter()
    for cluster, outcome in zip(clusters, outcomes, strict=True):
        totals[cluster] += int(outcome or 0)
    won, lost = sum(t > 0 for t in totals.values()), sum(t < 0 for t in totals.values())
    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else None


# --- all checkpoints


@dataclass(frozen=True, slots=True)
class RatingTable:
    """Ratings in the order of the names given, and what a reader must know of them."""

    ratings: tuple[Rating, ...]
    notes: tuple[str, ...] = ()


def bradley_terry(
    names: Sequence[str],
    comparisons: Sequence[Comparison],
    *,
    anchor: str,
    n_boot: int = RESAMPLES,
    seed: int = 0,
) -> RatingTable:
    """Ratings under which the odds of winning are ``10 ** (difference / 400)``; a tie is half a win for both sides.

    ``PRIOR_TIES`` ties are added to each pair that met, so that the likelihood has its maximum at finite ratings. The
    interval is that of ``n_boot`` resamples of whole prompts, each fitted anew, of the difference to the anchor
    (``stats.percentile_interval``). Checkpoints that no chain of scored comparisons ties to the anchor get no rating.

    Args:
        names: the order of the result.
        anchor: the one of ``names`` whose rating is ``ANCHOR_RATING``.
    """
    points, met = _points(names, comparisons)
    start = names.index(anchor)
    group = _connected(met.sum(axis=0), "weak")[start]
    found: dict[str, Interval] = {}
    if len(group) > 1:
        some = np.ix_(range(len(points)), group, group)
        fitted = _rate(points[some], met[some], group.index(start), n_boot, seed)
        found = {names[i]: interval for i, interval in zip(group, fitted, strict=True)}
    ratings = tuple(_record(name, found.get(name), comparisons) for name in names)
    return RatingTable(ratings, tuple(_notes(names, found, anchor, points.sum(axis=0))))


def _notes(names: Sequence[str], found: Collection[str], anchor: str, wins: Floats) -> Iterator[str]:
    if apart := [name for name in names if name not in found]:
        yield (
            f"No rating for {', '.join(apart)}: no chain of scored comparisons leads to {anchor}, so nothing says how "
            "they stand to each other. Judge the missing comparisons."
        )
    groups = {tuple(names[i] for i in group) for group in _connected(wins, "strong")}
    if len(rated := sorted(group for group in groups if set(group) <= set(found))) > 1:
        yield (
            f"Between the groups {' | '.join(', '.join(group) for group in rated)} one side won every comparison. How "
            f"far they stand apart is set by the {PRIOR_TIES:g} tie added to each pair: at least as far as shown, and "
            "the intervals between them say nothing."
        )


def _record(name: str, found: Interval | None, comparisons: Collection[Comparison]) -> Rating:
    own = [c for c in comparisons if name in (c.a, c.b)]
    value, low, high = found or (None, None, None)
    n_scored = sum(c.points is not None for c in own)
    return Rating(checkpoint=name, rating=value, low=low, high=high, n_scored=n_scored, n_total=len(own))


def _points(names: Sequence[str], comparisons: Sequence[Comparison]) -> tuple[Floats, Floats]:
    """Points of row against column, and how often they met, by prompt; shapes (prompts, names, names)."""
    index = {name: i for i, name in enumerate(names)}
    scored = [(c, c.points) for c in comparisons if c.points is not None]
    place = {cluster: i for i, cluster in enumerate(sorted({c.cluster for c, _ in scored}))}
    points = np.zeros((len(place), len(names), len(names)))
    met = np.zeros_like(points)
    for c, won in scored:
        p, i, j = place[c.cluster], index[c.a], index[c.b]
        points[p, i, j] += won
        points[p, j, i] += 1 - won
        met[p, i, j] += 1
        met[p, j, i] += 1
    return points, met


def _connected(meetings: Floats, connection: str) -> list[list[int]]:
    """For each index all indices (itself included, in order) that paths through ``meetings > 0`` tie it to."""
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(meetings > 0, directed=True, connection=connection)
    return [[i for i, label in enumerate(labels) if label == own] for own in labels]


def _rate(points: Floats, met: Floats, anchor: int, n_boot: int, seed: int) -> list[Interval]:
    n_prompts, k, _ = points.shape
    prior = np.where(met.sum(axis=0) > 0, PRIOR_TIES / 2, 0.0)
    fitted = _fit(points.sum(axis=0) + prior, None)
    values = _elo(fitted, anchor)
    if n_prompts < 2:
        return [(float(value), None, None) for value in values]
    weights = np.random.default_rng(seed).multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=n_boot)
    resampled = (weights @ points.reshape(n_prompts, k * k)).reshape(n_boot, k, k) + prior
    ratings = np.array([_elo(_fit(wins, fitted, tolerance=1e-5), anchor) for wins in resampled])
    low, high = stats.percentile_interval(ratings, n_prompts)
    return [
        (float(values[i]), None, None) if i == anchor else (float(values[i]), float(low[i]), float(high[i]))
        for i in range(k)
    ]


def _fit(wins: Floats, start: Floats | None, tolerance: float = 1e-8) -> Floats:
    """Log strengths in nats, shape (names,), from wins of row over column; ``tolerance`` is of their last change."""
    from choix import ilsr_pairwise_dense  # its import takes a while

    return np.asarray(ilsr_pairwise_dense(wins, initial_params=start, max_iter=10_000, tol=tolerance))


def _elo(strengths: Floats, anchor: int) -> Floats:
    ratings: Floats = ANCHOR_RATING + ELO_PER_NAT * (strengths - strengths[anchor])
    return ratings
