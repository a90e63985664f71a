"""Logistic regression with an L1 penalty, many small problems at once: what resampling length control takes."""

from __future__ import annotations

from itertools import product
from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "l1_logistic", "logistic"]

Floats = NDArray[np.float64]

_TOLERANCE = 1e-10  # of a coefficient
_PRECISION = 1e-15  # of the loss: what a step that promises no more can add


def l1_logistic(
    x: Floats, wins: Floats, weights: Floats, strength: float, start: Floats | None = None, max_steps: int = 100
) -> Floats:
    """Minimises ``strength * sum(weights * cross_entropy(wins, logistic(x @ w))) + sum(abs(w))``, many at once.

    Proximal Newton steps with halving; meant for a handful of features.

    Args:
        x: features, shape (problems, n, k).
        wins: targets 0..1, shape (n,).
        weights: shape (problems, n); rows of weight 0 count for nothing.
        start: coefficients to start from, shape (k,).

    Returns:
        Coefficients, shape (problems, k).
    """
    n_problems, _, k = x.shape
    w = np.tile(np.zeros(k) if start is None else start, (n_problems, 1))
    loss = _loss(x, wins, weights, strength, w)
    active = np.arange(n_problems)
    for _ in range(max_steps):
        rows, own = x[active], weights[active]
        target, decrease = _newton_target(rows, wins, own, strength, w[active])
        step, size = target - w[active], np.ones(len(active))
        while True:
            tried = w[active] + size[:, None] * step
            new = _loss(rows, wins, own, strength, tried)
            worse = new > loss[active] + 1e-4 * size * decrease + 1e-12 * np.abs(loss[active])
            if not worse.any() or size.min() < 1e-10:
                break
            size[worse] /= 2
        w[active], loss[active] = tried, new
        moves = (np.abs(size[:, None] * step) > _TOLERANCE * (1 + np.abs(tried))).any(axis=1)
        active = active[moves & (-decrease > _PRECISION * new)]
        if not len(active):
            break
    return w


def _newton_target(x: Floats, wins: Floats, weights: Floats, strength: float, w: Floats) -> tuple[Floats, Floats]:
    """Where the penalised quadratic model has its minimum, and the decrease it predicts; (problems, k), (problems,)."""
    p = logistic(_times(x, w))
    transposed = x.transpose(0, 2, 1)
    gradient = strength * _times(transposed, weights * (p - wins))
    hessian = strength * (transposed * (weights * p * (1 - p))[:, None, :]) @ x
    k = w.shape[1]
    hessian[:, np.arange(k), np.arange(k)] *= 1 + 1e-12
    hessian[:, np.arange(k), np.arange(k)] += 1e-12
    u = _penalised_minimum(hessian, _times(hessian, w) - gradient)
    decrease = ((u - w) * gradient).sum(axis=1) + np.abs(u).sum(axis=1) - np.abs(w).sum(axis=1)
    return u, np.minimum(decrease, 0)


def _penalised_minimum(hessian: Floats, linear: Floats) -> Floats:
    """Minimises ``u @ hessian @ u / 2 - linear @ u + sum(abs(u))``: with few coefficients all sign patterns are tried.

    Where a pattern's stationary point has the pattern's signs, its value is ``-(linear - signs) @ u / 2``.
    """
    best, value = np.zeros_like(linear), np.zeros(len(linear))
    for pattern in product((0, 1, -1), repeat=linear.shape[1]):
        signs = np.array(pattern, dtype=np.float64)
        (on,) = np.nonzero(signs)
        if not len(on):
            continue
        pull = linear[:, on] - signs[on]
        u = np.linalg.solve(hessian[:, on[:, None], on], pull[..., None])[..., 0]
        found = -(pull * u).sum(axis=1) / 2
        better = (u * signs[on] > 0).all(axis=1) & (found < value)
        best[better] = 0
        best[np.ix_(better, on)] = u[better]
        value[better] = found[better]
    return best


def _loss(x: Floats, wins: Floats, weights: Floats, strength: float, w: Floats) -> Floats:
    z = _times(x, w)
    entropy = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - wins * z
    return cast(Floats, strength * (weights * entropy).sum(axis=1) + np.abs(w).sum(axis=1))


def _times(matrices: Floats, vectors: Floats) -> Floats:
    return (matrices @ vectors[..., None])[..., 0]


def logistic(z: Floats) -> Floats:
    """``1 / (1 + exp(-z))``, of each number."""
    return 0.5 * (1 + np.tanh(0.5 * z))  # overflows nowhere
