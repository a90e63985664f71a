"""Human evaluation: what people prefer, how well they agree, and which judge agrees with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leaderboards.human.records import HumanEvaluation
from reports.facts import people
from reports.facts.run import RunFacts
from reports.page import rendering
from reports.page.section import Chart, Section
from reports.sections.benchmarks import Panel

__all__ = ["build"]

_ID = "human-evaluation"


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    charts: dict[str, Chart] = {}
    told = []
    for i, facts in enumerate(runs):
        if facts.human is None:
            continue
        name = f"{_ID}-{i}"
        charts[name] = _bars(facts.human)
        panels = []
        for j, grid in enumerate(people.grids(facts.human)):
            chart = charts[name] if j == 0 else None
            panels.append((Panel(grid.title, "", chart, grid), name))
        told.append((facts, _caption(facts.human), panels))
    if not told:
        return None
    return Section(_ID, "Human evaluation", rendering.render("human.html.j2", told=told), charts)


def _caption(found: HumanEvaluation) -> str:
    n = len(found.raters)
    who = f"{n} raters" if n > 1 else "One rater"
    return f"{who} compared answers to {found.source}, {found.n_items:,} comparisons, without knowing whose they were."


def _bars(found: HumanEvaluation) -> Chart:
    rows: list[dict[str, Any]] = [
        {"label": f"{p.a} vs {p.b}", "part": part, "value": 100 * share.value}
        for p in found.pairs
        for part, share in (("win", p.win), ("tie", p.tie), ("loss", p.loss))
        if share.value is not None
    ]
    return Chart("bars", "Share of comparisons won, tied and lost", rows, {"x": "per cent", "scale": "outcomes"})
