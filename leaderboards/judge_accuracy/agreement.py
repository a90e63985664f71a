"""How well a judge agrees with what is right: pairs under three tie policies, whole orders, correlations, kappa.

What is right comes from human ranks or from an oracle. Means over rows get their intervals from ``base.summarise``;
numbers that are no means (pooled correlations, kappa) get theirs from ``pooled``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, Literal

import numpy as np

from leaderboards.base import measures, row
from leaderboards.pooled import Floats, resampled_metric
from selfreward_bench import stats
from selfreward_bench.stats.samples import codes_of
from selfreward_bench.types import Metric, SampleScore

__all__ = [
    "LABELS",
    "PairVerdict",
    "agreement_rows",
    "cohen_kappa",
    "five_best_rows",
    "kappas",
    "label_rows",
    "pair_rows",
    "subset_average",
]

LABELS: Final = (1.0, 0.5, 0.0)  # of a pair: the first response is better, neither is, the second is


# --- scores against truth, prompt by prompt


def agreement_rows(
    prefix: str,
    cluster: str,
    judged: Sequence[float | None],
    truth: Sequence[float | None],
    *,
    category: str | None = None,
    order: bool = True,
) -> list[SampleScore]:
    """Rows for each pair of responses to one prompt that truth tells apart, and one for their whole order.

    A pair is unscored when a judgment or the truth of one of them is missing. A rank correlation is unscored when it is
    undefined (the judge gives all responses one score); where truth tells no two responses apart there are no rows.

    Args:
        prefix: of the metrics' names.
        judged: one score per response.
        truth: what is right; more is better.
        category: pairwise accuracy is also given under ``pairwise_accuracy/CATEGORY``.
        order: whether the whole order is of interest; of two responses it says nothing new.
    """
    rows = [
        _with_reason(
            row(
                f"{prefix}pair/{cluster}/{i}-{j}",
                cluster,
                _pair(prefix, judged[i], judged[j], truth[i], truth[j], category),
            ),
            "no_verdict_or_truth",
        )
        for i, j in combinations(range(len(truth)), 2)
        if truth[i] is None or truth[j] is None or truth[i] != truth[j]
    ]
    if not order or len({t for t in truth if t is not None}) < 2:
        return rows
    complete = None not in judged and None not in truth
    numbers = {
        f"{prefix}spearman": stats.spearman(judged, truth) if complete else None,
        f"{prefix}kendall_tau_b": stats.kendall_tau_b(judged, truth) if complete else None,
        f"{prefix}exact_match": float(all(r.value == 1 for r in rows)) if complete else None,
    }
    undefined = "constant_scores" if complete else "no_verdict_or_truth"
    return [*rows, _with_reason(row(f"{prefix}order/{cluster}", cluster, numbers), undefined)]


def five_best_rows(
    cluster: str, grades: Sequence[float | None], truth: Sequence[float | None], top: float
) -> list[SampleScore]:
    """A row for each response whose grade is the highest one: whether nothing is truly better (``five_best``).

    Args:
        grades: one per response; ``health.nearest_grade`` of its score.
        top: the highest grade of the scale.
    """
    known = [t for t in truth if t is not None]
    return [
        row(f"top/{cluster}/{i}", cluster, {"five_best": None if t is None else float(t == max(known))})
        for i, (grade, t) in enumerate(zip(grades, truth, strict=True))
        if grade == top
    ]


def _with_reason(scored: SampleScore, reason: str) -> SampleScore:
    return scored if scored.value is not None else scored.model_copy(update={"reason": reason})


def _pair(
    prefix: str,
    judged_a: float | None,
    judged_b: float | None,
    truth_a: float | None,
    truth_b: float | None,
    category: str | None,
) -> dict[str, float | None]:
    """The measures of one pair. A tie is left out of ``ties_dropped`` altogether: neither scored nor missing."""
    win = tie = None
    if judged_a is not None and judged_b is not None and truth_a is not None and truth_b is not None:
        gap = (judged_a - judged_b) * (1 if truth_a > truth_b else -1)
        win, tie = float(gap > 0), float(gap == 0)
    half = None if win is None or tie is None else win + tie / 2
    values = {
        f"{prefix}pairwise_accuracy": half,
        f"{prefix}pairwise_accuracy_ties_wrong": win,
        f"{prefix}tie_rate": tie,
    }
    if not tie:
        values[f"{prefix}pairwise_accuracy_ties_dropped"] = win
    if category is not None:
        values[f"{prefix}pairwise_accuracy/{category}"] = half
    return values


# --- verdicts on pairs


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """What a judge says of one pair, and what is right. All numbers are of ``LABELS``; None: no readable verdict.

    Attributes:
        id: unique; ``cluster`` is the prompt's.
        ab, ba: verdicts with the first response shown first, and shown second; both are told from the pair's side.
        orders: the orders that were asked for.
        verdict: what the orders come to; disagreement is a tie.
        missing: whether an order that was asked for was not judged at all, so that nothing was right or wrong.
        detail: what a report shows of the pair.
    """

    id: str
    cluster: str
    truth: float
    verdict: float | None
    ab: float | None = None
    ba: float | None = None
    orders: tuple[Literal["ab", "ba"], ...] = ()
    category: str | None = None
    reason: str | None = None
    missing: bool = False
    detail: Mapping[str, object] = field(default_factory=dict)


def pair_rows(verdicts: Iterable[PairVerdict]) -> list[SampleScore]:
    """A row per pair, and one per order where both were asked for."""
    rows: list[SampleScore] = []
    for v in verdicts:
        numbers: dict[str, float | None] = {}
        if v.truth != 0.5:
            other = None if v.verdict is None else 1 - v.verdict
            numbers |= _pair("", v.verdict, other, v.truth, 1 - v.truth, v.category)
        if len(v.orders) > 1:
            consistent = None if v.ab is None or v.ba is None else float(v.ab == v.ba)
            numbers |= _by_category("consistency", consistent, v.category) | _both_orders(v)
        if numbers:
            scored = _with_reason(row(f"pair/{v.id}", v.cluster, numbers), v.reason or "no_verdict")
            rows.append(scored.model_copy(update={"detail": {**scored.detail, **v.detail}}))
        rows += _order_rows(v)
    return rows


def _both_orders(v: PairVerdict) -> dict[str, float | None]:
    """Published readings of two orders; a verdict that could not be read is not right, as there.

    ``agreement``: both orders are right (Auto-J; LLMBar's ``correct_both``). ``net``: more orders are right than are
    wrong, a tie is neither (JudgeBench).
    """
    both = None if v.missing else float(v.ab == v.truth and v.ba == v.truth)
    numbers = _by_category("agreement", both, v.category)
    if v.truth == 0.5:
        return numbers
    right = sum((said == v.truth) - (said == 1 - v.truth) for said in (v.ab, v.ba))
    return numbers | _by_category("net", None if v.missing else float(right > 0), v.category)


def label_rows(verdicts: Iterable[PairVerdict]) -> list[SampleScore]:
    """Where people could say tie: whether the label (first, tie, second) is right, a row per pair.

    ``label_accuracy_unparsed_wrong`` counts unreadable verdicts as wrong, as PandaLM's published numbers do.
    """
    rows = []
    for v in verdicts:
        right = None if v.verdict is None else float(v.verdict == v.truth)
        numbers = {"label_accuracy": right, "label_accuracy_unparsed_wrong": None if v.missing else right or 0.0}
        rows.append(_with_reason(row(f"label/{v.id}", v.cluster, numbers), v.reason or "no_verdict"))
    return rows


def _order_rows(v: PairVerdict) -> list[SampleScore]:
    rows = []
    for order in v.orders if len(v.orders) > 1 else ():
        said = v.ab if order == "ab" else v.ba
        numbers: dict[str, float | None] = {}
        if v.truth != 0.5:
            right = None if said is None else 1 - abs(said - v.truth)
            numbers |= _by_category("order_accuracy", right, v.category) | {f"order_accuracy_{order}": right}
        if said != 0.5:  # a tie prefers no place: it is left out
            numbers["prefers_first"] = None if said is None else said if order == "ab" else 1 - said
        if numbers:
            rows.append(_with_reason(row(f"order/{v.id}/{order}", v.cluster, numbers), "no_verdict"))
    return rows


def _by_category(name: str, value: float | None, category: str | None) -> dict[str, float | None]:
    return {name: value} | ({f"{name}/{category}": value} if category is not None else {})


def kappas(verdicts: Sequence[PairVerdict]) -> dict[str, Metric]:
    """Cohen's kappa: of the verdicts with the truth (``kappa``) and of the two orders (``kappa_orders``), by category.

    With two orders ``kappa`` is the mean of the two orders' kappas.
    """
    groups: dict[str, list[PairVerdict]] = {"": list(verdicts)}
    for v in verdicts:
        if v.category is not None:
            groups.setdefault(f"/{v.category}", []).append(v)
    found: dict[str, Metric] = {}
    for suffix, group in groups.items():
        truth, clusters = [v.truth for v in group], [v.cluster for v in group]
        ab, ba = [v.ab for v in group], [v.ba for v in group]
        if any(len(v.orders) > 1 for v in group):
            found[f"kappa{suffix}"] = cohen_kappa([(ab, truth), (ba, truth)], clusters)
            found[f"kappa_orders{suffix}"] = cohen_kappa([(ab, ba)], clusters)
        else:
            found[f"kappa{suffix}"] = cohen_kappa([([v.verdict for v in group], truth)], clusters)
    return found


def cohen_kappa(
    ratings: Sequence[tuple[Sequence[float | None], Sequence[float | None]]], clusters: Sequence[str]
) -> Metric:
    """The mean of Cohen's kappas of several pairs of raters over the same items; all use the labels ``LABELS``.

    An item counts where both raters have a label. Undefined (None) where both always give one and the same label.
    Agrees with ``sklearn.metrics.cohen_kappa_score(a, b, labels=LABELS)``.
    """
    codes, n_clusters = codes_of(clusters, len(clusters)), len(set(clusters))
    tables, scored = [], 0
    for a, b in ratings:
        table = np.zeros((n_clusters, len(LABELS), len(LABELS)))
        for cluster, x, y in zip(codes, a, b, strict=True):
            if x is not None and y is not None:
                table[cluster, LABELS.index(x), LABELS.index(y)] += 1
                scored += 1
        tables.append(table.reshape(n_clusters, -1))

    def mean_kappa(weights: Floats) -> Floats:
        each: list[Floats] = [_kappa((weights @ t).reshape(-1, len(LABELS), len(LABELS))) for t in tables]
        return np.asarray(np.mean(each, axis=0))

    return resampled_metric(mean_kappa, n_clusters, scored, len(ratings) * len(clusters))


def _kappa(table: Floats) -> Floats:
    """Of confusion matrices; shape (draws, labels, labels) -> (draws,)."""
    total = table.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(table, axis1=1, axis2=2) / total
        chance = (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1) / total**2
        return np.asarray((observed - chance) / np.where(chance < 1, 1 - chance, np.nan))


def subset_average(rows: Sequence[SampleScore], metric: str, subsets: Sequence[str]) -> Metric:
    """The unweighted mean of ``METRIC/SUBSET`` over subsets; None where one of them has no value."""
    strata = []
    for name in (f"{metric}/{subset}" for subset in subsets):
        found = [r for r in rows if name in measures(r)]
        strata.append(([measures(r)[name] for r in found], [r.cluster for r in found], 1 / len(subsets)))
    return stats.stratified_mean(strata)
