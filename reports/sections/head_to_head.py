"""Head to head: all pairs of models on the same prompts, what the judge made of the order, and ratings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from leaderboards.standings import HeadToHead, Tournament
from reports import wording
from reports.facts import comparability, matches, published
from reports.facts.run import RunFacts
from reports.page import rendering
from reports.page.section import Chart, Section
from reports.sections.benchmarks import Panel

__all__ = ["build"]

_ID = "head-to-head"
_DRAWN: Final = 66  # pairs, of twelve models
_RULES: Final = {
    "agree": "Each pair was shown in both orders: a win is one that both verdicts agree on, else it is a tie.",
    "mean": "Each pair was shown in both orders: the mean of both preferences counts.",
    "first-order-only": "Each pair was shown in one order, drawn by the seed.",
}


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    charts: dict[str, Chart] = {}
    told = []
    for i, facts in enumerate(runs):
        if not matches.pairs(facts):
            continue
        shown = list(_panels(facts))
        ids = [f"{_ID}-{i}-{j}" for j in range(len(shown))]
        charts |= {name: p.chart for name, p in zip(ids, shown, strict=True) if p.chart is not None}
        told.append((facts, _caption(facts), _unlike(facts), list(zip(shown, ids, strict=True))))
    if not told:
        return None
    body = rendering.render("head_to_head.html.j2", told=told, published=published.grids(_ID), id=_ID)
    return Section(_ID, "Head to head", body, charts)


def _caption(facts: RunFacts) -> str:
    found = matches.pairs(facts)
    prompts = sorted({p.n_prompts for p in found})
    n = f"{prompts[0]:,}" if len(prompts) == 1 else f"{prompts[0]:,} to {prompts[-1]:,}"
    return f"Judge: {matches.judge_of(facts)}. {n} prompts. {_rule(facts)}".rstrip()


def _rule(facts: RunFacts) -> str:
    """How the orders of a pair became one verdict; nothing where the judge sees no order."""
    if facts.tournament is None:
        return ""
    rule = facts.tournament.rule
    is_ordered = rule not in ("agree", "mean") or any(p.positions for p in facts.tournament.pairs)
    return _RULES.get(rule, f"Rule: {wording.clip(rule, 80)}.") if is_ordered else ""


def _unlike(facts: RunFacts) -> list[str]:
    """Conditions that the pairs do not share."""
    found = matches.pairs(facts)
    return comparability.differing({f"{p.a} vs {p.b}": p.comparability for p in found})


def _panels(facts: RunFacts) -> Iterator[Panel]:
    told = "From the side of the later model."
    drawn = _drawn(facts)
    told += " Drawn are the pairs with the first model and with the one before." * (
        len(drawn) < len(matches.pairs(facts))
    )
    yield Panel("Wins, ties and losses", told, _bars(drawn), matches.grid(facts))
    yield Panel(
        "All pairs",
        "Win rate of the row's model against the column's, in per cent, a tie counting half. 50 is even.",
        _matrix(facts),
    )
    if facts.tournament is not None and facts.tournament.ratings:
        yield _ratings(facts.tournament)
    if (orders := matches.orders(facts)).rows:
        yield Panel("What the judge made of the order, and what is missing", table=orders)


def _drawn(facts: RunFacts) -> list[HeadToHead]:
    """The pairs, the latest first; of many, those with the first model and with the one before."""
    order = matches.names(facts)
    place = {name: i for i, name in enumerate(order)}
    found = sorted(matches.pairs(facts), key=lambda p: (-place[p.a], -place[p.b]))
    few = len(found) <= _DRAWN
    return [p for p in found if few or 0 in (place[p.a], place[p.b]) or abs(place[p.a] - place[p.b]) == 1]


def _bars(pairs: Sequence[HeadToHead]) -> Chart:
    rows: list[dict[str, Any]] = []
    for p in pairs:
        for part, value in (("win", p.win), ("tie", p.tie), ("loss", p.loss)):
            if value is not None:
                rows.append({"label": f"{p.a} vs {p.b}", "part": part, "value": 100 * value})
    return Chart("bars", "Share of comparisons won, tied and lost", rows, {"x": "per cent", "scale": "outcomes"})


def _matrix(facts: RunFacts) -> Chart:
    order = matches.names(facts)
    rows: list[dict[str, Any]] = []
    for a in order:
        for b in order:
            found = matches.match(facts, a, b) if a != b else None
            if found is not None and found.win_rate is not None:
                change = matches.win_rate_change(found)
                value = 100 * found.win_rate
                rows.append({"row": a, "column": b, "value": value, "text": f"{value:.1f} {change.arrow}".strip()})
    return Chart(
        "matrix",
        "Win rate of the row against the column",
        rows,
        {"zero": 50, "order": order, "y": "model", "x": "against"},
    )


def _ratings(found: Tournament) -> Panel:
    rows = [
        {"label": r.checkpoint, "series": "", "value": r.rating, "low": r.low, "high": r.high}
        for r in found.ratings
        if r.rating is not None
    ]
    chart = Chart("dots", "Ratings with 95% intervals", rows, {"x": "rating", "zero": 1000})
    grid = matches.ratings(found)
    return Panel("Ratings", grid.note, chart if rows else None, grid)
