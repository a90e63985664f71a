"""A run's numbers for other programs and for papers: CSV and JSON with everything, Markdown and LaTeX as tables.

Nothing is computed here. Published numbers are in none of these: they stay on the page, beside what was measured.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Final

from leaderboards.comparing import Together
from leaderboards.standings import MetricDifference
from reports import wording
from reports.exports import latex
from reports.exports.escaping import markdown as escaped
from reports.exports.escaping import spreadsheet
from reports.exports.numbers import Fact, facts_of, names_of
from reports.facts import grouping, matches, people, several, tables
from reports.facts.grouping import Group
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid, ResultTable
from selfreward_bench import __version__
from selfreward_bench.errors import UnknownNameError

__all__ = ["FORMATS", "as_csv", "as_json", "as_markdown", "render"]


def render(runs: Sequence[RunFacts], format: str, together: Together | None = None) -> str:
    """The runs in a format.

    Args:
        together: several runs put together; see ``leaderboards.comparing.seeds``.

    Raises:
        UnknownNameError: it is none of ``FORMATS``.
    """
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    return FORMATS[format](runs, together)


# --- CSV and JSON


def as_csv(runs: Sequence[RunFacts], together: Together | None = None) -> str:
    """One line per number; texts that a spreadsheet would take for a formula have an apostrophe in front."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(f.name for f in fields(Fact))
    for fact in facts_of(runs, together):
        writer.writerow(spreadsheet(v) if isinstance(v, str) else v for v in asdict(fact).values())
    return stream.getvalue()


def as_json(runs: Sequence[RunFacts], together: Together | None = None) -> str:
    """The same facts, and the settings, paired differences, head-to-head comparisons and gaps of each run."""
    methods = grouping.group(runs) if together is not None else []
    named = list(zip(names_of(runs), runs, strict=True))
    found = {
        "format": 1,
        "srbench": __version__,
        "results": [asdict(fact) for fact in facts_of(runs, together)],
        "methods": [{"method": g.label, "runs": list(_names(g, named))} for g in methods],
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
        "missing": [{"run": name, "reason": gap} for name, facts in named for gap in facts.gaps]
        + [{"run": "", "reason": gap} for gap in (together.gaps if together else ())],
    }
    return json.dumps(found, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _names(members: Group, named: Sequence[tuple[str, RunFacts]]) -> Iterator[str]:
    """The runs of a method, by the names that the records give them."""
    return (name for name, facts in named if any(facts is r for r in members.runs))


# --- Markdown


def as_markdown(runs: Sequence[RunFacts], together: Together | None = None) -> str:
    """A table per benchmark and run, the paired differences, head to head, and what is missing."""
    lines = ["# Results", ""]
    if len(runs) > 1:
        lines += _several(runs, together or Together())
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


def _several(runs: Sequence[RunFacts], together: Together) -> list[str]:
    groups = several.group(runs)
    lines = ["## All runs", "", several.about(together), ""]
    lines += [f"- Not alike: {escaped(phrase)}" for phrase in several.unlike(groups)]
    lines += [f"- Missing: {escaped(gap)}" for gap in together.gaps]
    for grid in several.compared(groups, together):
        lines += ["", *_grid(grid)]
    contrasted = several.contrasted(groups, together)
    return [*lines, *_grid(contrasted), escaped(contrasted.note), ""] if contrasted else lines


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
    if isinstance(cell, Change):
        return " ".join(filter(None, (cell.arrow, cell.value, cell.spread, cell.interval)))
    value = f"**{cell.value}**" if cell.best else cell.value
    scored = f"({cell.scored})" if cell.scored else ""
    return " ".join(filter(None, (value, cell.spread, cell.interval, scored)))


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


FORMATS: Final[dict[str, Callable[[Sequence[RunFacts], Together | None], str]]] = {
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "latex": latex.render,
}
