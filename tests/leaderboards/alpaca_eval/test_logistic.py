"""The solver against scikit-learn's, and against the optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from leaderboards.alpaca_eval.length_control import STRENGTHS
from leaderboards.alpaca_eval.logistic import Floats, l1_logistic


def problem(seed: int, n: int = 120, k: int = 3) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.tanh(rng.normal(size=n)), rng.normal(size=(n, k - 2)), np.ones(n)])
    wins = rng.beta(0.4, 0.6, size=n)
    return x, wins, rng.choice([0.1, 1.0, 3.0], size=n)


def with_scikit(x: Floats, wins: Floats, weights: Floats, strength: float) -> Floats:
    model = LogisticRegression(
        C=strength,
        l1_ratio=1.0,
        solver="liblinear",
        fit_intercept=False,
        tol=1e-12,
        max_iter=200_000,
        random_state=0,
    )
    labels = np.repeat([1, 0], len(x))
    model.fit(np.vstack([x, x]), labels, sample_weight=np.concatenate([wins * weights, (1 - wins) * weights]))
    found: Floats = model.coef_[0]
    return found


@pytest.mark.parametrize("strength", [STRENGTHS[2], STRENGTHS[4], 1.0, STRENGTHS[7]])
def test_solver_finds_what_scikit_learn_finds(strength: float) -> None:
    for seed in range(3):
        x, wins, weights = problem(seed)
        found = l1_logistic(x[None], wins, weights[None], strength)[0]
        assert found == pytest.approx(with_scikit(x, wins, weights, strength), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(-4, 4), st.integers(2, 4), st.booleans())
def test_solution_is_optimal(seed: int, exponent: float, k: int, decided: bool) -> None:
    x, wins, weights = problem(seed, 40, k)
    if decided:
        wins = np.round(wins)
    strength = 10.0**exponent
    w = l1_logistic(x[None], wins, weights[None], strength)[0]
    slope = strength * x.T @ (weights * (1 / (1 + np.exp(-x @ w)) - wins))
    moving = w != 0
    scale = 1 + strength * weights.sum()
    assert np.abs(slope + np.sign(w))[moving].max(initial=0) < 1e-7 * scale
    assert (np.abs(slope[~moving]) < 1 + 1e-7 * scale).all()


def test_problems_solved_together_are_solved_alike() -> None:
    x, wins, _ = problem(5)
    counts = np.random.default_rng(1).multinomial(len(x), np.full(len(x), 1 / len(x)), size=7).astype(float)
    together = l1_logistic(np.broadcast_to(x, (7, *x.shape)), wins, counts, 2.0, np.array([0.3, -0.2, 0.1]))
    for weights, found in zip(counts, together, strict=True):
        repeated = np.repeat(np.arange(len(x)), weights.astype(int))
        alone = l1_logistic(x[repeated][None], wins[repeated], np.ones((1, len(repeated))), 2.0)[0]
        assert found == pytest.approx(alone, abs=1e-8)
