"""Results as a notebook shows them: a plot and a table in one small piece of HTML, without scripts.

Every name and text is bounded and escaped, and nothing in it is taken for mathematics. What does not fit is counted and
left to the tables and to the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from leaderboards.comparing.records import Pairing
from leaderboards.descriptions import in_order
from leaderboards.evaluation import Evaluation
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import comparability, paired, questions, tables
from reports.facts.run import RunFacts
from reports.page import plots, rendering
from reports.page.svg import Dots, Point, dots
from selfreward_bench.types import EvalResult, Metric

__all__ = ["evaluation", "pairing", "run"]

_MODELS: Final = 10  # that are shown
_ROWS: Final = 40  # of a table
_PLOTS: Final = 6
_POINTS: Final = 12  # of a plot
_NOTES: Final = 8
_NAME: Final = 60  # characters of a name or a label
_IN_PLOT: Final = 36  # characters of a label that a plot has room for
_SENTENCE: Final = 300
_NOTE: Final = 500

Row = str | tuple[str, ...]  # a heading, or the cells of a line


def evaluation(found: Evaluation) -> str:
    """The main metrics, a column per model; a plot of each benchmark's first one."""
    names = list(dict.fromkeys(r.checkpoint for r in found.results))
    shown, keys = names[:_MODELS], list(dict.fromkeys(r.benchmark for r in found.results))
    of = {key: {r.checkpoint: r for r in found.results if r.benchmark == key} for key in keys}
    rows = [row for key in keys for row in _benchmark(key, of[key], shown)]
    pictures = [_main_dots(key, of[key], shown) for key in keys]
    notes = _unlike(of)
    notes += [f"{len(names) - len(shown)} more models: metrics()."] if len(names) > len(shown) else []
    notes += _ratings(found) if found.tournament else []
    notes += [f"Failed: {text}" for text in found.errors]
    title = f"Evaluation of {wording.listing([_short(n) for n in names])}" if names else "Evaluation"
    return _render(title, [], pictures, ("", *shown), rows, [*notes, f"The results are in {found.root}."])


def pairing(found: Pairing) -> str:
    """Both models' main metrics with the paired differences, and a plot of these."""
    names = (found.a.name, found.b.name)
    parts = paired.parts(found)
    rows: list[Row] = []
    for part in parts:
        rows.append(f"{part.title}, judge: {part.judge}" if part.judge else part.title)
        rows += [part.unlike] if part.unlike else []
        rows += [
            (n.label, n.a, n.b, " ".join(filter(None, (n.arrow, n.change, n.interval))), n.p, n.n) for n in part.lines
        ]
    notes = [*filter(None, [paired.match(found)]), *paired.notes(found), paired.EXPLANATION]
    title = f"{_short(names[1])} against {_short(names[0])}"
    columns = ("", *names, "B \u2212 A", "p", "n")
    return _render(title, paired.header(found), _differences(found), columns, rows, notes)


def run(facts: RunFacts) -> str:
    """What a run came to: the answers to its questions, its main metrics model by model, and a plot of these."""
    source = tables.highlights(facts)
    shown = source.models[:_MODELS]
    rows: list[Row] = [(r.label, *(_told(c) for c in r.cells[:_MODELS])) for r in source.rows]
    keys = tables.benchmarks([facts])
    of = {key: {m.name: m.results[key] for m in facts.models if key in m.results} for key in keys}
    pictures = [_main_dots(key, of[key], shown) for key in keys if of[key]]
    said = [(f"{s.question} {s.word}.", s.answer) for s in questions.answers(facts)] if facts.evaluated else []
    settings = facts.settings
    told = f"recipe {settings.get('name', '?')}, seed {settings.get('seed', '?')}"
    made = [m.name for m in facts.models if m.iteration]
    heading = f"{facts.name}: {told}; {wording.listing(made) + ' made' if made else 'no model is made yet'}"
    notes = _unlike(of)
    notes += [f"{len(source.models) - len(shown)} more models: the report."] if len(source.models) > len(shown) else []
    return _render(heading, said, pictures, ("", *shown), rows, [*notes, *facts.gaps])


# --- tables


def _benchmark(key: str, found: dict[str, EvalResult], shown: Sequence[str]) -> Iterator[Row]:
    judges = dict.fromkeys(r.judge for r in found.values() if r.judge and wording.family(key) != "judge-accuracy")
    yield wording.title(key) + (f", judge: {'; '.join(judges)}" if judges else "")
    for metric in tables.headlines(key, _metrics(found)):
        cells = (found[n].metrics.get(metric) if n in found else None for n in shown)
        yield (wording.info(key, metric).label, *(_number(key, metric, cell) for cell in cells))


def _unlike(of: Mapping[str, dict[str, EvalResult]]) -> list[str]:
    """Which numbers were not made alike and must not be read against each other."""
    told = ((key, phrase) for key, found in of.items() for phrase in comparability.unlike(found))
    return [f"NOT COMPARABLE: {wording.title(key)}, {phrase}" for key, phrase in told]


def _metrics(found: dict[str, EvalResult]) -> list[str]:
    there = dict.fromkeys(m for r in found.values() for m in r.metrics)
    key = next(r.benchmark for r in found.values())
    return in_order(key, there)


def _number(key: str, metric: str, found: Metric | None) -> str:
    if found is None:
        return wording.NOTHING
    unit = wording.info(key, metric).unit
    missing = f" ({wording.scored(found)})" if found.n_scored < found.n_total else ""
    return f"{wording.number(found.value, unit)} {wording.interval(found.low, found.high, unit)}{missing}"


def _told(cell: tables.Cell) -> str:
    """A number, and what it is against the model before it."""
    before = next((c for c in cell.changes if "previous" in c.roles), None)
    change = f"; vs {_short(before.against)} {before.text}" if before else ""
    return f"{cell.value} {cell.interval}{change}"


def _ratings(found: Evaluation) -> list[str]:
    held = found.tournament
    if held is None:
        return []
    told = ", ".join(f"{_short(r.checkpoint)} {wording.number(r.rating, 'rating')}" for r in held.ratings[:_MODELS])
    return [f"Head to head, judge: {held.judge}. Bradley-Terry ratings: {told}."]


# --- plots


def _main_dots(key: str, found: dict[str, EvalResult], shown: Sequence[str]) -> Dots | None:
    """The first of the metrics that tell a benchmark's story, model by model."""
    metric = next(iter(tables.headlines(key, _metrics(found))), "")
    info = wording.info(key, metric)
    points = [
        Point(_short(n, _IN_PLOT), wording.number(m.value, info.unit), _drawn(m, info.unit))
        for n in shown
        if n in found and (m := found[n].metrics.get(metric)) is not None
    ]
    return dots(_short(f"{wording.title(key)}: {info.label}", 2 * _NAME), plots.axis(info.unit), points[:_POINTS])


def _differences(found: Pairing) -> list[Dots | None]:
    """Of each benchmark's main metric, in a plot for each unit."""
    by_unit: dict[str, list[Point]] = {}
    for of in found.benchmarks:
        for metric in of.metrics:
            d, shown = metric.difference, wording.info(of.benchmark, metric.metric)
            if d is not None and metric.main:
                unit = "percentage points" if shown.unit in ("share", "percent") else plots.axis(shown.unit)
                value, interval = wording.change(d, shown)
                label = f"{wording.title(of.benchmark).removesuffix(wording.MICRO)}, {shown.label}"
                point = Point(
                    _short(label, _IN_PLOT), f"{value} {interval}", _drawn(d, shown.unit), wording.tone(d, shown)
                )
                by_unit.setdefault(unit, []).append(point)
    title = f"{_short(found.b.name)} \u2212 {_short(found.a.name)}"
    return [dots(title, f"difference, {unit}", points[:_POINTS], zero=True) for unit, points in by_unit.items()]


def _drawn(found: Metric | MetricDifference, unit: str) -> tuple[float | None, float | None, float | None]:
    return plots.scaled(found.value, unit), plots.scaled(found.low, unit), plots.scaled(found.high, unit)


# --- the page


def _render(
    title: str,
    told: Sequence[tuple[str, str]],
    pictures: Sequence[Dots | None],
    columns: Sequence[str],
    rows: Sequence[Row],
    notes: Sequence[str],
) -> str:
    more = [f"{len(rows) - _ROWS} more lines: metrics() or the report."] if len(rows) > _ROWS else []
    more += [f"{len(notes) - _NOTES} more notes: the report."] if len(notes) > _NOTES else []
    return str(
        rendering.render(
            "notebook.html.j2",
            title=_short(title, _SENTENCE),
            facts=[(_short(label, 2 * _NAME), _short(text, _SENTENCE)) for label, text in told[:_NOTES]],
            plots=[p for p in pictures if p is not None][:_PLOTS],
            columns=[_short(name) for name in columns],
            rows=[_line(row) for row in rows[:_ROWS]],
            notes=[_short(text, _NOTE) for text in [*notes[:_NOTES], *more]],
        )
    )


def _line(row: Row) -> Row:
    return _short(row, _SENTENCE) if isinstance(row, str) else tuple(_short(cell, 2 * _NAME) for cell in row)


def _short(text: str, limit: int = _NAME) -> str:
    """On one line, visible, and no longer than there is room for."""
    line = wording.visible(" ".join(text[: 2 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
