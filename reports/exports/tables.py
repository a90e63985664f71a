"""A run's numbers for other programs and for papers: CSV and JSON with everything, Markdown and LaTeX as tables.

Nothing is computed here. Published numbers are in none of these: they stay on the page, beside what was measured.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final

from leaderboards.comparing.records import conditions
from leaderboards.descriptions import in_order
from leaderboards.standings import MetricDifference
from reports import wording
from reports.exports import latex
from reports.exports.escaping import markdown as escaped
from reports.exports.escaping import spreadsheet
from reports.facts import matches, people, several, tables
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid, ResultTable
from selfreward_bench import __version__
from selfreward_bench.errors import UnknownNameError
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import EvalResult

__all__ = ["FORMATS", "Fact", "as_csv", "as_json", "as_markdown", "facts_of", "render"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One number of one checkpoint; the fields are the columns of the CSV.

    Attributes:
        value, low, high: as stored: a share is 0..1, a percent 0..100.
        unit: of the three; see ``selfreward_bench.types.MetricInfo``.
        comparability: hash of what two numbers of one metric must share to be compared.
        against: of a head-to-head number, the other checkpoint; else empty.
    """

    run: str
    checkpoint: str
    benchmark: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    n_scored: int
    n_total: int
    judge: str
    comparability: str
    fingerprint: str
    against: str = ""


def render(runs: Sequence[RunFacts], format: str) -> str:
    """The runs in a format.

    Raises:
        UnknownNameError: it is none of ``FORMATS``.
    """
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    return FORMATS[format](runs)


def facts_of(runs: Sequence[RunFacts]) -> Iterator[Fact]:
    """Every number, in the order of the page."""
    for name, facts in zip(names_of(runs), runs, strict=True):
        for key in tables.benchmarks([facts]):
            for model in facts.models:
                if key in model.results:
                    yield from _facts(name, model.name, model.results[key])
        yield from _match_facts(name, facts)
        yield from _human_facts(name, facts)


def names_of(runs: Sequence[RunFacts]) -> list[str]:
    """The runs' names; a second run of one name becomes ``first (2)``."""
    names: list[str] = []
    for facts in runs:
        again = sum(n == facts.name or n.startswith(f"{facts.name} (") for n in names)
        names.append(f"{facts.name} ({again + 1})" if again else facts.name)
    return names


def _facts(run: str, checkpoint: str, result: EvalResult) -> Iterator[Fact]:
    stated = hash_json(dict(conditions(result)))[:16]
    for name in in_order(result.benchmark, sorted(result.metrics)):
        metric = result.metrics[name]
        yield Fact(
            run,
            checkpoint,
            result.benchmark,
            name,
            _finite(metric.value),
            _finite(metric.low),
            _finite(metric.high),
            wording.info(result.benchmark, name).unit,
            metric.n_scored,
            metric.n_total,
            result.judge or "",
            stated,
            result.fingerprint,
        )


def _match_facts(run: str, facts: RunFacts) -> Iterator[Fact]:
    """Each pair of checkpoints once, from the side of the first, and the ratings that come of all pairs."""
    held = facts.tournament
    weights = dict(held.checkpoints) if held else {}
    weights = {m.name: m.fingerprint or "" for m in facts.models} | weights
    for p in matches.pairs(facts):
        stated = hash_json(dict(p.comparability))[:16]
        net = (p.net_win.value, p.net_win.low, p.net_win.high) if p.net_win else (None, None, None)
        shares = {name: (share, None, None) for name, share in (("win", p.win), ("tie", p.tie), ("loss", p.loss))}
        for metric, numbers in {"win_rate": (p.win_rate, p.low, p.high), "net_win": net, **shares}.items():
            value, low, high = map(_finite, numbers)
            if value is not None:
                counts = (p.n_scored, p.n_total, p.judge, stated, weights.get(p.a, ""), p.b)
                yield Fact(run, p.a, p.benchmark, metric, value, low, high, "share", *counts)
    if held is None:
        return
    stated = hash_json(dict(held.comparability))[:16]
    for r in held.ratings:
        value, low, high = map(_finite, (r.rating, r.low, r.high))
        judged = (r.n_scored, r.n_total, held.judge, stated, weights.get(r.checkpoint, ""))
        yield Fact(run, r.checkpoint, held.benchmark, "rating", value, low, high, "rating", *judged)


def _human_facts(run: str, facts: RunFacts) -> Iterator[Fact]:
    """What the majority of people said of each pair, from the side of the first."""
    found = facts.human
    if found is None:
        return
    judge, stated = f"{len(found.raters)} people", hash_json([found.sheet, found.source])[:16]
    for p in found.pairs:
        for metric, m in (("win", p.win), ("tie", p.tie), ("loss", p.loss), ("net_win", p.net_win)):
            value, low, high = map(_finite, (m.value, m.low, m.high))
            counts = (m.n_scored, m.n_total, judge, stated, found.checkpoints.get(p.a, ""), p.b)
            yield Fact(run, p.a, "human", metric, value, low, high, "share", *counts)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# --- CSV and JSON


def as_csv(runs: Sequence[RunFacts]) -> str:
    """One line per number; texts that a spreadsheet would take for a formula have an apostrophe in front."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(f.name for f in fields(Fact))
    for fact in facts_of(runs):
        writer.writerow(spreadsheet(v) if isinstance(v, str) else v for v in asdict(fact).values())
    return stream.getvalue()


def as_json(runs: Sequence[RunFacts]) -> str:
    """The same facts, and the settings, paired differences, head-to-head comparisons and gaps of each run."""
    named = list(zip(names_of(runs), runs, strict=True))
    found = {
        "format": 1,
        "srbench": __version__,
        "results": [asdict(fact) for fact in facts_of(runs)],
        "settings": [
            {"run": name, "checkpoint": m.name, "benchmark": key, "settings": dict(result.settings)}
            for name, facts in named
            for m in facts.models
            for key, result in m.results.items()
            if result.settings
        ],
        "differences": [
            {"run": name, **d.model_dump(mode="json")}
            for name, facts in named
            for d in (facts.standings.differences if facts.standings else ())
        ],
        "head_to_head": [
            {"run": name, **h.model_dump(mode="json")} for name, facts in named for h in matches.pairs(facts)
        ],
        "human": [
            {"run": name, **facts.human.model_dump(mode="json")} for name, facts in named if facts.human is not None
        ],
        "missing": [{"run": name, "reason": gap} for name, facts in named for gap in facts.gaps],
    }
    return json.dumps(found, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


# --- Markdown


def as_markdown(runs: Sequence[RunFacts]) -> str:
    """A table per benchmark and run, the paired differences, head to head, and what is missing."""
    lines = ["# Results", ""]
    if len(runs) > 1:
        lines += _several(runs)
    for name, facts in zip(names_of(runs), runs, strict=True):
        lines += [f"## {escaped(name)}", ""]
        for table in tables.results(facts):
            lines += _table(table)
        lines += _differences(facts)
        lines += _matches(facts)
        lines += _people(facts)
        lines += [f"- Missing: {escaped(gap)}" for gap in facts.gaps] + [""] * bool(facts.gaps)
    return "\n".join([*lines, f"{_NOTE} Made by srbench {__version__}.", ""])


_NOTE: Final = (
    "Numbers in brackets are 95% intervals, clustered by prompt. Differences are over the samples both checkpoints "
    "have; an arrow stands only where the interval excludes zero."
)


def _several(runs: Sequence[RunFacts]) -> list[str]:
    groups = several.group(runs)
    lines = ["## All runs", "", "Mean ± standard deviation over seeds, where settings differ in the seed alone.", ""]
    lines += [f"- Not alike: {escaped(phrase)}" for phrase in several.unlike(groups)]
    for grid in several.compared(groups):
        lines += ["", *_grid(grid)]
    return lines


def _grid(grid: Grid) -> list[str]:
    rows = [[_cell(c) for c in row] for row in grid.rows]
    return [f"### {escaped(grid.title)}", "", *_rows([escaped(c) for c in grid.columns], rows), ""]


def _table(table: ResultTable) -> list[str]:
    lines = [f"### {escaped(table.title)}", ""]
    if table.judge:
        lines += [f"Judge: {escaped(table.judge)}", ""]
    lines += [f"- Not alike: {escaped(phrase)}" for phrase in table.unlike] + [""] * bool(table.unlike)
    if table.settings:
        lines += [f"- Other settings, which need not be equal: {escaped(table.settings)}", ""]
    lines += [f"- {escaped(model)} failed: {escaped(why)}" for model, why in table.failures]
    lines += [""] * bool(table.failures)
    if not table.rows:
        return lines
    rows = [[escaped(row.label), *map(_cell, row.cells)] for row in table.rows]
    return [*lines, *_rows(["Metric", *map(escaped, table.models)], rows), ""]


def _cell(cell: str | Cell | Change) -> str:
    if isinstance(cell, str):
        return escaped(cell)
    text = cell.text if isinstance(cell, Change) else f"{cell.value} {cell.interval}".rstrip()
    return f"{text} ({cell.scored})" if isinstance(cell, Cell) and cell.scored else text


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    ruler = ["---", *["--:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows)]


def _differences(facts: RunFacts) -> list[str]:
    found = facts.standings.differences if facts.standings else ()
    headlines = {key: tables.headline_metrics(facts, key) for key in tables.benchmarks([facts])}
    rows = [
        _difference(d, facts)
        for key, metrics in headlines.items()
        for metric in metrics
        for d in found
        if (d.benchmark, d.metric) == (key, metric) and d.value is not None
    ]
    if not rows:
        return []
    header = ("Metric", "Checkpoints", "Difference", "n")
    return ["### Differences", "", *_rows(header, rows), ""]


def _difference(found: MetricDifference, facts: RunFacts) -> list[str]:
    label = f"{wording.title(found.benchmark)}: {wording.info(found.benchmark, found.metric).label}"
    n = f"{found.n:,}" if found.n == found.n_total else f"{found.n:,} of {found.n_total:,}"
    between = f"{found.a} \u2212 {found.b}"
    return [escaped(label), escaped(between), tables.change_of(found, facts).text, n]


def _matches(facts: RunFacts) -> list[str]:
    """All pairs of checkpoints, and their ratings."""
    found = matches.grid(facts)
    if not found.rows:
        return []
    lines = ["### Head to head", "", f"Judge: {escaped(matches.judge_of(facts))}", ""]
    lines += [*_rows([escaped(c) for c in found.columns], [[_cell(c) for c in row] for row in found.rows]), ""]
    lines += [escaped(found.note), ""]
    ratings = facts.tournament.ratings if facts.tournament else ()
    told = [
        f"{escaped(r.checkpoint)} {wording.number(r.rating, 'rating')} "
        f"{wording.interval(r.low, r.high, 'rating')}".rstrip()
        for r in ratings
    ]
    return [*lines, f"Bradley-Terry ratings: {', '.join(told)}", ""] if told else lines


def _people(facts: RunFacts) -> list[str]:
    """What people said."""
    if facts.human is None:
        return []
    lines = ["### Human evaluation", ""]
    for grid in people.grids(facts.human):
        lines += [f"#### {escaped(grid.title)}", "", escaped(grid.note), ""]
        rows = [[_cell(c) for c in row] for row in grid.rows]
        lines += [*_rows([escaped(c) for c in grid.columns], rows), ""]
    return lines


FORMATS: Final[dict[str, Callable[[Sequence[RunFacts]], str]]] = {
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "latex": latex.render,
}
