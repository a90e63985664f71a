"""How each model was made: stages with their counts, what the training logged, the record of its lineage."""

from __future__ import annotations

from collections.abc import Sequence

from reports import rendering, tables
from reports.facts import RunFacts
from reports.section import Section

__all__ = ["build"]


def build(runs: Sequence[RunFacts]) -> Section:
    """The section; see ``reports.section.Builder``."""
    return Section(
        "training", "Training", rendering.render("training.html.j2", runs=runs, stage_rows=tables.stage_rows)
    )
