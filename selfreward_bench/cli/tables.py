"""The results of single checkpoints as a table; what a whole run came to is in ``reports.terminal``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfreward_bench.cli.console import columns

if TYPE_CHECKING:
    from selfreward_bench.types import EvalResult


def metric_table(results: Sequence[EvalResult]) -> str:
    """The metrics of some results, one a line; breakdowns by kind of task are left to the report."""
    from leaderboards.metrics import METRICS
    from reports import wording

    rows = []
    for result in results:
        known = METRICS.get(result.benchmark, result.metrics)
        for name, metric in ((name, result.metrics[name]) for name in known if name in result.metrics):
            shown = wording.info(result.benchmark, name)
            value = wording.number(metric.value, shown.unit)
            interval = wording.interval(metric.low, metric.high, shown.unit)
            scored = f"{metric.n_scored:,}/{metric.n_total:,}"
            rows.append((result.checkpoint, result.benchmark, shown.label, value, interval, scored))
    return columns(("MODEL", "BENCHMARK", "METRIC", "VALUE", "95% INTERVAL", "SCORED"), rows, right=(3, 4, 5))
