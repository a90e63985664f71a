"""What stands in no main table: metrics by their parts, all other differences, head to head, people and health.

The page shows it in folds and charts; exports hold it behind their main tables. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from leaderboards.descriptions import in_order
from leaderboards.health.measures import MEASURES
from leaderboards.health.records import Reading
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import lineage, matches, measures, people, tables, training
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid, ResultTable

__all__ = ["compared", "health", "main_differences", "other_differences", "others", "parts", "training_grids"]

_POLICY: Final = "pairwise_accuracy_ties_"  # without ties all of them are one number


def parts(facts: RunFacts) -> Iterator[ResultTable]:
    """Of each benchmark its metrics by their parts (categories, tasks, kinds of prompt), and what no table shows."""
    for key in tables.benchmarks([facts]):
        title = wording.title(key)
        for whole, names in tables.breakdowns(facts, key).items():
            yield _bare(facts, key, names, f"{title}: {wording.info(key, whole).label}, by part")
        if rest := _unshown(facts, key):
            yield _bare(facts, key, rest, f"{title}: other numbers")


def _bare(facts: RunFacts, key: str, metrics: Sequence[str], title: str) -> ResultTable:
    """A table of some metrics; what failed and what is not alike stands with the benchmark's own."""
    return replace(tables.result_table(facts, key, metrics, title), failures=(), settings="")


def _unshown(facts: RunFacts, key: str) -> list[str]:
    shown = {row.metric for row in tables.result_table(facts, key).rows}
    results = [m.results[key] for m in facts.models if key in m.results]
    there = dict.fromkeys(n for r in results for n, m in r.metrics.items() if m.n_total > 0)
    return in_order(key, [n for n in there if n not in shown and "/" not in n and _POLICY not in n])


# --- differences


def main_differences(facts: RunFacts) -> list[MetricDifference]:
    """Those of the few metrics that tell each benchmark's story, in the order of the page."""
    return [d for key in tables.benchmarks([facts]) for d in _of(facts, key, tables.headline_metrics(facts, key))]


def other_differences(facts: RunFacts) -> list[MetricDifference]:
    """All that are left."""
    told = {(d.benchmark, d.metric) for d in main_differences(facts)}
    left = {(d.benchmark, d.metric): None for d in _all(facts) if (d.benchmark, d.metric) not in told}
    keys = dict.fromkeys(benchmark for benchmark, _ in left)
    names = {key: in_order(key, [metric for benchmark, metric in left if benchmark == key]) for key in keys}
    return [d for key in keys for d in _of(facts, key, names[key])]


def _of(facts: RunFacts, key: str, metrics: Sequence[str]) -> Iterator[MetricDifference]:
    return (d for metric in metrics for d in _all(facts) if (d.benchmark, d.metric) == (key, metric))


def _all(facts: RunFacts) -> list[MetricDifference]:
    return [d for d in (facts.standings.differences if facts.standings else ()) if d.value is not None]


def compared(facts: RunFacts) -> Grid:
    """The main differences, a row a metric and a column a pair of models."""
    found = main_differences(facts)
    pairs = list(dict.fromkeys((d.a, d.b) for d in found))
    rows: dict[tuple[str, str], dict[tuple[str, str], MetricDifference]] = {}
    for d in found:
        rows.setdefault((d.benchmark, d.metric), {})[d.a, d.b] = d
    cells = tuple(
        (
            measures.label(*metric) + ("" if all(d.paired for d in of.values()) else " (unpaired)"),
            *(tables.change_of(of[p], facts) if p in of else Cell(wording.NOTHING) for p in pairs),
        )
        for metric, of in rows.items()
    )
    return Grid("Differences", ("Metric", *(f"{a} \u2212 {b}" for a, b in pairs)), cells)


# --- the rest of the page


def others(facts: RunFacts) -> Iterator[Grid]:
    """What the order of showing did head to head, ratings, and what people said."""
    if (orders := matches.orders(facts)).rows:
        yield orders
    if facts.tournament is not None and (ratings := matches.ratings(facts.tournament)).rows:
        yield ratings
    if facts.human is not None:
        for grid in people.grids(facts.human):
            yield replace(grid, title=f"Human evaluation: {grid.title[0].lower()}{grid.title[1:]}")


def training_grids(facts: RunFacts) -> Iterator[Grid]:
    """How each model was made, and what its stages counted."""
    yield from lineage.tables(facts)
    columns = ("Model", "Stage", "Counts", "Time")
    rows = tuple((m.name, *told[:3]) for m in facts.models for told in lineage.stage_rows(m.stages))
    if rows:
        yield Grid("Stages", columns, rows)


def health(facts: RunFacts) -> Grid:
    """Every reading, a row a measure and what it was read from, a column a model; warnings as its note."""
    found, note = training.health(facts)
    readings = [r for r in (found.readings if found else ()) if r.value is not None and r.measure in MEASURES]
    models = [m.name for m in facts.models if any(r.model == m.name for r in readings)]
    rows: dict[tuple[str, str], dict[str, Reading]] = {}
    for name in MEASURES:
        for r in readings:
            if r.measure == name:
                rows.setdefault((name, _source(r)), {})[r.model] = r
    cells: tuple[tuple[str | Cell | Change, ...], ...] = tuple(
        (MEASURES[name].label, source, *(_reading(of.get(m)) for m in models)) for (name, source), of in rows.items()
    )
    told = " ".join([*(f"Warning: {w.text}" for w in (found.warnings if found else ())), *([note] if note else [])])
    return Grid("Health", ("Measure", "Of", *models), cells, told)


def _source(reading: Reading) -> str:
    """A benchmark, or the file of a round: that of M2 and that of M3 are one row."""
    return reading.source.partition("/")[2] if MEASURES[reading.measure].of == "iteration" else reading.source


def _reading(reading: Reading | None) -> Cell:
    if reading is None or reading.value is None:
        return Cell(wording.NOTHING)
    unit = MEASURES[reading.measure].unit
    missing = f"{reading.n:,} of {reading.n_total:,}" if reading.n < reading.n_total else ""
    return Cell(wording.number(reading.value, unit), wording.interval(reading.low, reading.high, unit), missing)
