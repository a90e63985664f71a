"""MT-Bench: grades (or wins) by turn and by category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.facts import tables
from reports.facts.run import RunFacts
from reports.page import plots
from reports.page.section import Section
from reports.sections.benchmarks import Panel, parts_panel, section

__all__ = ["build"]

_ABOUT = (
    "Two-turn questions, each turn graded 1 to 10 by the judge, or compared with a baseline's answers. The second turn "
    "asks for a change to the first answer: it shows whether a model follows along."
)


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    return section("mt-bench", "MT-Bench", _ABOUT, runs, ("mt-bench",), _panels)


def _panels(facts: RunFacts, key: str) -> Iterator[Panel]:
    parts = tables.breakdowns(facts, key)
    for whole, what in (("grade", "Grade"), ("adjusted_win_rate", "Wins against the baseline")):
        turns = (whole, f"{whole}_turn_1", f"{whole}_turn_2")
        labels = dict(zip(turns, ("both turns", "first turn", "second turn"), strict=True))
        if chart := plots.metric_dots(facts, key, turns, f"{what} by turn, with 95% intervals", labels=labels):
            yield Panel(f"{what} by turn", chart=chart)
        if categories := parts.get(whole):
            yield parts_panel(facts, key, f"{what} by category", categories)
