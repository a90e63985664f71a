"""Head-to-head comparisons of a run, told from either side: of a tournament, or of the micro-world's oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leaderboards import chain
from leaderboards.standings import HeadToHead, Tournament
from reports import wording
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid
from selfreward_bench.types import Metric

__all__ = [
    "flipped",
    "grid",
    "judge_of",
    "match",
    "names",
    "orders",
    "pairs",
    "ratings",
    "win_rate_cell",
    "win_rate_change",
]

_SIGNS: dict[int, tuple[str, wording.Tone]] = {1: ("▲", "better"), -1: ("▼", "worse"), 0: ("", "neutral")}


def pairs(facts: RunFacts) -> Sequence[HeadToHead]:
    """All comparisons of two models: the tournament's, or else the standings'."""
    if facts.tournament is not None:
        return facts.tournament.pairs
    return facts.standings.head_to_head if facts.standings else ()


def judge_of(facts: RunFacts) -> str:
    """Who compared."""
    return wording.listing(list(dict.fromkeys(p.judge for p in pairs(facts))), 3)


def names(facts: RunFacts) -> list[str]:
    """The models that were compared, in the order of the run's models."""
    found = {name for p in pairs(facts) for name in (p.a, p.b)}
    return chain.model_order(found, [m.name for m in facts.models])


def match(facts: RunFacts, a: str, b: str) -> HeadToHead | None:
    """The comparison of two models, told from the side of ``a``."""
    for found in pairs(facts):
        if (found.a, found.b) == (a, b):
            return found
        if (found.a, found.b) == (b, a):
            return flipped(found)
    return None


def flipped(found: HeadToHead) -> HeadToHead:
    """The same comparison from the other side."""
    low, high = (None if x is None else 1 - x for x in (found.high, found.low))
    return found.model_copy(
        update={
            "a": found.b,
            "b": found.a,
            "win_rate": None if found.win_rate is None else 1 - found.win_rate,
            "low": low,
            "high": high,
            "win": found.loss,
            "loss": found.win,
            "wins": found.losses,
            "losses": found.wins,
            "net_win": None,
        }
    )


def win_rate_cell(found: HeadToHead | None) -> Cell:
    """A win rate with its interval; its arrow stands where that excludes one half."""
    if found is None or found.win_rate is None:
        return Cell(wording.NOTHING)
    n = Metric(value=None, n_scored=found.n_scored, n_total=found.n_total)
    return Cell(
        wording.number(found.win_rate, "share"),
        wording.interval(found.low, found.high, "share"),
        wording.scored(n) if found.n_scored < found.n_total else "",
    )


def win_rate_change(found: HeadToHead) -> Change:
    """A win rate as a verdict on two models: better than even, worse, or not shown."""
    cell = win_rate_cell(found)
    sign, tone = _SIGNS[found.direction]
    return Change(found.b, cell.value, cell.interval, sign, tone, ("match",))


def grid(facts: RunFacts) -> Grid:
    """All pairs, the latest model first."""
    order = names(facts)
    found = sorted(pairs(facts), key=lambda p: (-order.index(p.a), -order.index(p.b)))
    return Grid(
        "All pairs",
        ("Pair", "Win rate", "Win", "Tie", "Loss", "Comparisons"),
        tuple(
            (
                f"{p.a} vs {p.b}",
                win_rate_change(p),
                *(wording.number(x, "share") for x in (p.win, p.tie, p.loss)),
                wording.scored(Metric(value=None, n_scored=p.n_scored, n_total=p.n_total)),
            )
            for p in found
        ),
        "Win rate from the side of the model named first, a tie counting half.",
    )


def ratings(found: Tournament) -> Grid:
    """What all pairs come to, a rating a model; no rows where nothing could be rated."""
    rows = tuple(
        (
            r.checkpoint,
            Cell(wording.number(r.rating, "rating"), wording.interval(r.low, r.high, "rating")),
            wording.scored(Metric(value=None, n_scored=r.n_scored, n_total=r.n_total)),
        )
        for r in found.ratings
    )
    note = (
        f"Bradley-Terry ratings from all pairs; {found.anchor} is 1000, and 400 points are odds of 10 to 1. Intervals "
        f"are of the difference to {found.anchor}."
    )
    return Grid("Ratings", ("Model", "Rating", "Comparisons"), rows, note)


def orders(facts: RunFacts) -> Grid:
    """What the order of showing did, equal texts, and why comparisons have no verdict: what there is to say of it."""
    found = pairs(facts)
    columns: dict[str, Callable[[HeadToHead], str]] = {}
    if any(p.positions for p in found):
        columns["Both orders agree"] = lambda p: _share(p.positions.consistency if p.positions else None)
        columns["First shown preferred"] = lambda p: _share(p.positions.first_preferred if p.positions else None)
    if any(p.n_identical for p in found):
        columns["Same text (a tie)"] = lambda p: f"{p.n_identical:,}"
    if any(p.reasons for p in found):
        columns["Unscored"] = _reasons
    rows = ((f"{p.a} vs {p.b}", *(tell(p) for tell in columns.values())) for p in found) if columns else ()
    return Grid("Orders and missing verdicts", ("Pair", *columns), tuple(rows))


def _share(value: float | None) -> str:
    return wording.number(value, "share")


def _reasons(found: HeadToHead) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in found.reasons.items()) or "none"
