"""AlpacaEval 2.0's length control: the win rate a model would have if its answers were as long as the reference's.

A logistic regression without intercept explains each instruction's win (0..1) by ``tanh(length difference)``, the
instruction's difficulty and the model; the length-controlled win rate is its mean prediction at length difference 0
(Dubois et al. 2024, arXiv 2404.04475; formula and constants as in alpaca_eval 0.6.6, ``length_controlled_v1``).

The point estimate is made as the leaderboard's is: liblinear at its default tolerance, whose last digits (about 0.003
points) are part of the published numbers. The interval is new: AlpacaEval's own standard error is the spread of the
fitted values, not sampling error. Here instructions are resampled and everything but the penalty's strength is fitted
again, by ``logistic.l1_logistic``, which solves all resamples at once, exactly.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from leaderboards.alpaca_eval.logistic import Floats, l1_logistic, logistic
from selfreward_bench import stats

__all__ = ["SAME_WEIGHTS", "Comparisons", "Gamed", "LengthControlled", "length_controlled"]

STRENGTHS: Final = np.logspace(-4, 4, 10)  # scikit-learn's grid for Cs=10
FOLDS: Final = 5
#: hardly any penalty: with few comparisons and no baselines a chosen one may well leave nothing but 50 per cent
WITHOUT_BASELINES: Final = 1e4
GAMED_WEIGHT: Final = 0.1  # 0.2, shared by the two gamed baselines
REFITS: Final = 1_000
FORMULA: Final = "tanh(std_delta_len) + instruction_difficulty + not_gamed_baseline - 1"
FORMULA_WITHOUT_BASELINES: Final = "tanh(std_delta_len) + intercept"
SAME_WEIGHTS: Final = 0.01  # published weights, and those of a fit with the same strength
_CHUNK = 64  # resamples solved together: larger ones leave the processor's cache


@dataclass(frozen=True, slots=True)
class Comparisons:
    """A model's answers against the reference's, in the order of the official instruction list.

    Attributes:
        wins: shape (n,), 0..1, the share of the win the model gets; NaN where there is no verdict.
        deltas: shape (n,), characters of the reference minus characters of the answer.
        difficulties: shape (n,), of the instructions; None where they are not known (then without baselines, too).
        positions: shape (n,), of the instructions in the official list, which is what ``Gamed.positions`` refers to.
        places: shape (n,), of the comparisons among all ``n_items`` items that were to be answered, which are what is
            resampled; None where nothing is missing.
    """

    wins: Floats
    deltas: Floats
    difficulties: Floats | None = None
    positions: NDArray[np.int64] | None = None
    places: NDArray[np.int64] | None = None
    n_items: int | None = None


@dataclass(frozen=True, slots=True)
class Gamed:
    """The comparisons of AlpacaEval's two gamed baselines (verbose, concise), which steady the regression.

    Attributes:
        wins, scaled_deltas, difficulties, positions: shape (m,); the length differences are divided by their standard
            deviation already.
    """

    wins: Floats
    scaled_deltas: Floats
    difficulties: Floats
    positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """The length-controlled win rate, in per cent.

    Attributes:
        standard_error: AlpacaEval's: of the mean of the fitted values.
        low, high: 95% interval over refits (``stats.percentile_interval``); None where none were made.
        weights: coefficient of each feature.
        strength: ``C``, the inverse of the penalty's strength.
        gap: how far the nearest weights are from published ones, at most; above ``SAME_WEIGHTS`` these tell nothing,
            and the strength is cross-validated. None where there are none.
        fitted: shape (n,), predicted win of each comparison at equal length, 0..1.
        refits: shape (n_refits,), the win rate on each resample. Resamples depend on the seed and the number of items
            alone, so that those of two models on the same items are the same, and their differences are paired.
    """

    win_rate: float
    standard_error: float
    low: float | None
    high: float | None
    weights: dict[str, float]
    strength: float
    fitted: Floats
    refits: Floats
    gap: float | None = None


def length_controlled(
    found: Comparisons,
    gamed: Gamed | None,
    *,
    published: Sequence[float] | None = None,
    n_refits: int = REFITS,
    seed: int = 0,
) -> LengthControlled | None:
    """Fits and predicts.

    Comparisons without a verdict are not fitted, but predicted, and their lengths count: as AlpacaEval does it.

    Args:
        gamed: the baselines; None leaves them and the difficulties out, as where there are none (the micro-world).
        published: the three weights that the leaderboard has of this model; they tell the penalty's strength, which is
            cross-validated otherwise, and decided there by near ties.
        n_refits: for the interval; 0 makes none.

    Returns:
        None where nothing can be fitted: fewer than ``2 * FOLDS`` verdicts, or all length differences equal.
    """
    scored = ~np.isnan(found.wins)
    if len(scored) and (found.deltas == 0).all() and (found.wins == 0.5).all():
        return _draw(len(scored), n_refits)
    if int(scored.sum()) < 2 * FOLDS or not np.std(found.deltas, ddof=1) > 0:
        return None
    design = _Design(found, gamed)
    x, wins, weights = design.rows(np.ones(len(found.wins)))
    keep = ~np.isnan(wins)
    x, wins, weights = x[keep], wins[keep], weights[keep]
    if gamed is not None:
        strength, gap = (0.0, None) if published is None else _told(x, wins, weights, published)
        if gap is None or gap > SAME_WEIGHTS:
            strength = _choose_strength(x, wins, weights)
        coefficients = _liblinear(x, wins, weights, strength)
    else:
        strength, gap = WITHOUT_BASELINES, None
        coefficients = l1_logistic(x[None], wins, weights[None], strength)[0]
    fitted = logistic(design.at_equal_length @ coefficients)
    refits = _refits(design, found, strength, coefficients, n_refits, seed)
    low, high = stats.percentile_interval(refits, _n_items(found)).tolist() if n_refits else (None, None)
    return LengthControlled(
        win_rate=float(fitted.mean() * 100),
        standard_error=float(np.std(fitted, ddof=1) / np.sqrt(len(fitted)) * 100),
        low=low,
        high=high,
        weights=dict(zip(design.names, map(float, coefficients), strict=True)),
        strength=float(strength),
        fitted=fitted,
        refits=refits,
        gap=gap,
    )


def _n_items(found: Comparisons) -> int:
    """How many items are resampled."""
    return len(found.wins) if found.n_items is None else found.n_items


def _draw(n: int, n_refits: int) -> LengthControlled:
    """The reference against itself: one half by construction, as with AlpacaEval."""
    return LengthControlled(50.0, 0.0, 50.0, 50.0, {}, float("nan"), np.full(n, 0.5), np.full(n_refits, 50.0))


class _Design:
    """The regression's rows, for any multiplicities of the instructions: the baselines' rows first."""

    def __init__(self, found: Comparisons, gamed: Gamed | None) -> None:
        self._found, self._gamed = found, gamed
        n = len(found.wins)
        if gamed is None:
            self.names: tuple[str, ...] = ("tanh_delta_length", "intercept")
            self.at_equal_length = np.column_stack([np.zeros(n), np.ones(n)])
            return
        if found.difficulties is None or found.positions is None:
            raise ValueError("with baselines, the instructions' difficulties and positions are needed")
        self.names = ("tanh_delta_length", "instruction_difficulty", "not_gamed_baseline")
        self.at_equal_length = np.column_stack([np.zeros(n), found.difficulties, np.ones(n)])
        self._baselines = np.column_stack([np.tanh(gamed.scaled_deltas), gamed.difficulties, np.zeros(len(gamed.wins))])
        place = np.full(int(max(gamed.positions.max(), found.positions.max())) + 1, -1)
        place[found.positions] = np.arange(n)
        self._owner = place[gamed.positions]  # the comparison on the same instruction; -1: none

    def rows(self, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """Features, wins and weights when comparison i is there ``counts[..., i]`` times.

        A baseline's row is there as often as its instruction, or once where the model has no comparison on that.

        Args:
            counts: shape (..., n).

        Returns:
            Shapes (..., m + n, k), (m + n,) and (..., m + n).
        """
        n = np.maximum(counts.sum(axis=-1, keepdims=True), 1)  # of few comparisons a resample may hold none
        mean = counts @ self._found.deltas / n[..., 0]
        squares = (counts * (self._found.deltas - mean[..., None]) ** 2).sum(axis=-1, keepdims=True)
        spread = np.sqrt(squares / np.maximum(n - 1, 1))
        own = np.broadcast_to(self.at_equal_length, (*counts.shape, len(self.names))).copy()
        own[..., 0] = np.tanh(np.divide(self._found.deltas, spread, out=np.zeros_like(counts), where=spread > 0))
        if self._gamed is None:
            return own, self._found.wins, counts
        shape = (*counts.shape[:-1], *self._baselines.shape)
        weights = GAMED_WEIGHT * np.where(self._owner < 0, 1.0, counts[..., self._owner])
        return (
            np.concatenate([np.broadcast_to(self._baselines, shape), own], axis=-2),
            np.concatenate([self._gamed.wins, self._found.wins]),
            np.concatenate([weights, counts], axis=-1),
        )


# --- fitting


def _choose_strength(x: Floats, wins: Floats, weights: Floats) -> float:
    """The strength with the best mean log-likelihood in cross-validation; both labels of a row are in one fold.

    Equal folds in turns from the last row on: what scikit-learn's GroupKFold makes of groups of equal size.
    """
    fold = (len(x) - 1 - np.arange(len(x))) % FOLDS
    scores = np.zeros(len(STRENGTHS))
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        for i, strength in enumerate(STRENGTHS):
            z = x[test] @ _liblinear(x[train], wins[train], weights[train], strength)
            scores[i] += (weights[test] * (wins[test] * z - np.logaddexp(0, z))).mean()
    return float(STRENGTHS[scores.argmax()])


def _told(x: Floats, wins: Floats, weights: Floats, published: Sequence[float]) -> tuple[float, float | None]:
    """The strength whose weights are the nearest to published ones, and how far they are from them at most."""
    gaps = [float(np.abs(_liblinear(x, wins, weights, strength) - published).max()) for strength in STRENGTHS]
    return float(STRENGTHS[int(np.argmin(gaps))]), min(gaps)


def _liblinear(x: Floats, wins: Floats, weights: Floats, strength: float) -> Floats:
    """As the leaderboard's numbers are made: each row once as a win and once as a loss, weighted by its share."""
    import sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    release = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    lasso = {"l1_ratio": 1.0} if release >= (1, 8) else {"penalty": "l1"}  # 1.8 deprecated ``penalty``
    model = LogisticRegression(C=strength, solver="liblinear", fit_intercept=False, random_state=123, **lasso)
    labels = np.repeat([1.0, 0.0], len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.vstack([x, x]), labels, sample_weight=np.concatenate([wins * weights, (1 - wins) * weights]))
    return cast(Floats, model.coef_[0])


# --- the interval


def _refits(design: _Design, found: Comparisons, strength: float, start: Floats, n_refits: int, seed: int) -> Floats:
    """The win rate when the instructions, and with them lengths and baselines, are drawn again; NaN where none is."""
    n = _n_items(found)
    places = slice(None) if found.places is None else found.places
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, n_refits, _CHUNK):
        size = min(_CHUNK, n_refits - first)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)[:, places]
        x, wins, weights = design.rows(counts)
        known = ~np.isnan(wins)
        w = l1_logistic(x[:, known], wins[known], weights[:, known], strength, start)
        drawn = counts.sum(axis=1)
        total = (counts * logistic(design.at_equal_length @ w.T).T).sum(axis=1)
        means.append(np.divide(total, drawn, out=np.full(size, np.nan), where=drawn > 0))
    return np.concatenate(means) * 100 if means else np.empty(0)
