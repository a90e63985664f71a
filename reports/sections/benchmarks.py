"""Every benchmark's numbers, model by model."""

from __future__ import annotations

from collections.abc import Sequence

from reports import rendering, tables
from reports.facts import RunFacts
from reports.section import Section

__all__ = ["build"]


def build(runs: Sequence[RunFacts]) -> Section:
    """The section; see ``reports.section.Builder``."""
    told = [
        (
            facts,
            tables.results(facts),
            [t for t in (tables.breakdown(facts), tables.histogram(facts)) if t is not None],
            tables.head_to_head(facts),
        )
        for facts in runs
    ]
    return Section("benchmarks", "Benchmarks", rendering.render("benchmarks.html.j2", told=told))
