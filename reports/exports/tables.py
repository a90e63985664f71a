"""A run's numbers for other programs and for papers: CSV and JSON with everything, Markdown and LaTeX as tables.

Nothing is computed here. Published numbers are in none of these: they stay on the page, beside what was measured.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from typing import Final

from leaderboards.comparing import Together
from leaderboards.standings import MetricDifference
from reports.exports import further, latex
from reports.exports.escaping import markdown as escaped
from reports.exports.escaping import spreadsheet
from reports.exports.numbers import Fact, facts_of, names_of
from reports.facts import comparability, grouping, matches, measures, several, tables, training
from reports.facts.grouping import Group
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid, ResultTable
from selfreward_bench import __version__
from selfreward_bench.errors import UnknownNameError

_LONG: Final = 5_000  # characters of settings or of a note

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
        writer.writerow(spreadsheet(v, _LONG) if isinstance(v, str) else v for v in asdict(fact).values())
    return stream.getvalue()


def as_json(runs: Sequence[RunFacts], together: Together | None = None) -> str:
    """The same facts, and the settings, paired differences, comparisons, health, stages and gaps of each run."""
    methods = grouping.group(runs) if together is not None else []
    named = list(zip(names_of(runs), runs, strict=True))
    found = {
        "format": 1,
        "srbench": __version__,
        "results": [asdict(fact) for fact in facts_of(runs, together)],
        "methods": [{"method": g.label, "runs": list(_names(g, named))} for g in methods],
        "runs": [{"run": name, "path": facts.path, "settings": facts.settings} for name, facts in named],
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
        "drift": [
            {"run": name, **facts.drift.model_dump(mode="json")} for name, facts in named if facts.drift is not None
        ],
        "health": [
            {"run": name, **found.model_dump(mode="json")}
            for name, facts in named
            if (found := training.health(facts)[0]) is not None
        ],
        "stages": [
            {"run": name, "checkpoint": m.name, **stage.model_dump(mode="json")}
            for name, facts in named
            for m in facts.models
            for stage in m.stages
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
    """Of each run the main tables, then everything else that the page holds, and what is missing."""
    lines = ["# Results", ""]
    if len(runs) > 1:
        lines += _several(runs, together or Together())
    for name, facts in zip(names_of(runs), runs, strict=True):
        lines += [f"## {escaped(name)}", ""]
        for table in tables.results(facts):
            lines += _table(table, _made_with(facts, table.benchmark))
        lines += _differences("Differences", further.main_differences(facts), facts)
        lines += _matches(facts)
        for grid in further.others(facts):
            lines += _grid(grid)
        for table in further.parts(facts):
            lines += _table(table)
        lines += _differences("All other differences", further.other_differences(facts), facts)
        for grid in (further.health(facts), *further.training_grids(facts)):
            lines += _grid(grid) if grid.rows else []
        lines += [f"- Missing: {escaped(gap)}" for gap in facts.gaps] + [""] * bool(facts.gaps)
    return "\n".join([*lines, f"{_NOTE} Made by srbench {__version__}.", ""])


_NOTE: Final = (
    "Numbers in brackets are 95% intervals, clustered by prompt. Differences are over the samples both checkpoints "
    "have, unpaired where each was scored on samples of its own; an arrow stands only where the interval excludes "
    "zero."
)


def _several(runs: Sequence[RunFacts], together: Together) -> list[str]:
    groups = several.group(runs)
    lines = ["## All runs", "", several.about(together), ""]
    lines += [f"- Not alike: {escaped(phrase)}" for phrase in several.unlike(groups)]
    lines += [f"- Missing: {escaped(gap)}" for gap in together.gaps]
    for grid in several.compared(groups, together):
        lines += ["", *_grid(grid)]
    contrasted = several.contrasted(groups, together)
    return [*lines, *_grid(contrasted)] if contrasted else lines


def _grid(grid: Grid) -> list[str]:
    rows = [[_cell(c) for c in row] for row in grid.rows]
    note = [escaped(grid.note, _LONG), ""] if grid.note else []
    return [f"### {escaped(grid.title)}", "", *_rows([escaped(c) for c in grid.columns], rows), "", *note]


def _made_with(facts: RunFacts, benchmark: str) -> str:
    """The settings of the latest result, in words; where results differ in them, that is told beside."""
    found = [m.results[benchmark] for m in facts.models if benchmark in m.results]
    return comparability.in_words(found[-1].settings) if found else ""


def _table(table: ResultTable, made_with: str = "") -> list[str]:
    lines = [f"### {escaped(table.title)}", ""]
    if table.judge:
        lines += [f"Judge: {escaped(table.judge)}", ""]
    lines += [f"Settings: {escaped(made_with, _LONG)}", ""] if made_with else []
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


def _differences(title: str, found: Sequence[MetricDifference], facts: RunFacts) -> list[str]:
    if not found:
        return []
    rows = [_difference(d, facts) for d in found]
    return [f"### {title}", "", *_rows(("Metric", "Checkpoints", "Difference", "n"), rows), ""]


def _difference(found: MetricDifference, facts: RunFacts) -> list[str]:
    label = measures.label(found.benchmark, found.metric)
    n = f"{found.n:,}" if found.n == found.n_total else f"{found.n:,} of {found.n_total:,}"
    n += "" if found.paired else " unpaired"
    between = f"{found.a} \u2212 {found.b}"
    return [escaped(label), escaped(between), tables.change_of(found, facts).text, n]


def _matches(facts: RunFacts) -> list[str]:
    """All pairs of checkpoints."""
    found = matches.grid(facts)
    if not found.rows:
        return []
    judge = f"Judge: {matches.judge_of(facts)}. {found.note}"
    return _grid(replace(found, title="Head to head", note=judge))


FORMATS: Final[dict[str, Callable[[Sequence[RunFacts], Together | None], str]]] = {
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "latex": latex.render,
}
