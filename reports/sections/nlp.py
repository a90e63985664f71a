"""NLP benchmarks: each task's score, and a panel of what alignment cost or gained against earlier models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import tables
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid
from reports.page import plots
from reports.page.section import Section
from reports.sections.benchmarks import Panel, section

__all__ = ["build"]

_FEW = 3  # parts of a task that are no subjects
_ABOUT = (
    "Tasks of the lm-evaluation-harness: knowledge and reasoning that preference training does not aim at. What falls "
    "here is what alignment costs."
)


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    return section("nlp", "NLP", _ABOUT, runs, ("nlp",), _panels)


def _panels(facts: RunFacts, key: str) -> Iterator[Panel]:
    there = {row.metric: row.label for row in tables.result_table(facts, key).rows}
    tasks = [m for m in there if "/" not in m and m not in ("truncated_prompts",)]
    if chart := plots.metric_dots(facts, key, tasks, "Score by task, with 95% intervals"):
        yield Panel("Scores by task", chart=chart)
    yield from _regressions(facts, key, tasks)
    parts = {whole: _numbers(parts) for whole, parts in tables.breakdowns(facts, key).items()}
    others = [p for found in parts.values() if len(found) <= _FEW for p in found]
    for whole, found in parts.items():
        if len(found) > _FEW:
            title = f"{wording.info(key, whole).label}, by subject"
            yield Panel(title, result=tables.result_table(facts, key, found, title), fold=True)
    if others:
        title = "Other readings of the same answers"
        labels = {p: f"{wording.info(key, p.partition('/')[0]).label}: {wording.info(key, p).label}" for p in others}
        yield Panel(title, result=tables.relabelled(tables.result_table(facts, key, others, title), labels), fold=True)


def _numbers(parts: Sequence[str]) -> list[str]:
    return [p for p in parts if not p.endswith("/no_answer")]


def _regressions(facts: RunFacts, key: str, tasks: Sequence[str]) -> Iterator[Panel]:
    """The last model against M0, against M1 and against the baseline, task by task."""
    names = [m.name for m in facts.models if key in m.results]
    against = [n for n in names[:-1] if n in ("M0", "M1") or not tables.iterations([n])] if names else []
    found: list[tuple[str, str, MetricDifference]] = [
        (wording.info(key, task).label, f"vs {earlier}", d)
        for task in tasks
        for earlier in against
        if (d := tables.difference(facts, key, task, names[-1], earlier))
    ]
    if not found:
        return
    columns = list(dict.fromkeys(series for _, series, _ in found))
    cells = {(label, series): tables.change_of(d, facts) for label, series, d in found}
    rows: list[tuple[str | Cell | Change, ...]] = [
        (label, *(cells.get((label, c), wording.NOTHING) for c in columns))
        for label in dict.fromkeys(x[0] for x in found)
    ]
    title = f"Gains and regressions of {names[-1]}"
    yield Panel(
        title,
        "Paired differences on the same questions, in percentage points, with 95% intervals. Left of the line: worse.",
        plots.differences(found, title),
        Grid(title, ("Task", *columns), tuple(rows)),
    )
