"""What the page's words mean, last of all."""

from __future__ import annotations

from collections.abc import Sequence

from reports.facts import glossary
from reports.facts.run import RunFacts
from reports.page import rendering
from reports.page.section import Section

__all__ = ["build"]


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``. None where nothing was evaluated."""
    if not any(facts.evaluated for facts in runs):
        return None
    return Section("glossary", "Glossary", rendering.render("glossary.html.j2", terms=glossary.TERMS))
