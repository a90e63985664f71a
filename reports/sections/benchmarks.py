"""What the sections of single benchmarks share, and the section of the benchmarks that have none of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reports import wording
from reports.facts import comparability, published, tables
from reports.facts.run import RunFacts
from reports.facts.tables import Grid, ResultTable
from reports.page import plots, rendering
from reports.page.section import Chart, Section
from selfreward_bench.types import EvalResult

__all__ = ["Panel", "build", "parts_panel", "section"]

_HASH: Final = re.compile(r"[0-9a-f]{8,64}").fullmatch
_OWN_SECTION: Final = ("quality", "alpaca-eval", "mt-bench", "nlp", "ifeval", "judge-accuracy", "head-to-head")
_ABOUT: Final = (
    "Benchmarks that others brought. Titles, units and which way is better are as they say themselves; of a metric "
    "that nobody described, higher is not said to be better."
)


@dataclass(frozen=True)
class Panel:
    """One look at a benchmark's numbers: a chart, and the same numbers as a table.

    Attributes:
        table: folded away below the chart, where there is one.
        result: a table of metrics by models rather than of texts.
        fold: the table is folded away without a chart, too.
    """

    title: str
    note: str = ""
    chart: Chart | None = None
    table: Grid | None = None
    result: ResultTable | None = None
    fold: bool = False


Panels = Callable[[RunFacts, str], Iterable[Panel]]


@dataclass(frozen=True)
class _Block:
    """A benchmark in a run, as the template takes it: panels with the ids of their charts."""

    table: ResultTable
    more: ResultTable
    conditions: tuple[tuple[str, str], ...]
    incomplete: int
    notes: tuple[str, ...]
    panels: tuple[tuple[Panel, str], ...]
    published: tuple[Grid, ...]


def section(
    id: str,
    title: str,
    about: str,
    runs: Sequence[RunFacts],
    families: Sequence[str],
    panels: Panels,
    minor: Sequence[str] = (),
) -> Section | None:
    """The section of some benchmarks; None where no run has a result or a failure of them.

    Args:
        about: what the numbers are, in a sentence or two.
        panels: what to show of one benchmark in one run, below its table.
        minor: metrics (or beginnings of their names) that are folded away in a table of their own.
    """
    charts: dict[str, Chart] = {}
    told = []
    for i, facts in enumerate(runs):
        blocks: list[_Block] = []
        for key in tables.benchmarks([facts], *families):
            shown = list(panels(facts, key))
            ids = [f"{id}-{i}-{len(blocks)}-{j}" for j in range(len(shown))]
            charts |= {name: p.chart for name, p in zip(ids, shown, strict=True) if p.chart is not None}
            blocks.append(_block(facts, key, tuple(zip(shown, ids, strict=True)), tuple(minor)))
        if blocks:
            told.append((facts, blocks))
    if not told:
        return None
    body = rendering.render("benchmark.html.j2", id=id, about=about, told=told)
    return Section(id, title, body, charts)


def _block(facts: RunFacts, key: str, panels: tuple[tuple[Panel, str], ...], minor: tuple[str, ...]) -> _Block:
    found = [m.results[key] for m in facts.models if key in m.results]
    table = tables.result_table(facts, key)
    main = tuple(row for row in table.rows if not row.metric.startswith(minor)) if minor else table.rows
    return _Block(
        replace(table, rows=main),
        replace(table, rows=tuple(row for row in table.rows if row not in main)),
        _conditions(found),
        sum(r.incomplete for r in found),
        _notes(found),
        panels,
        tuple(published.grids(key)),
    )


def _notes(results: Sequence[EvalResult]) -> tuple[str, ...]:
    """What a reader has to know, and of which checkpoints."""
    of: dict[str, list[str]] = {}
    for result in results:
        for note in result.notes:
            of.setdefault(note, []).append(result.checkpoint)
    return tuple(f"{wording.listing(names)}: {wording.clip(note, 500)}." for note, names in of.items())


def _conditions(results: Sequence[EvalResult]) -> tuple[tuple[str, str], ...]:
    """What the latest numbers were made with; settings in words, and the hash by which a result is found again."""
    if not results:
        return ()
    last = results[-1]
    told = comparability.in_words(last.settings)
    stated = (
        (k, v) for k, v in last.comparability.items() if not (told and k == comparability.PARAMETERS and _HASH(v))
    )
    return (*stated, *((("settings", told),) if told else ()), ("hash of settings", last.config_hash[:12]))


def parts_panel(facts: RunFacts, key: str, title: str, parts: Sequence[str], note: str = "") -> Panel:
    """A metric by its parts (categories, kinds of task), model by model."""
    return Panel(
        title,
        note,
        plots.metric_dots(facts, key, parts, title),
        result=replace(tables.result_table(facts, key, parts, title), unlike=(), failures=()),
    )


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The benchmarks without a section of their own; see ``reports.page.section.Builder``."""
    others = {wording.family(key) for key in tables.benchmarks(runs)} - set(_OWN_SECTION)
    if not others:
        return None
    return section("benchmarks", "Other benchmarks", _ABOUT, runs, sorted(others), _all_parts)


def _all_parts(facts: RunFacts, key: str) -> Iterator[Panel]:
    for whole, parts in tables.breakdowns(facts, key).items():
        yield parts_panel(facts, key, f"{wording.info(key, whole).label}, by part", parts)
