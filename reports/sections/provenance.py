"""Where the numbers come from: weights, settings, versions, judges, time."""

from __future__ import annotations

from collections.abc import Sequence

from reports import rendering
from reports.facts import RunFacts
from reports.section import Section
from selfreward_bench import __version__

__all__ = ["build"]


def build(runs: Sequence[RunFacts]) -> Section:
    """The section; see ``reports.section.Builder``."""
    return Section("provenance", "Provenance", rendering.render("provenance.html.j2", runs=runs, version=__version__))
