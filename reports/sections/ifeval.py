"""IFEval: prompts and instructions followed, strictly and loosely, and by the kind of instruction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.facts import tables
from reports.facts.run import RunFacts
from reports.page import plots
from reports.page.section import Section
from reports.sections.benchmarks import Panel, parts_panel, section

__all__ = ["build"]

_ABOUT = (
    "Instructions whose following a program checks, such as a number of words or no commas. Of a prompt all must be "
    "followed. Loose: as well where the first line, the last one or asterisks are left out. Truncated answers are "
    "scored as they stand."
)
_LEVELS = ("prompt_level_strict_acc", "prompt_level_loose_acc", "inst_level_strict_acc", "inst_level_loose_acc")


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    return section("ifeval", "IFEval", _ABOUT, runs, ("ifeval",), _panels)


def _panels(facts: RunFacts, key: str) -> Iterator[Panel]:
    if chart := plots.metric_dots(facts, key, _LEVELS, "Shares followed, with 95% intervals"):
        yield Panel("Followed", chart=chart)
    for parts in tables.breakdowns(facts, key).values():
        yield parts_panel(facts, key, "Instructions followed, strict, by kind", parts)
