"""What the run shows, first of all: each question of this research answered, and the numbers that tell the story."""

from __future__ import annotations

from collections.abc import Sequence

from reports import rendering, tables, wording
from reports.facts import RunFacts
from reports.section import Section

__all__ = ["build"]


def build(runs: Sequence[RunFacts]) -> Section:
    """The section; see ``reports.section.Builder``."""
    told = [(facts, wording.verdict(facts), tables.highlights(facts)) for facts in runs]
    return Section("verdict", "Verdict", rendering.render("verdict.html.j2", told=told))
