"""Agreement: tie policies, orders, undefined correlations; verdicts on pairs; kappa against an independent one."""

from __future__ import annotations

import random

import pytest

from leaderboards.base import summarise
from leaderboards.judge_accuracy.agreement import (
    LABELS,
    PairVerdict,
    agreement_rows,
    cohen_kappa,
    five_best_rows,
    kappas,
    label_rows,
    pair_rows,
    subset_average,
)
from selfreward_bench import stats
from selfreward_bench.types import Metric


def metrics_of(judged: list[float | None], truth: list[float | None]) -> dict[str, Metric]:
    return summarise(agreement_rows("", "p", judged, truth))


def test_three_tie_policies() -> None:
    found = metrics_of([3, 3, 1], [5, 4, 0])  # one tie, two right
    assert found["pairwise_accuracy"].value == pytest.approx(2.5 / 3)
    assert found["pairwise_accuracy_ties_wrong"].value == pytest.approx(2 / 3)
    assert (found["pairwise_accuracy_ties_dropped"].value, found["pairwise_accuracy_ties_dropped"].n_total) == (1, 2)
    assert found["tie_rate"].value == pytest.approx(1 / 3)
    assert found["exact_match"].value == 0


def test_policies_agree_with_the_shared_statistics() -> None:
    judged, truth = [2.0, 2.0, 4.5, 1.0], [3.0, 1.0, 4.0, 2.0]
    counts = stats.pairwise_accuracy([(judged, [-int(t) for t in truth])])
    found = metrics_of(list(judged), list(truth))
    assert found["pairwise_accuracy"].value == counts.accuracy("half")
    assert found["pairwise_accuracy_ties_wrong"].value == counts.accuracy("wrong")
    assert found["pairwise_accuracy_ties_dropped"].value == counts.accuracy("drop")
    assert found["tie_rate"].value == counts.tie_rate


def test_equal_truth_makes_no_pair_and_right_order_is_an_exact_match() -> None:
    found = metrics_of([5, 4, 1], [3, 3, 0])
    assert found["pairwise_accuracy"].n_total == 2
    assert found["exact_match"].value == 1
    assert agreement_rows("", "p", [1, 2], [3, 3]) == []


def test_unparsed_judgments_are_unscored_not_wrong() -> None:
    found = metrics_of([None, 4, 1], [5, 3, 0])
    accuracy = found["pairwise_accuracy"]
    assert (accuracy.value, accuracy.n_scored, accuracy.n_total) == (1.0, 1, 3)
    assert (found["spearman"].value, found["exact_match"].value) == (None, None)


def test_a_judge_that_cannot_tell_has_no_correlation_but_half_the_pairs() -> None:
    rows = agreement_rows("", "p", [4, 4, 4], [2, 1, 0])
    found = summarise(rows)
    assert found["pairwise_accuracy"].value == 0.5
    assert (found["spearman"].value, found["spearman"].n_total) == (None, 1)
    assert rows[-1].reason == "constant_scores"


def test_of_two_responses_only_the_pair_counts() -> None:
    rows = agreement_rows("", "p", [1, 2], [0, 1], category="easy", order=False)
    assert {name for r in rows for name in r.detail["measures"]} >= {"pairwise_accuracy/easy", "tie_rate"}
    assert "spearman" not in summarise(rows)


def test_five_best_counts_top_grades_only() -> None:
    rows = five_best_rows("p", [5, 5, 4, None], [-0.0, -1.0, -0.0, -2.0], top=5)
    assert [r.value for r in rows] == [1, 0]
    assert five_best_rows("p", [4, 3], [0, -1], top=5) == []


# --- pairs in both orders


def verdict(name: str, truth: float, ab: float | None, ba: float | None, category: str | None = None) -> PairVerdict:
    both = None if ab is None or ba is None else ab if ab == ba else 0.5
    return PairVerdict(name, name, truth, both, ab, ba, ("ab", "ba"), category)


PAIRS = [
    verdict("right", 1, 1, 1, "x"),
    verdict("wrong", 1, 0, 0, "x"),
    verdict("first", 0, 1, 0, "y"),  # prefers what is shown first, in both orders
    verdict("tie", 0, 0.5, 0, "y"),
    verdict("mute", 1, None, 1, "y"),
]


def test_both_orders() -> None:
    found = summarise(pair_rows(PAIRS))
    accuracy = found["pairwise_accuracy"]
    assert (accuracy.value, accuracy.n_scored, accuracy.n_total) == (pytest.approx(2 / 4), 4, 5)
    assert found["tie_rate"].value == 2 / 4
    assert found["pairwise_accuracy_ties_dropped"].value == 1 / 2
    assert found["order_accuracy_ab"].value == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert found["order_accuracy_ba"].value == pytest.approx((1 + 0 + 1 + 1 + 1) / 5)
    assert (found["order_accuracy"].value, found["order_accuracy"].n_total) == (pytest.approx(5.5 / 9), 10)
    assert (found["consistency"].value, found["consistency"].n_scored) == (2 / 4, 4)
    assert found["consistency/x"].value == 1


def test_first_preferred_counts_decided_verdicts_in_both_orders() -> None:
    found = summarise(pair_rows(PAIRS[:4]))["prefers_first"]
    assert (found.value, found.n_total) == (pytest.approx((1 + 0 + 0 + 1 + 1 + 1 + 1) / 7), 7)
    always = summarise(pair_rows([verdict("a", 1, 1, 0), verdict("b", 0, 1, 0)]))
    assert (always["prefers_first"].value, always["consistency"].value) == (1, 0)


def test_human_ties_are_labels_but_no_pairs() -> None:
    tied = [verdict("t", 0.5, 0.5, 0.5), verdict("u", 0.5, 1, 1), verdict("v", 1, None, 1)]
    assert [r.sample_id for r in pair_rows(tied) if "pairwise_accuracy" in r.detail["measures"]] == ["pair/v"]
    found = summarise(label_rows(tied))
    assert (found["label_accuracy"].value, found["label_accuracy"].n_scored) == (0.5, 2)
    assert found["label_accuracy_unparsed_wrong"].value == pytest.approx(1 / 3)


def test_kappa_agrees_with_an_independent_one() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = random.Random(3)
    a = [rng.choice(LABELS) for _ in range(200)]
    b = [x if rng.random() < 0.6 else rng.choice(LABELS) for x in a]
    ids = [str(i) for i in range(200)]
    found = cohen_kappa([(a, b)], ids)
    assert found.value == pytest.approx(cohen_kappa_score([str(x) for x in a], [str(x) for x in b]))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert (found.n_scored, found.n_total) == (200, 200)


def test_kappa_leaves_out_what_is_not_read_and_is_undefined_without_choice() -> None:
    assert cohen_kappa([([1, None, 0], [1, 1, 0])], ["a", "b", "c"]).value == 1
    assert cohen_kappa([([1, 1], [1, 1])], ["a", "b"]).value is None
    assert cohen_kappa([([None], [1])], ["a"]) == Metric(value=None, n_scored=0, n_total=1)


def test_kappas_of_both_orders_and_of_subsets() -> None:
    found = kappas([verdict("a", 1, 1, 1, "x"), verdict("b", 0, 0, 1, "x"), verdict("c", 0, 0, 0, "y")])
    assert set(found) == {f"{k}{s}" for k in ("kappa", "kappa_orders") for s in ("", "/x", "/y")}
    assert found["kappa/x"].value == pytest.approx((1 + 0) / 2)
    assert found["kappa_orders/x"].value == 0


def test_kappa_of_raters_with_unlike_labels_is_over_one_label_set() -> None:
    with_ties, without = [1.0, 0.5, 0.0, 1.0, 0.5, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    found = cohen_kappa([(with_ties, without)], [str(i) for i in range(8)])
    agree, chance = 5 / 8, (4 * 4 + 2 * 0 + 2 * 4) / 64  # by hand: labels 1, 0.5, 0
    assert found.value == pytest.approx((agree - chance) / (1 - chance))


def test_kappa_of_two_orders_is_each_with_the_truth() -> None:
    truths, ab, ba = (1, 0, 0, 1), (1, 0, 1, 0), (1, 0, 0, 1)
    rows = [verdict(name, t, x, y, "x") for name, t, x, y in zip("abcd", truths, ab, ba, strict=True)]
    found = kappas(rows)
    assert found["kappa/x"].value == pytest.approx((0 + 1) / 2)  # ab agrees in 2 of 4, ba in all
    assert found["kappa_orders/x"].value == pytest.approx(0)


def test_subset_average_weighs_subsets_alike() -> None:
    rows = pair_rows([*(verdict(f"x{i}", 1, 1, 1, "x") for i in range(9)), verdict("y", 1, 0, 0, "y")])
    found = subset_average(rows, "pairwise_accuracy", ("x", "y"))
    assert (found.value, found.n_scored) == (0.5, 10)
    assert summarise(rows)["pairwise_accuracy"].value == 0.9
    assert subset_average(rows, "pairwise_accuracy", ("x", "z")).value is None
