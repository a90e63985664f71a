"""What may go wrong while quality rises: warnings first, then every measure of every checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from leaderboards import chain
from leaderboards.health.measures import MEASURES, Measure
from leaderboards.health.records import Health, Reading, Warned
from leaderboards.health.thresholds import THRESHOLDS, Threshold
from reports import wording
from reports.facts import tables, training
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Grid
from reports.page import plots, rendering
from reports.page.section import Chart, Section
from selfreward_bench.types import Metric

__all__ = ["build"]

_RULES: Final = {
    "above": "at most {}",
    "below": "at least {}",
    "magnitude": "at most {} either way",
    "times_first": "at most {} times {}'s",
    "rise": "at most {} above {}'s",
    "above_if_longer": "at most {}, if longer than {}'s",
}


@dataclass(frozen=True)
class _Card:
    """What crosses one measure's threshold."""

    title: str
    texts: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class _Line:
    """One measure from one source over all models.

    Attributes:
        cells: one per model, with whether its threshold is crossed and why there is no value.
    """

    measure: Measure
    source: str
    limit: str
    chart: str
    cells: tuple[tuple[Cell, bool, str], ...]


@dataclass(frozen=True)
class _Table:
    title: str
    about: str
    models: tuple[str, ...]
    lines: tuple[_Line, ...]


@dataclass(frozen=True)
class _Told:
    facts: RunFacts
    missing: str
    health: Health | None
    cards: tuple[_Card, ...]
    unwatched: str
    tables: tuple[_Table, ...]


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``. None where no model is there yet."""
    if not any(facts.models for facts in runs):
        return None
    charts: dict[str, Chart] = {}
    told = [_told(facts, f"health-{i}", charts) for i, facts in enumerate(runs)]
    body = rendering.render("health.html.j2", told=told, thresholds=_thresholds())
    return Section("health", "Health", body, charts)


def _told(facts: RunFacts, id: str, charts: dict[str, Chart]) -> _Told:
    health, missing = training.health(facts)
    if health is None:
        return _Told(facts, missing, None, (), "", ())
    found = [
        _table(facts, health, "checkpoint", f"{id}-c", charts),
        _table(facts, health, "iteration", f"{id}-i", charts),
    ]
    return _Told(
        facts, missing, health, _cards(health.warnings), _unwatched(health), tuple(t for t in found if t.lines)
    )


# --- warnings


def _cards(warnings: Iterable[Warned]) -> tuple[_Card, ...]:
    by_measure: dict[str, list[Warned]] = {}
    for warned in warnings:
        by_measure.setdefault(warned.measure, []).append(warned)
    return tuple(_Card(_label(name), tuple(w.text for w in found), found[0].why) for name, found in by_measure.items())


def _label(name: str) -> str:
    return MEASURES[name].label.removeprefix("… ") if name in MEASURES else name


def _unwatched(health: Health) -> str:
    """The measures with a threshold that this run has no number of."""
    there = {r.measure for r in health.readings if r.value is not None}
    return ", ".join(_label(name) for t in THRESHOLDS for name in t.measures if name not in there)


# --- tables


def _table(
    facts: RunFacts, health: Health, of: Literal["checkpoint", "iteration"], id: str, charts: dict[str, Chart]
) -> _Table:
    readings = [r for r in health.readings if r.measure in MEASURES and MEASURES[r.measure].of == of]
    order = [m.name for m in facts.models]
    there = {r.model for r in readings}
    models = tuple(name for name in order if name in there)
    first = chain.anchor(order) or ""
    crossed = {(w.measure, w.model, w.source) for w in health.warnings}
    grouped: dict[tuple[str, str], dict[str, Reading]] = {}
    for name in MEASURES:
        for r in readings:
            if r.measure == name:
                source = r.source if of == "checkpoint" else r.source.partition("/")[2]
                grouped.setdefault((name, source), {})[r.model] = r
    lines: list[_Line] = []
    sparks: dict[str, tuple[str, Chart]] = {}
    for (name, source), found in grouped.items():
        if all(r.value is None for r in found.values()):
            continue
        chart = _spark(MEASURES[name], found, models)
        chart_id = f"{id}-{len(lines)}" if chart else ""
        if chart:
            sparks[chart_id] = (MEASURES[name].unit, chart)
        other = "" if of == "iteration" or source == health.answers_from else source
        cells = tuple(_cell(MEASURES[name], found.get(m), crossed) for m in models)
        lines.append(_Line(MEASURES[name], other, _limit(name, first), chart_id, cells))
    charts |= plots.on_one_scale(sparks)
    title, about = _TITLES[of]
    return _Table(title, about, models, tuple(lines))


_TITLES: Final = {
    "checkpoint": (
        "Of each checkpoint",
        "Its answers to one benchmark's prompts, the same for all checkpoints, and its judgments in evaluations.",
    ),
    "iteration": (
        "Of what each iteration was trained on",
        "Answers and judgments of the parent; the column names the model that was made of them.",
    ),
}


def _cell(measure: Measure, reading: Reading | None, crossed: set[tuple[str, str, str]]) -> tuple[Cell, bool, str]:
    if reading is None or reading.value is None:
        return Cell(wording.NOTHING), False, reading.reason or "" if reading else ""
    missing = reading.n < reading.n_total
    scored = wording.scored(Metric(value=None, n_scored=reading.n, n_total=reading.n_total)) if missing else ""
    cell = Cell(
        wording.number(reading.value, measure.unit), wording.interval(reading.low, reading.high, measure.unit), scored
    )
    return cell, (reading.measure, reading.model, reading.source) in crossed, ""


def _spark(measure: Measure, found: Mapping[str, Reading], models: Sequence[str]) -> Chart | None:
    rows = [
        {
            "x": name,
            "line": name == "M0" or bool(tables.iterations([name])),
            **{key: plots.scaled(getattr(found[name], key), measure.unit) for key in ("value", "low", "high")},
        }
        for name in models
        if name in found and found[name].value is not None
    ]
    return Chart("spark", f"{measure.label}, model by model", rows) if len(rows) > 1 else None


# --- thresholds


def _limit(name: str, first: str) -> str:
    threshold = next((t for t in THRESHOLDS if name in t.measures), None)
    return _rule(threshold, MEASURES[name], first) if threshold else ""


def _rule(threshold: Threshold, measure: Measure, first: str = "the first checkpoint") -> str:
    limit = f"{threshold.limit:g}"
    if measure.unit == "share" and threshold.rule != "times_first":
        limit = f"{100 * threshold.limit:g} {'points' if threshold.rule == 'rise' else '%'}"
    if measure.unit == "percent":
        limit += " point" if threshold.limit == 1 else " points"
    return _RULES[threshold.rule].format(limit, first)


def _thresholds() -> Grid:
    rows = tuple(
        (", ".join(_label(n) for n in t.measures), _rule(t, MEASURES[t.measures[0]]), t.why) for t in THRESHOLDS
    )
    note = (
        "Conventions that say where to look, not tests. M0 is not warned of: nothing was trained yet. The first "
        "checkpoint is M1 in a run, and outside one the first that was named."
    )
    return Grid("Thresholds", ("Measure", "Limit", "Why"), rows, note)
