"""Several runs side by side: which method is best, what they are, each question's answer, their numbers in one table.

It stands first on a page of several runs; of a single run there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.comparing import Together
from reports.facts import grouping, method_decision, several
from reports.facts.run import RunFacts
from reports.page import rendering
from reports.page.section import Section

__all__ = ["build"]


def build(runs: Sequence[RunFacts], together: Together | None = None) -> Section | None:
    """The section; see ``reports.page.section.Builder``.

    Args:
        together: the runs put together (``leaderboards.comparing.seeds``); None leaves intervals over seeds and
            differences between methods out.
    """
    if len(runs) < 2:
        return None
    groups = grouping.group(runs)
    found = together or Together()
    pictures = [(title, f"methods-{i}", chart) for i, (title, chart) in enumerate(several.charts(groups, found))]
    body = rendering.render(
        "methods.html.j2",
        decision=method_decision.decide(groups, found),
        n_runs=len(runs),
        groups=groups,
        differing=grouping.differing(groups),
        answered=several.answered(groups),
        compared=several.compared(groups, found),
        contrasted=several.contrasted(groups, found),
        pictures=pictures,
        unlike=several.unlike(groups),
        gaps=found.gaps,
        pooled=any(found.pooled),
    )
    return Section("methods", "Runs side by side", body, {name: chart for _, name, chart in pictures})
