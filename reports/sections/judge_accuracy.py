"""The model as judge: agreement with people, what ties do to it, what grades it gives, and how its taste drifts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from leaderboards.standings import DriftMatrix
from reports import wording
from reports.facts import tables
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Grid
from reports.page import plots
from reports.page.section import Chart, Section
from reports.sections.benchmarks import Panel, parts_panel, section
from selfreward_bench.types import Metric

__all__ = ["build"]

_ABOUT = (
    "Each model judges responses that people (in the micro-world: simulated people and the exact grader) have ranked. "
    "A judge that gives many equal grades has ties; what a tie counts as moves the accuracy, so where there are ties "
    "all three ways are shown."
)
_SHARES: Final = ("pairwise_accuracy", "exact_match", "five_best")
_RANKS: Final = ("spearman", "kendall_tau_b")
_TIES: Final = {
    "pairwise_accuracy": "a tie is half right",
    "pairwise_accuracy_ties_wrong": "a tie is wrong",
    "pairwise_accuracy_ties_dropped": "ties are left out",
}
_MINOR: Final = (
    "grade/",
    "mean_score",
    "top_share",
    "score_",
    "self_agreement",
    "length_spearman",
    "own_mean_score",
    "own_top_share",
    "spearman_pooled",
    "kendall_tau_b_pooled",
    "own_spearman_pooled",
    "kappa",
)


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    return section("judge-accuracy", "Judge accuracy", _ABOUT, runs, ("judge-accuracy",), _panels, _MINOR)


def _panels(facts: RunFacts, key: str) -> Iterator[Panel]:
    if chart := plots.metric_dots(facts, key, _SHARES, "Agreement with human ranks, with 95% intervals"):
        yield Panel("Pairs, whole orders, best responses", chart=chart)
    if chart := plots.metric_dots(facts, key, _RANKS, "Rank correlations with people, with 95% intervals"):
        yield Panel("Rank correlation", chart=chart)
    if _ties_count(facts, key) and (
        chart := plots.metric_dots(facts, key, _TIES, "Pairwise accuracy under three tie policies", labels=_TIES)
    ):
        yield Panel("What a tie counts as", chart=chart)
    if chart := _grades(facts, key):
        yield Panel("Grades given", "A judge whose grades all fall together can tell nothing apart.", chart)
    for whole, parts in tables.breakdowns(facts, key).items():
        label = wording.info(key, whole).label
        yield parts_panel(facts, key, f"{label}, by category", parts)
    if facts.drift is not None and key == _last_key(facts):
        yield from _drift(facts.drift)


def _ties_count(facts: RunFacts, key: str) -> bool:
    """Whether it matters what a tie counts as: there are ties, or nobody said."""
    results = [m.results[key].metrics for m in facts.models if key in m.results]
    rates = [metrics["tie_rate"].value for metrics in results if "tie_rate" in metrics]
    return not rates or any(rates)


def _last_key(facts: RunFacts) -> str:
    """The drift matrix is of the run, and shown once."""
    return tables.benchmarks([facts], "judge-accuracy")[-1]


def _grades(facts: RunFacts, key: str) -> Chart | None:
    rows: list[dict[str, Any]] = []
    for model in facts.models:
        metrics = model.results[key].metrics if key in model.results else {}
        rows += [
            {"label": model.name, "part": f"grade {name.removeprefix('grade/')}", "value": 100 * found.value}
            for name, found in sorted(metrics.items(), reverse=True)
            if name.startswith("grade/") and found.value is not None
        ]
    if not rows:
        return None
    return Chart("bars", "Share of judgments with each grade", rows, {"x": "per cent", "scale": "grades"})


# --- drift


def _drift(drift: DriftMatrix) -> Iterator[Panel]:
    pool = f"{drift.n_responses:,} responses to {drift.n_prompts:,} prompts, the same for every judge."
    scores = [
        {"row": s.judge, "column": s.author, "value": s.score.value, "text": wording.number(s.score.value, "points")}
        for s in drift.scores
    ]
    yield Panel(
        "Drift: who gives whom how much",
        f"Mean score that each judge (row) gives to each author's answers (column). {pool} A row that grows to the "
        "right likes the later models' answers; a column that grows downwards is the judges drifting.",
        Chart("matrix", "Mean score by judge and author", scores, {"x": "author", "y": "judge"}),
        Grid(
            "Mean score by judge and author",
            ("Judge", *drift.authors),
            tuple((j.name, *(_score(drift, j.name, a) for a in drift.authors)) for j in drift.judges),
        ),
    )
    yield Panel("Drift: do the judges rank alike?", "Spearman's correlation of two judges' scores.", _agreement(drift))
    yield Panel("Drift: each judge", table=_judges(drift))


def _score(drift: DriftMatrix, judge: str, author: str) -> Cell:
    found = next((s.score for s in drift.scores if (s.judge, s.author) == (judge, author)), None)
    return _cell(found, "points")


def _agreement(drift: DriftMatrix) -> Chart:
    rows: list[dict[str, Any]] = []
    for x in drift.agreement:
        text = wording.number(x.spearman.value, "correlation")
        for row, column in ((x.a, x.b), (x.b, x.a)):
            rows.append({"row": row, "column": column, "value": x.spearman.value, "text": text})
    order = [j.name for j in drift.judges]
    rows.sort(key=lambda r: (order.index(r["row"]), order.index(r["column"])))
    return Chart("matrix", "Agreement of two judges (Spearman)", rows, {"order": order})


def _judges(drift: DriftMatrix) -> Grid:
    return Grid(
        "Each judge",
        (
            "Judge",
            "Mean score given",
            "Pairs ranked right",
            "Spearman with what is right",
            "Favours its own answers by",
        ),
        tuple(
            (
                j.name,
                _cell(j.mean_score, "points"),
                _cell(j.accuracy, "share"),
                _cell(j.truth_spearman, "correlation"),
                _cell(j.own_advantage, "points", signed=True),
            )
            for j in drift.judges
        ),
    )


def _cell(found: Metric | None, unit: str, *, signed: bool = False) -> Cell:
    if found is None:
        return Cell(wording.NOTHING)
    return Cell(
        wording.number(found.value, unit, signed=signed),
        wording.interval(found.low, found.high, unit, signed=signed),
        wording.scored(found) if found.n_scored < found.n_total else "",
    )
