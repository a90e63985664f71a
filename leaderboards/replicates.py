"""Differences of numbers that are no mean over samples: made again on the same resamples of the prompts for each model.

Two models' numbers on one resample share its prompts, so the spread of their differences is that of a paired bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import Field, ValidationError

from leaderboards import standings
from leaderboards.standings import MetricDifference
from selfreward_bench import stats
from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import os_errors
from selfreward_bench.types import Metric, Record

__all__ = ["Replicates", "paired", "read", "write"]

_FILE: Final = "replicates.json"
_LEAST: Final = 100  # resamples for an interval


class Replicates(Record):
    """One metric on resamples of the prompts.

    Attributes:
        resamples: hash of what was resampled; replicates are paired where it is the same.
        values: one per resample; None where there is none.
    """

    resamples: str
    values: tuple[float | None, ...]


class _Stored(Record):
    metrics: dict[str, Replicates] = Field(default_factory=dict)


def write(directory: Path, found: Mapping[str, Replicates]) -> None:
    """Keeps a result's replicates beside it; a result without any has no file."""
    if found:
        standings.write_record(directory / _FILE, _Stored(metrics=dict(found)))
        return
    with os_errors(directory / _FILE, "remove"):
        (directory / _FILE).unlink(missing_ok=True)


def read(directory: Path) -> dict[str, Replicates]:
    """The replicates of a directory's result, by metric.

    Raises:
        DataError: they cannot be read.
    """
    file = directory / _FILE
    if not file.is_file():
        return {}
    try:
        with os_errors(file, "read"):
            return _Stored.model_validate_json(file.read_bytes()).metrics
    except ValidationError as error:
        raise DataError(f"{file} is no file of replicates ({error.error_count()} faults). Evaluate again.") from error


def paired(
    benchmark: str,
    metric: str,
    names: tuple[str, str],
    metrics: tuple[Metric, Metric],
    found: tuple[Replicates, Replicates],
) -> MetricDifference | None:
    """``a - b`` with the interval of the differences on the same resamples; there is no test.

    Returns:
        None where the resamples are not the same, or too few, or of a single prompt.
    """
    (a, b), (x, y) = metrics, found
    both = [(p, q) for p, q in zip(x.values, y.values, strict=False) if p is not None and q is not None]
    alike = x.resamples == y.resamples and len(x.values) == len(y.values)
    n_prompts = max(a.n_total, b.n_total)
    if not alike or len(both) < _LEAST or n_prompts < 2 or a.value is None or b.value is None:
        return None
    gaps = np.array([p - q for p, q in both])
    low, high = stats.percentile_interval(gaps, n_prompts)
    return MetricDifference(
        benchmark=benchmark,
        metric=metric,
        a=names[0],
        b=names[1],
        value=a.value - b.value,
        low=float(low),
        high=float(high),
        p_value=None,
        n=min(a.n_scored, b.n_scored),
        n_total=n_prompts,
        detectable=stats.planned_detectable_difference(n_prompts, float(gaps.std(ddof=1)) * math.sqrt(n_prompts)),
    )
