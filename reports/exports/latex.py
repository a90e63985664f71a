r"""Tables for a paper: booktabs, each number over its interval, bold where it is shown to be the best of its row.

Needs ``booktabs`` and, for letters beyond English, ``fontenc`` with T1. Nothing is scaled: a table keeps to the line of
a paper (``LINE``), and checkpoints that do not fit go on in a further table. One main table per run, then one per
benchmark, the differences of checkpoints, head to head, what people said, and the benchmarks by their parts.
"""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from leaderboards.comparing import Together
from reports import wording
from reports.exports import further
from reports.exports.escaping import latex as escaped
from reports.exports.escaping import spelled
from reports.facts import matches, measures, several, tables
from reports.facts.run import ModelFacts, RunFacts
from reports.facts.tables import Cell, Change, Grid, ResultTable
from selfreward_bench import __version__
from selfreward_bench.types import Metric

__all__ = ["LINE", "PAGE", "render"]

PAGE: Final = 40  # lines of a table, which fill a page together with its caption
LINE: Final = 345.0  # points: a line of 10 point article; NeurIPS, ICLR, JMLR and 12 point article have more
_FLOATS: Final = 12  # tables without text between them; LaTeX holds back 18 at most
_GAP: Final = 4.0  # points between two columns
_WIDE_GAP: Final = 10.0  # where there is room
_LABEL: Final = 22  # characters of a label in a line
_NAME: Final = 40  # characters of a column's name

_HEAD: Final = f"""\
% Made by srbench {__version__}. In the preamble: \\usepackage{{booktabs}} \\usepackage[T1]{{fontenc}}
"""
_NOTE: Final = (
    r"Below each number its 95\,\% interval, clustered by prompt. Bold: shown to be better than every other number of "
    r"its row by the interval of the difference. $\uparrow$ and $\downarrow$: the interval of the difference to the "
    r"checkpoint before excludes zero. $\ast$: not all samples could be scored."
)
_MATCHES: Final = (
    r"From the side of the first named, a tie counting half; below, the 95\,\% interval, clustered by prompt. Bold: "
    r"shown to be better."
)
_PAIRED: Final = (
    r"The first less the second, over the samples that both have; below, the 95\,\% interval, clustered by prompt. "
    r"Bold: shown to be better."
)
_SPREAD: Final = (
    r"Mean $\pm$ standard deviation over seeds; below, the 95\,\% interval when seeds and prompts are both drawn anew, "
    r"of one run its own. Bold: shown to be better than every other method; of a difference, shown to be a gain."
)
#: how wide a character is in 7 point type, in points; a digit is 4
_IN_7_POINT: Final = {**dict.fromkeys("[],.", 2.4), **dict.fromkeys("+-\u2212", 6.3), " ": 1.2}
_ARROWS: Final = {"▲": r"{\uparrow}", "▼": r"{\downarrow}"}
_NOUGHT: Final = re.compile(r"(?<!\d)0(?=\.)")
_PREVIOUS: Final = "previous"


@dataclass(frozen=True, slots=True)
class _Stack:
    """What stands in a cell, line under line.

    Attributes:
        width: about how wide it is set, in points.
    """

    lines: tuple[str, ...]
    width: float


@dataclass(frozen=True, slots=True)
class _Table:
    """A table before its columns are shared out.

    Attributes:
        rows: a cell per column, the first being the label; or a title over all columns.
    """

    caption: str
    label: str
    header: tuple[_Stack, ...]
    rows: tuple[tuple[_Stack, ...] | str, ...]


def render(runs: Sequence[RunFacts], together: Together | None = None) -> str:
    """All tables of all runs; first, several runs put together. Health and training are in no paper's tables."""
    found: list[_Table] = []
    if len(runs) > 1:
        groups, both = several.group(runs), together or Together()
        grids = [(grid, _SPREAD) for grid in several.compared(groups, both)]
        if (contrasted := several.contrasted(groups, both)) is not None:
            grids.append((contrasted, escaped(contrasted.note)))
        found += [_grid(grid, f"tab:runs-{i}", note) for i, (grid, note) in enumerate(grids, start=1)]
    for i, facts in enumerate(runs, start=1):
        prefix = f"run{i}-" if len(runs) > 1 else ""
        found += _main(facts, prefix)
        found += [_benchmark(facts, t, _key(t.benchmark), prefix) for t in tables.results(facts) if t.rows]
        if (compared := further.compared(facts)).rows:
            found.append(_named(facts, compared, "differences", prefix, _PAIRED))
        found += _matches(facts, prefix)
        found += [_named(facts, grid, _key(grid.title), prefix, escaped(grid.note)) for grid in further.others(facts)]
        found += [_benchmark(facts, t, f"part-{k}", prefix) for k, t in enumerate(further.parts(facts), start=1)]
    texts = [text for table in found for text in _floats(table)]
    batches = ["\n".join(texts[i : i + _FLOATS]) for i in range(0, len(texts), _FLOATS)]
    return "\n".join([_HEAD, "\\clearpage\n\n".join(batches)])


# --- tables


def _main(facts: RunFacts, prefix: str) -> Iterator[_Table]:
    """The few metrics that tell each benchmark's story, in one table."""
    keys = [k for k in tables.benchmarks([facts]) if any(k in m.results for m in facts.models)]
    models = [m for m in facts.models if m.results]
    if len(keys) < 2:
        return
    rows: list[tuple[_Stack, ...] | str] = []
    for key in keys:
        headlines = tables.result_table(facts, key, tables.headline_metrics(facts, key))
        rows += [rf"\textit{{{escaped(headlines.title)}}}", *_rows(facts, headlines, models)]
    caption = f"{escaped(facts.name)}: main results. {_NOTE}"
    yield _Table(caption, f"tab:{prefix}main", _header("Metric", [m.name for m in models]), tuple(rows))


def _key(title: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", title.partition("@")[0].lower())


def _benchmark(facts: RunFacts, table: ResultTable, label: str, prefix: str) -> _Table:
    models = [m for m in facts.models if table.benchmark in m.results]
    judge = f" Judge: {escaped(table.judge)}." if table.judge else ""
    unlike = f" Not alike, so nothing is bold: {escaped('; '.join(table.unlike))}." if table.unlike else ""
    other = f" Settings that need not be equal: {escaped(table.settings)}." if table.settings else ""
    caption = f"{escaped(facts.name)}: {escaped(table.title)}.{judge}{unlike}{other} {_NOTE}"
    rows = tuple(_rows(facts, table, models))
    return _Table(caption, f"tab:{prefix}{label}", _header("Metric", table.models), rows)


def _matches(facts: RunFacts, prefix: str) -> Iterator[_Table]:
    """All pairs of checkpoints."""
    found = matches.grid(facts)
    if not found.rows:
        return
    caption = f"{escaped(facts.name)}: head to head. Judge: {escaped(matches.judge_of(facts))}. {_MATCHES}"
    header = ("Pair", r"Win rate (\%)", r"Win (\%)", r"Tie (\%)", r"Loss (\%)", "Comparisons")
    rows = tuple((_label(str(row[0])), *(_cell(cell, bare=True) for cell in row[1:])) for row in found.rows)
    yield _Table(caption, f"tab:{prefix}head-to-head", tuple(_Stack((h,), _wide(h)) for h in header), rows)


def _named(facts: RunFacts, grid: Grid, label: str, prefix: str, note: str) -> _Table:
    """A table of one run that is no benchmark's own."""
    return _grid(replace(grid, title=f"{facts.name}: {grid.title.lower()}"), f"tab:{prefix}{label}", note)


def _grid(grid: Grid, label: str, note: str) -> _Table:
    """Finished cells: runs against each other on one metric, their differences, matches, ratings."""
    rows = tuple((_label(_text(row[0])), *map(_cell, row[1:])) for row in grid.rows)
    caption = f"{escaped(grid.title)}. {note}".rstrip()
    return _Table(caption, label, _header(grid.columns[0], grid.columns[1:]), rows)


def _header(first: str, names: Iterable[str]) -> tuple[_Stack, ...]:
    cut = (n if len(n) <= _NAME else f"{n[: _NAME - 1]}…" for n in map(spelled, names))
    return (_Stack((escaped(first),), _wide(first)), *(_Stack((escaped(n),), _wide(n)) for n in cut))


# --- layout


def _floats(table: _Table) -> Iterator[str]:
    """The table, or several where it would be wider than a line or longer than a page."""
    parts = [(columns, rows) for columns in _shares(table) for rows in _pages(table)]
    for i, (columns, rows) in enumerate(parts, start=1):
        suffix, told = (f"-{i}", f" Part {i} of {len(parts)}.") if len(parts) > 1 else ("", "")
        lines = [text for row in rows for text in _lines(row, columns)]
        gap = _WIDE_GAP if _width(table, columns) + (_WIDE_GAP - _GAP) * len(columns) <= LINE else _GAP
        yield "\n".join(
            [
                r"\begin{table}",
                r"  \centering\footnotesize\setlength{\tabcolsep}" + f"{{{gap / 2:.0f}pt}}",
                rf"  \caption{{{table.caption}{told}}}",
                rf"  \label{{{table.label}{suffix}}}\vspace{{4pt}}",
                rf"  \begin{{tabular}}{{@{{}}l{'r' * (len(columns) - 1)}@{{}}}}",
                r"    \toprule",
                *(f"    {line}" for line in _lines(table.header, columns)),
                r"    \midrule",
                *(f"    {line}" for line in lines),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def _width(table: _Table, columns: Sequence[int]) -> float:
    rows = [table.header, *(row for row in table.rows if not isinstance(row, str))]
    return sum(max(row[i].width for row in rows) + _GAP for i in columns)


def _shares(table: _Table) -> Iterator[tuple[int, ...]]:
    """Which columns stand beside the labels in each part; at least one in each."""
    rows = [table.header, *(row for row in table.rows if not isinstance(row, str))]
    widths = [max(row[i].width for row in rows) for i in range(len(table.header))]
    part, room = [0], LINE - widths[0]
    for i, width in enumerate(widths[1:], start=1):
        if len(part) > 1 and room < width + _GAP:
            yield tuple(part)
            part, room = [0], LINE - widths[0]
        part.append(i)
        room -= width + _GAP
    yield tuple(part)


def _pages(table: _Table) -> Iterator[list[tuple[_Stack, ...] | str]]:
    """The rows, as many together as a page holds; a title stays with what is below it."""
    page: list[tuple[_Stack, ...] | str] = []
    room = PAGE
    for i, row in enumerate(table.rows):
        height = _height(row)
        needed = height + (_height(table.rows[i + 1]) if isinstance(row, str) and i + 1 < len(table.rows) else 0)
        if page and needed > room:
            yield page
            page, room = [], PAGE
        page.append(row)
        room -= height
    yield page


def _height(row: Sequence[_Stack] | str) -> int:
    return 1 if isinstance(row, str) else max(len(cell.lines) for cell in row)


def _lines(row: Sequence[_Stack] | str, columns: Sequence[int]) -> list[str]:
    """A row of cells as lines of a table; a title's line has room above."""
    if isinstance(row, str):
        return [r"\addlinespace", rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{{row}}} \\"]
    cells = [row[i].lines for i in columns]
    height = max(map(len, cells))
    found = [" & ".join(c[k] if k < len(c) else "" for c in cells).strip() + r" \\" for k in range(height)]
    return [*found[:-1], f"{found[-1]}[2pt]"] if height > 1 else found


def _wide(text: str) -> float:
    """About how wide a text is set in 8 point type: small letters 4.1 points on average, capitals more."""
    wide = (unicodedata.east_asian_width(c) in "WF" for c in text)
    return sum(8.5 if w else 6.0 if c.isupper() or c in "mw%" else 4.1 for w, c in zip(wide, text, strict=True))


def _label(text: str, unit: str = "") -> _Stack:
    """A label in lines, with the unit behind it."""
    parts = textwrap.wrap(spelled(text) + (f" ({unit})" if unit else ""), _LABEL) or [""]
    lines = (escaped(p) if i == 0 else rf"\quad {escaped(p)}" for i, p in enumerate(parts))
    return _Stack(tuple(lines), max(_wide(p) + 8 * bool(i) for i, p in enumerate(parts)))


# --- rows and numbers


def _rows(facts: RunFacts, table: ResultTable, models: Sequence[ModelFacts]) -> Iterator[tuple[_Stack, ...]]:
    for row in table.rows:
        unit = wording.info(table.benchmark, row.metric).unit
        found = {m.name: _metric(m, table.benchmark, row.metric) for m in models}
        best = "" if table.unlike else _best(facts, table.benchmark, row.metric, found)
        changes = (tables.metric_cell(facts, m, table.benchmark, row.metric).changes for m in models)
        cells = (
            _number(found[m.name], unit, m.name == best, change) for m, change in zip(models, changes, strict=True)
        )
        yield _label(row.label, "%" if unit in ("share", "percent") else ""), *cells


def _metric(model: ModelFacts, benchmark: str, metric: str) -> Metric | None:
    result = model.results.get(benchmark)
    return result.metrics.get(metric) if result else None


def _best(facts: RunFacts, benchmark: str, metric: str, found: Mapping[str, Metric | None]) -> str:
    """The one that is shown to be better than every other of its row; empty where none is."""
    there = [n for n, m in found.items() if m is not None and m.value is not None and math.isfinite(m.value)]
    for name in there if len(there) > 1 else ():
        if all(measures.shown_better(facts, benchmark, metric, name, other) for other in there if other != name):
            return name
    return ""


def _number(metric: Metric | None, unit: str, bold: bool, changes: Sequence[Change]) -> _Stack:
    if metric is None or metric.value is None or not math.isfinite(metric.value):
        return _Stack(("--",), 9.0)
    less = -1 if unit == "characters" else 0  # nobody needs a tenth of a character
    shown = wording.number(metric.value, unit, extra_digits=less)
    interval = wording.interval(metric.low, metric.high, unit, extra_digits=less)
    if unit == "correlation":  # never above 1: no nought in front, as journals print it
        shown, interval = (_NOUGHT.sub("", text) for text in (shown, interval))
    before = "".join(_ARROWS.get(c.arrow, "") for c in changes if _PREVIOUS in c.roles)
    above = r"^{\ast}" if metric.n_scored < metric.n_total else ""
    value = rf"\mathbf{{{_math(shown)}}}" if bold else _math(shown)
    return _stack(f"${before}{value}{above}$", len(shown) + 2 * bool(before or above), interval)


def _stack(value: str, characters: int, below: str) -> _Stack:
    """A number over its interval, which is set in 7 point type."""
    if not below:
        return _Stack((value,), 4.5 * characters)
    width = max(4.5 * characters, sum(_IN_7_POINT.get(c, 4.0) for c in below))
    return _Stack((value, rf"{{\scriptsize$[{_math(below).strip('[]')}]$}}"), width)


def _math(number: str) -> str:
    """A formatted number for math mode: its own minus, commas within numbers and between them told apart."""
    plain = number.removesuffix(" %").replace("\u2212", "-")
    return re.sub(r",(?=\d)", "{,}", plain).replace(", ", r",\,")


def _cell(cell: str | Cell | Change, *, bare: bool = False) -> _Stack:
    """A cell of text, or a finished number over its interval or with its spread.

    Args:
        bare: without per cent signs, which stand in the header; a change for the better is bold.
    """
    if isinstance(cell, str):
        shown = spelled(cell.removesuffix(" %") if bare else cell)
        return _Stack((escaped(shown),), _wide(shown))
    if isinstance(cell, Change):
        value = _spread(cell, bold=cell.tone == "better", bare=bare)
        return _stack(value, len(cell.value + cell.spread), cell.interval)
    missing = f" ({cell.scored})" if cell.scored else ""
    if cell.interval.startswith("["):
        value = f"{_spread(cell, bold=cell.best, bare=bare)}{escaped(missing)}"
        return _stack(value, len(cell.value + cell.spread + missing), cell.interval)
    told = f"{cell.value} {cell.interval}".strip() + missing
    return _Stack((escaped(told),), _wide(told))


def _spread(cell: Cell | Change, *, bold: bool, bare: bool) -> str:
    """The number, with its spread over seeds where there is one, and its per cent sign."""
    if cell.value == wording.NOTHING:
        return "--"
    number = rf"\mathbf{{{_math(cell.value)}}}" if bold else _math(cell.value)
    spread = rf" \pm {_math(cell.spread.removeprefix('± '))}" if cell.spread else ""
    unit = r"\,\%" if cell.value.endswith(" %") and not bare else ""
    return f"${number}{spread}{unit}$"


def _text(cell: str | Cell | Change) -> str:
    return cell if isinstance(cell, str) else cell.value
