"""From samples to clusters: what is scored, and each cluster's total."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDING = 1e-12  # relative: sums of equal numbers may differ in their last bits


def array(values: Sequence[float | None]) -> Floats:
    """Values with NaN for what is not scored: None, NaN, and the infinite, whose mean would say nothing."""
    found = np.asarray(values, dtype=np.float64)  # None becomes NaN
    return np.where(np.isfinite(found), found, np.nan)


def table_of(columns: Sequence[Sequence[float | None]]) -> Floats:
    """Columns of equal length as one array; shape (columns, n)."""
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise ValueError(f"columns of {' and '.join(map(str, sorted(lengths))) or 'no'} values cannot be paired")
    return np.stack([array(column) for column in columns])


def gaps_of(a: Sequence[float | None], b: Sequence[float | None]) -> Floats:
    """``a - b``, NaN where either is not scored."""
    table = table_of([a, b])
    return np.asarray(table[0] - table[1], dtype=np.float64)


def is_share(values: Floats) -> bool:
    """Whether all that is scored is 0, 1/2 or 1: a share of successes, of which a tie may be half a one."""
    return bool(np.isin(values[~np.isnan(values)], (0.0, 0.5, 1.0)).all())


def codes_of(clusters: Sequence[Hashable] | None, n: int) -> NDArray[np.intp]:
    """Labels as integers, in the order of their first appearance."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{n} values with {len(clusters)} cluster labels")
    number = {label: i for i, label in enumerate(dict.fromkeys(clusters))}
    return np.fromiter(map(number.__getitem__, clusters), np.intp, n)


def cluster_totals(values: Floats, clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and count of the scored values of each cluster that has any; shapes (clusters,)."""
    scored = ~np.isnan(values)
    codes = codes_of(clusters, len(values))[scored]
    sums, counts = np.bincount(codes, weights=values[scored]), np.bincount(codes)
    return sums[counts > 0].astype(np.float64), counts[counts > 0].astype(np.float64)
