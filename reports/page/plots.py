"""Charts made of a run's numbers: what is drawn is what the table beside it says, in the same units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from leaderboards import chain
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import tables
from reports.facts.run import ModelFacts, RunFacts
from reports.page.section import Chart
from selfreward_bench.types import Metric

__all__ = ["axis", "checkpoints", "differences", "metric_dots", "on_one_scale", "scaled", "spark"]

_LEAST: Final = {"share": 5.0, "percent": 5.0}  # points, of an axis: what hardly moves is drawn flat

_UNITS: Final = {
    "points": "points",
    "grade": "grade",
    "share": "per cent",
    "percent": "per cent",
    "correlation": "correlation",
    "characters": "characters",
    "nats": "nats",
    "rating": "rating",
    "count": "",
}


def scaled(value: float | None, unit: str) -> float | None:
    """As it is drawn: shares in per cent."""
    return None if value is None else 100 * value if unit == "share" else value


def axis(unit: str) -> str:
    """What an axis of such numbers is called."""
    return _UNITS.get(unit, "")


def metric_dots(
    facts: RunFacts, benchmark: str, metrics: Iterable[str], title: str, *, labels: Mapping[str, str] | None = None
) -> Chart | None:
    """Metrics of one unit, model by model, with their intervals; None where there is no number."""
    rows: list[dict[str, Any]] = []
    unit = ""
    for metric in metrics:
        shown = wording.info(benchmark, metric)
        unit = unit or shown.unit
        for model in facts.models:
            found = model.results[benchmark].metrics.get(metric) if benchmark in model.results else None
            if found is not None and found.value is not None and shown.unit == unit:
                label = (labels or {}).get(metric, shown.label)
                rows.append({"label": label, "series": model.name, **_bounds(found, unit)})
    return Chart("dots", title, rows, {"x": axis(unit)}) if rows else None


def differences(found: Sequence[tuple[str, str, MetricDifference]], title: str, *, unit: str = "share") -> Chart | None:
    """Paired differences around a line at zero.

    Args:
        found: ``(label, series, difference)``.
    """
    rows = [
        {
            "label": label,
            "series": series,
            "value": scaled(d.value, unit),
            "low": scaled(d.low, unit),
            "high": scaled(d.high, unit),
        }
        for label, series, d in found
        if d.value is not None
    ]
    told = "percentage points" if unit in ("share", "percent") else axis(unit)
    return Chart("dots", title, rows, {"x": f"difference, {told}", "zero": 0}) if rows else None


def spark(facts: RunFacts, benchmark: str, metric: str) -> Chart | None:
    """A metric over the models of a run, small enough for a cell of a table; None with fewer than two numbers."""
    shown = wording.info(benchmark, metric)
    rows = []
    for model in facts.models:
        found = model.results[benchmark].metrics.get(metric) if benchmark in model.results else None
        if found is not None and found.value is not None:
            iteration = bool(tables.iterations([model.name])) or model.name == "M0"
            rows.append({"x": model.name, "line": iteration, **_bounds(found, shown.unit)})
    return Chart("spark", f"{shown.label}, model by model", rows) if len(rows) > 1 else None


def checkpoints(facts: RunFacts, measures: Sequence[tuple[str, str]], below: Sequence[tuple[str, str]]) -> Chart | None:
    """The main measures over a run's models, a small plot each; the baseline is a line across, not a step of the chain.

    Args:
        measures: ``(benchmark, metric)``.
        below: the same, for plots that stand under the others, such as lengths.
    """
    rows: list[dict[str, Any]] = []
    panels: list[dict[str, Any]] = []
    trained = tables.iterations(m.name for m in facts.models)
    for key, metric in (*measures, *below):
        shown = wording.info(key, metric)
        title = f"{wording.title(key).removesuffix(wording.MICRO)}: {shown.label}"
        found = [(m.name, m.results[key].metrics[metric]) for m in facts.models if _has(m, key, metric)]
        if len(found) < 2:
            continue
        panels.append({"name": title, "unit": axis(shown.unit), "below": (key, metric) in below})
        for name, number in found:
            drawn = _bounds(number, shown.unit)
            chained = name == chain.BASE or name in trained
            rows.append(
                {"panel": title, "x": name, "y": drawn.pop("value"), **drawn}
                | {"line": chained and bool(trained), "level": bool(trained) and not chained}
            )
    return Chart("checkpoints", "Main measures, checkpoint by checkpoint", rows, {"panels": panels}) if rows else None


def _has(model: ModelFacts, benchmark: str, metric: str) -> bool:
    found = model.results[benchmark].metrics.get(metric) if benchmark in model.results else None
    return found is not None and found.value is not None


def on_one_scale(sparks: Mapping[str, tuple[str, Chart]]) -> dict[str, Chart]:
    """Small pictures of one unit with axes of one length, so that equal steps look equal; each is centred on its own.

    Args:
        sparks: id -> unit, chart.
    """
    reach = {name: _reach(chart) for name, (_, chart) in sparks.items()}
    spans: dict[str, float] = {}
    for name, (unit, _) in sparks.items():
        low, high = reach[name]
        spans[unit] = max(spans.get(unit, _LEAST.get(unit, 0.0)), high - low)
    found = {}
    for name, (unit, chart) in sparks.items():
        middle, half = sum(reach[name]) / 2, (spans[unit] or 1.0) / 2
        found[name] = replace(chart, options={**chart.options, "domain": (middle - half, middle + half)})
    return found


def _reach(chart: Chart) -> tuple[float, float]:
    """The least and the greatest of all that is drawn."""
    drawn = [v for row in chart.rows for v in (row["value"], row["low"], row["high"]) if v is not None]
    return min(drawn), max(drawn)


def _bounds(found: Metric, unit: str) -> dict[str, float | None]:
    return {name: scaled(getattr(found, name), unit) for name in ("value", "low", "high")}
