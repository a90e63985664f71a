"""AlpacaEval: raw and length-controlled win rate, by category and by length, and how long the answers are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reports.facts import tables
from reports.facts.run import RunFacts
from reports.page import plots
from reports.page.section import Section
from reports.sections.benchmarks import Panel, parts_panel, section

__all__ = ["build"]

_ABOUT = (
    "How often the judge prefers the model's answer to the reference's. Length-controlled: the rate to be expected if "
    "both were equally long, from AlpacaEval's regression; where it lies below the raw rate, longer answers won more "
    "often. A judge may like length; the micro-world's exact grader does not look at it."
)
_MINOR: Final = (
    "standard_error",
    "lc_standard_error",
    "n_wins",
    "n_draws",
    "n_total",
    "other_instructions",
    "repeated_instructions",
)


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    return section("alpaca-eval", "AlpacaEval", _ABOUT, runs, ("alpaca-eval",), _panels, _MINOR)


def _panels(facts: RunFacts, key: str) -> Iterator[Panel]:
    rates = ("win_rate", "length_controlled_winrate")
    if chart := plots.metric_dots(facts, key, rates, "Win rates with 95% intervals"):
        yield Panel("Raw and length-controlled", chart=chart)
    if chart := plots.metric_dots(facts, key, ("avg_length",), "Mean answer length with 95% intervals"):
        yield Panel("Answer length", chart=chart)
    parts = tables.breakdowns(facts, key).get("win_rate", [])
    lengths = [p for p in parts if "_length_" in p]
    if categories := [p for p in parts if p not in lengths]:
        yield parts_panel(facts, key, "Win rate by category", categories)
    if lengths:
        note = (
            "Quarters of the instructions by the reference's length are the same for all models; quarters by the own "
            "answer's length are each model's own."
        )
        yield parts_panel(facts, key, "Win rate by length", sorted(lengths, reverse=True, key=_by_whose), note)


def _by_whose(part: str) -> tuple[bool, int]:
    """The reference's quarters first, the shortest first."""
    quarter = part.rpartition("_")[2]
    return "expected" in part, -int(quarter) if quarter.isdecimal() else 0
