"""True quality of the micro-world's answers: over all, by kind of task, and how the grades are spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.facts import tables
from reports.facts.run import RunFacts
from reports.page import plots
from reports.page.section import Chart, Section
from reports.sections.benchmarks import Panel, parts_panel, section

__all__ = ["build"]

_ABOUT = (
    "Answers to the held-out instructions of the embedded micro-world, graded 0 to 5 by its exact grader (the oracle), "
    "which no training ever sees."
)


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    return section("quality", "Quality", _ABOUT, runs, ("quality",), _panels)


def _panels(facts: RunFacts, key: str) -> Iterator[Panel]:
    chart = plots.metric_dots(facts, key, ("quality_sampled", "quality_greedy"), "True quality with 95% intervals")
    if chart is not None:
        yield Panel("True quality", chart=chart)
    parts = tables.breakdowns(facts, key)
    if grades := sorted(parts.get("grade_sampled", ()), reverse=True):
        yield Panel(
            "Grades of sampled answers",
            chart=_grades(facts, key, grades),
            result=tables.relabelled(
                tables.result_table(facts, key, grades), {n: f"Grade {n.rpartition('/')[2]}" for n in grades}
            ),
        )
    if families := parts.get("quality_sampled"):
        yield parts_panel(facts, key, "Kinds of task, sampled answers", families)


def _grades(facts: RunFacts, key: str, grades: Sequence[str]) -> Chart:
    """Shares that are stacked need no intervals; the table has them."""
    rows = [
        {"label": m.name, "part": f"grade {name.rpartition('/')[2]}", "value": 100 * found.value}
        for m in facts.models
        if key in m.results
        for name in grades
        if (found := m.results[key].metrics.get(name)) is not None and found.value is not None
    ]
    return Chart("bars", "Share of sampled answers with each grade", rows, {"x": "per cent", "scale": "grades"})
