"""How well raters agree beyond chance: Fleiss' kappa and Krippendorff's alpha of nominal ratings.

Both take how many raters put each item into each category, and weights, so that resamples of items are a few products.
"""

from __future__ import annotations

import numpy as np

from selfreward_bench.stats.samples import Floats

__all__ = ["fleiss_kappa", "krippendorff_alpha"]


def fleiss_kappa(counts: Floats, weights: Floats | None = None) -> Floats:
    """Fleiss' (1971, "Measuring Nominal Scale Agreement Among Many Raters") kappa.

    Args:
        counts: raters by item and category, shape (items, categories); each item has the same number of raters.
        weights: how often each item counts, shape (draws, items); once without.

    Returns:
        Shape (draws,); NaN where one category has all ratings.

    Raises:
        ValueError: items have unlike numbers of raters, or fewer than two.

    >>> table = np.array([[3.0, 0.0], [0.0, 3.0], [2.0, 1.0]])
    >>> float(fleiss_kappa(table)[0].round(3))
    0.55
    """
    raters = counts.sum(axis=1)
    if len(raters) and (raters.min() != raters.max() or raters[0] < 2):
        raise ValueError("each item needs as many ratings as the others, and two at least")
    weights = _once(counts) if weights is None else weights
    n = raters[0] if len(raters) else 2.0
    alike = ((counts**2).sum(axis=1) - n) / (n * (n - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=1)
        observed = weights @ alike / total
        chance = ((weights @ counts / (n * total)[:, None]) ** 2).sum(axis=1)
        return np.asarray(np.where(chance < 1, (observed - chance) / (1 - chance), np.nan))


def krippendorff_alpha(counts: Floats, weights: Floats | None = None) -> Floats:
    """Krippendorff's (2011, "Computing Krippendorff's Alpha-Reliability") alpha of nominal ratings, some missing.

    Args:
        counts: raters by item and category, shape (items, categories); items of fewer than two ratings count nothing.
        weights: how often each item counts, shape (draws, items); once without.

    Returns:
        Shape (draws,); NaN where nothing could differ.
    """
    raters = counts.sum(axis=1)
    paired = np.where((raters >= 2)[:, None], counts, 0.0)
    weights = _once(counts) if weights is None else weights
    unlike = (paired * (raters[:, None] - paired)).sum(axis=1) / np.maximum(raters - 1, 1)
    of_each = weights @ paired
    total = of_each.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (total**2 - (of_each**2).sum(axis=1)) / (total - 1)
        return np.asarray(np.where(expected > 0, 1 - weights @ unlike / expected, np.nan))


def _once(counts: Floats) -> Floats:
    return np.ones((1, len(counts)))
