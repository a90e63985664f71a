"""Tables for a paper: booktabs, the best number of a row in bold, intervals as subscripts.

Needs ``array``, ``booktabs``, ``graphicx`` (a table wider than the line is scaled down) and, for letters beyond
English, ``fontenc`` with T1. One main table per run, then one per benchmark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from reports import wording
from reports.exports.escaping import latex as escaped
from reports.facts import several, tables
from reports.facts.run import ModelFacts, RunFacts
from reports.facts.tables import Cell, Change, Grid, ResultTable
from selfreward_bench import __version__
from selfreward_bench.types import Metric

__all__ = ["render"]

_HEAD: Final = f"""\
% Made by srbench {__version__}. In the preamble: \\usepackage{{array,booktabs,graphicx}} \\usepackage[T1]{{fontenc}}
"""
_NOTE: Final = (
    r"Subscripts are 95\,\% intervals, clustered by prompt; the best of a row is bold, which is no test. "
    r"$\uparrow$ and $\downarrow$: the paired interval of the difference to the checkpoint before excludes zero. "
    r"$\ast$: not all samples could be scored."
)
_PREVIOUS: Final = "previous"


def render(runs: Sequence[RunFacts]) -> str:
    """All tables of all runs."""
    found = [_HEAD]
    if len(runs) > 1:
        found += [_grid(grid, i) for i, grid in enumerate(several.compared(several.group(runs)), start=1)]
    for i, facts in enumerate(runs, start=1):
        prefix = f"run{i}-" if len(runs) > 1 else ""
        if main := _main(facts, prefix):
            found.append(main)
        found += [_benchmark(facts, t, prefix) for t in tables.results(facts) if t.rows]
    return "\n".join(found)


# --- tables


def _main(facts: RunFacts, prefix: str) -> str:
    """The few metrics that tell each benchmark's story, in one table."""
    keys = [k for k in tables.benchmarks([facts]) if any(k in m.results for m in facts.models)]
    models = [m for m in facts.models if m.results]
    if len(keys) < 2:
        return ""
    lines: list[str] = []
    for key in keys:
        headlines = tables.result_table(facts, key, tables.headline_metrics(facts, key))
        lines.append(rf"\multicolumn{{{len(models) + 1}}}{{@{{}}l}}{{\textit{{{escaped(headlines.title)}}}}} \\")
        lines += _rows(facts, headlines, models, r"\quad ")
        lines.append(r"\addlinespace")
    caption = f"{escaped(facts.name)}: main results. {_NOTE}"
    return _float(caption, f"tab:{prefix}main", _header([m.name for m in models]), lines[:-1])


def _benchmark(facts: RunFacts, table: ResultTable, prefix: str) -> str:
    models = [m for m in facts.models if table.benchmark in m.results]
    judge = f" Judge: {escaped(table.judge)}." if table.judge else ""
    caption = f"{escaped(facts.name)}: {escaped(table.title)}.{judge}{_unlike(table)} {_NOTE}"
    label = re.sub(r"[^a-z0-9-]+", "-", table.benchmark.partition("@")[0].lower())
    return _float(caption, f"tab:{prefix}{label}", _header(table.models), list(_rows(facts, table, models)))


def _grid(grid: Grid, number: int) -> str:
    """Runs against each other on one metric."""
    header = " & ".join(escaped(c) for c in grid.columns)
    lines = [" & ".join(_plain(cell) for cell in row) + r" \\" for row in grid.rows]
    caption = f"{escaped(grid.title)}. Mean $\\pm$ standard deviation over seeds, or one run with its interval."
    return _float(caption, f"tab:runs-{number}", header + r" \\", lines, len(grid.columns) - 1)


def _unlike(table: ResultTable) -> str:
    return f" Not alike, so nothing is bold: {escaped('; '.join(table.unlike))}." if table.unlike else ""


def _header(models: Iterable[str]) -> str:
    return " & ".join(["Metric", *map(escaped, models)]) + r" \\"


def _float(caption: str, label: str, header: str, lines: Sequence[str], columns: int | None = None) -> str:
    n = header.count(" & ") if columns is None else columns
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"  \caption{{{caption}}}",
            rf"  \label{{{label}}}\vspace{{4pt}}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{>{{\raggedright}}p{{0.32\linewidth}}{'r' * n}}}",
            r"    \toprule",
            f"    {header}",
            r"    \midrule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


# --- rows and numbers


def _rows(facts: RunFacts, table: ResultTable, models: Sequence[ModelFacts], indent: str = "") -> Iterable[str]:
    for row in table.rows:
        shown = wording.info(table.benchmark, row.metric)
        found = [_metric(m, table.benchmark, row.metric) for m in models]
        best = _best(found, shown.better, shown.unit) if not table.unlike else set()
        per_cent = r" (\%)" if shown.unit in ("share", "percent") else ""
        cells = [
            _number(x, shown.unit, i in best, tables.metric_cell(facts, m, table.benchmark, row.metric).changes)
            for i, (m, x) in enumerate(zip(models, found, strict=True))
        ]
        yield " & ".join([f"{indent}{escaped(row.label)}{per_cent}", *cells]) + r" \\"


def _metric(model: ModelFacts, benchmark: str, metric: str) -> Metric | None:
    result = model.results.get(benchmark)
    return result.metrics.get(metric) if result else None


def _best(found: Sequence[Metric | None], better: int, unit: str) -> set[int]:
    """Which are best, as far as the digits shown can tell; nothing where there is no better, or no other."""
    values = {i: m.value for i, m in enumerate(found) if m is not None and m.value is not None}
    values = {i: v for i, v in values.items() if math.isfinite(v)}
    if not better or len(values) < 2:
        return set()
    best = wording.number(better * max(better * v for v in values.values()), unit)
    return {i for i, v in values.items() if wording.number(v, unit) == best}


def _number(metric: Metric | None, unit: str, bold: bool, changes: Sequence[Change]) -> str:
    if metric is None or metric.value is None or not math.isfinite(metric.value):
        return "--"
    value = _math(wording.number(metric.value, unit))
    interval = _math(wording.interval(metric.low, metric.high, unit)).strip("[]")
    arrows = {"▲": r"{\uparrow}", "▼": r"{\downarrow}"}
    before = "".join(arrows.get(c.arrow, "") for c in changes if _PREVIOUS in c.roles)
    above = r"^{\ast}" if metric.n_scored < metric.n_total else ""
    below = f"_{{[{interval}]}}" if interval else ""
    return f"${before}{_bold(value) if bold else value}{above}{below}$"


def _bold(value: str) -> str:
    return rf"\mathbf{{{value}}}"


def _math(number: str) -> str:
    """A formatted number for math mode: its own minus, and no spaces behind commas."""
    plain = number.removesuffix(" %").replace("\u2212", "-")
    return re.sub(r",(?=\d)", "{,}", plain).replace(", ", ",")


def _plain(cell: str | Cell | Change) -> str:
    """A cell of text, or a finished number with its interval or spread."""
    if isinstance(cell, str):
        return escaped(cell)
    if isinstance(cell, Change):
        return escaped(cell.text)
    bounds = cell.interval.startswith("[")
    spread = f"$_{{{_math(cell.interval)}}}$" if bounds else f" {escaped(cell.interval)}".rstrip()
    missing = f" ({escaped(cell.scored)})" if cell.scored else ""
    return f"{escaped(cell.value)}{spread}{missing}"
