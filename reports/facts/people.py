"""What people said of two models' answers, arranged as tables for the page, the terminal and exports."""

from __future__ import annotations

from typing import Final

from leaderboards.human.records import HumanEvaluation, PairOutcome
from reports import wording
from reports.facts.tables import Cell, Change, Grid
from selfreward_bench.types import Metric

__all__ = ["grids", "plain"]

_SIGNS: Final[dict[int, tuple[str, wording.Tone]]] = {1: ("▲", "better"), -1: ("▼", "worse"), 0: ("", "neutral")}
_WAYS: Final = {"graded": "graded each alone", "compared": "compared both"}


def grids(found: HumanEvaluation) -> list[Grid]:
    """Pairs, judges against people, agreement of raters, and each rater."""
    tables = [_pairs(found), _judges(found), _agreement(found), _raters(found)]
    return [grid for grid in tables if grid.rows]


def plain(cell: str | Cell | Change) -> str:
    """A cell where there is no markup."""
    if isinstance(cell, str):
        return wording.visible(cell)
    return wording.visible(cell.text if isinstance(cell, Change) else f"{cell.value} {cell.interval}".strip())


def _pairs(found: HumanEvaluation) -> Grid:
    rows: tuple[tuple[str | Cell | Change, ...], ...] = tuple(
        (
            f"{p.a} vs {p.b}",
            *(_cell(m, "share") for m in (p.win, p.tie, p.loss)),
            _net(p),
            wording.NOTHING if p.p_value is None else f"{p.p_value:.3g}",
            wording.scored(Metric(value=None, n_scored=p.win.n_scored, n_total=p.win.n_total)),
        )
        for p in found.pairs
    )
    note = (
        "By the majority of raters, from the side of the model named first; without a majority it is a tie. In "
        "brackets the exact 95% interval (Clopper and Pearson); p is the exact sign test of wins against losses."
    )
    return Grid("What people prefer", ("Pair", "Win", "Tie", "Loss", "Win − loss", "p", "Comparisons"), rows, note)  # noqa: RUF001 - a minus


def _net(pair: PairOutcome) -> Change:
    sign, tone = _SIGNS[pair.direction]
    net = pair.net_win
    value = wording.number(net.value, "share", signed=True)
    return Change(pair.b, value, wording.interval(net.low, net.high, "share", signed=True), sign, tone)


def _judges(found: HumanEvaluation) -> Grid:
    rows = tuple(
        (
            j.judge,
            _WAYS[j.way],
            _cell(j.agreement, "share"),
            _cell(j.kappa, "correlation"),
            wording.scored(Metric(value=None, n_scored=j.kappa.n_scored, n_total=j.kappa.n_total)),
        )
        for j in found.judges
    )
    note = (
        "Agreement: of the comparisons in which people prefer one side, how often the judge prefers the same (its tie "
        "counts half; 50 % is chance). Kappa: Cohen's, of win, tie and loss over all comparisons."
    )
    return Grid("Judges against people", ("Judge", "How", "Agreement", "Kappa", "Comparisons"), rows, note)


def _agreement(found: HumanEvaluation) -> Grid:
    if len(found.raters) < 2:
        return Grid("Agreement of the raters", (), ())
    measures = (
        ("All raters said the same", found.same, "share"),
        ("Fleiss' kappa", found.fleiss_kappa, "correlation"),
        ("Krippendorff's alpha", found.krippendorff_alpha, "correlation"),
    )
    rows = tuple(
        (label, _cell(m, unit), wording.scored(Metric(value=None, n_scored=m.n_scored, n_total=m.n_total)))
        for label, m, unit in measures
    )
    note = "Of win, tie and loss; 1 is full agreement, 0 what chance would give. Kappa needs all raters, alpha two."
    return Grid("Agreement of the raters", ("Measure", "Value", "Comparisons"), rows, note)


def _raters(found: HumanEvaluation) -> Grid:
    rows = tuple(
        (
            r.rater,
            f"{r.rated:,} of {r.of:,}",
            wording.number(r.first, "share"),
            wording.number(r.ties, "share"),
        )
        for r in found.raters
    )
    note = "First: of the ratings for one side, those for what stood first; each model stood there equally often."
    return Grid("Raters", ("Rater", "Rated", "First", "Ties"), rows, note)


def _cell(metric: Metric, unit: str) -> Cell:
    return Cell(wording.number(metric.value, unit), wording.interval(metric.low, metric.high, unit))
