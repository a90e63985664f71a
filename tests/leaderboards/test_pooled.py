"""Pooled correlations: the values are scipy's, and the resampling is the drawing of whole prompts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from leaderboards import pooled
from leaderboards.pooled import pooled_kendall, pooled_spearman
from selfreward_bench.stats.samples import codes_of

RNG = np.random.default_rng(5)
X = RNG.integers(6, size=120).astype(float)
Y = np.round(X + RNG.normal(scale=2, size=120))
CLUSTERS = [f"p{i % 30}" for i in range(120)]


def test_values_are_those_of_scipy() -> None:
    assert pooled_spearman(list(X), list(Y), CLUSTERS).value == pytest.approx(scipy_stats.spearmanr(X, Y).statistic)
    assert pooled_kendall(list(X), list(Y), CLUSTERS).value == pytest.approx(scipy_stats.kendalltau(X, Y).statistic)


def test_a_prompt_drawn_twice_counts_twice() -> None:
    """The weights' statistic equals scipy's on the values written out as often as they are drawn."""
    order = np.argsort(CLUSTERS, kind="stable")
    codes = codes_of([CLUSTERS[i] for i in order], len(order))
    x, y = X[order], Y[order]
    draws = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=4).astype(float)
    for row, rho, tau in zip(
        draws, pooled._Spearman(x, y, codes)(draws), pooled._Kendall(x, y, codes)(draws), strict=True
    ):
        copies = np.repeat(np.arange(120), row[codes].astype(int))
        assert rho == pytest.approx(scipy_stats.spearmanr(x[copies], y[copies]).statistic)
        assert tau == pytest.approx(scipy_stats.kendalltau(x[copies], y[copies]).statistic)


def test_intervals_hold_the_value_and_do_not_depend_on_the_order_of_rows() -> None:
    for correlation in (pooled_spearman, pooled_kendall):
        found = correlation(list(X), list(Y), CLUSTERS)
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert found.low < found.value < found.high
        assert correlation(list(X[::-1]), list(Y[::-1]), CLUSTERS[::-1]).value == pytest.approx(found.value)


def test_what_is_not_scored_is_left_out_and_counted() -> None:
    x: list[float | None] = [1, 2, 3, None, 5]
    found = pooled_spearman(x, [1, 2, None, 4, 3], list("aabbc"))
    assert (found.value, found.n_scored, found.n_total) == (1, 3, 5)
    assert pooled_spearman([1, 1], [1, 2], ["a", "b"]).value is None
    assert pooled_kendall([1, 1], [1, 2], ["a", "b"]).value is None
    assert pooled_kendall([None], [1], ["a"]).value is None


def test_many_values_have_no_interval_of_kendall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled, "_MAX_PAIRWISE", 100)
    found = pooled_kendall(list(X), list(Y), CLUSTERS)
    assert found.value == pytest.approx(scipy_stats.kendalltau(X, Y).statistic)
    assert (found.low, found.n_scored) == (None, 120)
