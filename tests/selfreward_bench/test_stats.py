"""Every formula of ours against an independent computation: scipy, brute force, or a simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from selfreward_bench.stats import (
    holm,
    kendall_tau_b,
    mean_interval,
    paired_difference,
    pairwise_accuracy,
    spearman,
)


def normal(n: int, seed: int = 0, loc: float = 0.0) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(loc, 1, n)]


def test_a_mean_leaves_the_unscored_out_and_counts_them() -> None:
    found = mean_interval([1.0, None, 3.0, math.nan])
    assert (found.value, found.n_scored, found.n_total) == (2.0, 2, 4)
    nothing = mean_interval([None, None])
    assert (nothing.value, nothing.low, nothing.high, nothing.n_scored, nothing.n_total) == (None, None, None, 0, 2)
    assert mean_interval([]).n_total == 0


def test_one_cluster_has_no_interval() -> None:
    found = mean_interval([1.0, 2.0, 3.0], ["a", "a", "a"])
    assert (found.value, found.low, found.high) == (2.0, None, None)


@pytest.mark.parametrize("n", [8, 40, 400])
def test_the_interval_agrees_with_students_t_on_normal_data(n: int) -> None:
    values = normal(n)
    found = mean_interval(values, n_boot=20_000)
    expected = scipy_stats.t.interval(0.95, n - 1, np.mean(values), scipy_stats.sem(values))
    half = (expected[1] - expected[0]) / 2
    assert found.low == pytest.approx(expected[0], abs=0.15 * half)
    assert found.high == pytest.approx(expected[1], abs=0.15 * half)


def test_the_interval_covers_with_few_clusters() -> None:
    """Ten values, true mean 0: a plain percentile interval covers about 90%, this one about 95%."""
    rows = np.random.default_rng(1).normal(size=(400, 10))
    intervals = [mean_interval([float(x) for x in row], n_boot=1000) for row in rows]
    covered = sum(m.low < 0 < m.high for m in intervals if m.low is not None and m.high is not None)
    assert 0.93 <= covered / 400 <= 0.985


def test_repeated_samples_of_a_prompt_do_not_narrow_the_interval() -> None:
    values = normal(50)
    single = mean_interval(values)
    repeated = mean_interval([v for v in values for _ in range(4)], [i for i in range(50) for _ in range(4)])
    blind = mean_interval([v for v in values for _ in range(4)])
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
    assert blind.high is not None
    assert repeated.high is not None
    assert blind.high - blind.low < 0.6 * (repeated.high - repeated.low)  # type: ignore[operator]


def test_clusters_of_unequal_size_by_brute_force() -> None:
    """All 27 resamples of three clusters: their distribution is what the bootstrap samples from."""
    values, clusters = [1.0, 2.0, 6.0, 0.0, 0.0, 4.0], ["a", "a", "b", "c", "c", "c"]
    groups = {"a": [1.0, 2.0], "b": [6.0], "c": [0.0, 0.0, 4.0]}
    means = [np.mean([v for c in drawn for v in groups[c]]) for drawn in itertools.product("abc", repeat=3)]
    found = mean_interval(values, clusters)
    assert found.value == pytest.approx(13 / 6)
    assert (found.low, found.high) == pytest.approx((min(means), max(means)))  # t with 2 degrees reaches the ends


def test_results_depend_on_the_seed_only() -> None:
    values = normal(30)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_large_inputs_are_resampled_in_chunks() -> None:
    values = normal(3000)
    found = mean_interval(values, n_boot=2000)
    assert found.high == pytest.approx(np.mean(values) + 1.96 * scipy_stats.sem(values), abs=0.005)


def test_a_paired_difference_uses_the_pairs_both_have() -> None:
    found = paired_difference([1.0, 2.0, None, 4.0], [0.0, None, 1.0, 1.0])
    assert (found.value, found.n, found.n_total) == (2.0, 2, 4)
    assert paired_difference([None], [1.0]).p_value is None
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])


def test_the_sign_flip_test_is_exact_for_few_and_close_for_many() -> None:
    for n, tolerance in ((10, 0.0), (40, 0.012)):
        a, b = normal(n, 1, 0.3), normal(n, 2)
        gaps = np.array(a) - np.array(b)
        reference = scipy_stats.permutation_test(
            (gaps,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(5)
        )
        assert paired_difference(a, b).p_value == pytest.approx(reference.pvalue, abs=tolerance + 1e-12)


def test_the_test_flips_whole_clusters() -> None:
    """Eight equal gaps in two clusters: 2 of the 4 sign patterns are as extreme."""
    found = paired_difference([1.0] * 8, [0.0] * 8, ["a"] * 4 + ["b"] * 4)
    assert found.p_value == 0.5
    assert paired_difference([1.0] * 8, [0.0] * 8).p_value == 2 / 256


def test_no_difference_is_no_difference() -> None:
    values = normal(50)
    found = paired_difference(values, values)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_narrows_the_interval() -> None:
    a = normal(100)
    b = [x + 0.1 * e for x, e in zip(a, normal(100, 7), strict=True)]
    paired, single = paired_difference(a, b), mean_interval(a)
    assert paired.high is not None
    assert single.high is not None
    assert paired.high - paired.low < 0.2 * (single.high - single.low)  # type: ignore[operator]


def test_rank_correlations_by_counting() -> None:
    x, y = [1.0, 2.0, 2.0, 3.0, None, 5.0], [1.0, 3.0, 2.0, 2.0, 9.0, 4.0]
    kept = [(a, b) for a, b in zip(x, y, strict=True) if a is not None]
    signs = [
        (np.sign(a - c), np.sign(b - d)) for (a, b), (c, d) in itertools.combinations(kept, 2)
    ]  # fmt: skip
    tau = sum(s * t for s, t in signs) / math.sqrt(sum(s != 0 for s, _ in signs) * sum(t != 0 for _, t in signs))
    assert kendall_tau_b(x, y) == pytest.approx(tau)
    ranks = [
        [sum(b < a for b in side) + (sum(b == a for b in side) + 1) / 2 for a in side]
        for side in zip(*kept, strict=True)
    ]
    assert spearman(x, y) == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_correlations_of_nothing_are_none() -> None:
    for x, y in (([1.0], [1.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0, None], [1.0, 2.0])):
        assert spearman(x, y) is None
        assert kendall_tau_b(x, y) is None
    with pytest.raises(ValueError, match="paired"):
        spearman([1.0], [1.0, 2.0])


def test_pairwise_accuracy_by_hand() -> None:
    # ranks 0 < 1 = 1 < 2: five pairs with an order; (0,1) right, (0,2) tie, (0,3) right, (1,3) wrong, (2,3) right
    found = pairwise_accuracy([([4.0, 1.0, 4.0, 2.0], [0, 1, 1, 2])])
    assert (found.n_correct, found.n_wrong, found.n_ties, found.n_unscored) == (3, 1, 1, 0)
    assert found.accuracy("half") == pytest.approx(0.7)
    assert found.accuracy("wrong") == pytest.approx(0.6)
    assert found.accuracy("drop") == pytest.approx(0.75)
    assert found.tie_rate == pytest.approx(0.2)


def test_pairwise_accuracy_against_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    groups = [
        ([None if s == 6 else float(s) for s in rng.integers(0, 7, n)], [int(r) for r in rng.integers(0, 4, n)])
        for n in rng.integers(0, 6, 200)
    ]
    counts = {"right": 0, "wrong": 0, "tie": 0, "none": 0}
    for scores, ranks in groups:
        for (s, r), (t, q) in itertools.combinations(zip(scores, ranks, strict=True), 2):
            if r != q:
                kind = (
                    "none"
                    if s is None or t is None
                    else "tie"
                    if s == t
                    else "right"
                    if (s > t) == (r < q)
                    else "wrong"
                )
                counts[kind] += 1
    found = pairwise_accuracy(groups)
    assert (found.n_correct, found.n_wrong, found.n_ties, found.n_unscored) == tuple(counts.values())


def test_no_pairs_have_no_accuracy() -> None:
    found = pairwise_accuracy([([3.0, 3.0], [0, 1])])
    assert (found.accuracy("drop"), found.accuracy("half"), found.accuracy("wrong")) == (None, 0.5, 0.0)
    assert pairwise_accuracy([([1.0, None], [0, 1])]).accuracy() is None
    assert pairwise_accuracy([]).tie_rate is None


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        p_values = [float(p) for p in rng.beta(0.3, 3, size=rng.integers(1, 8))]
        rejected = set()
        for step, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[position] > 0.05 / (len(p_values) - step):
                break
            rejected.add(position)
        assert {i for i, p in enumerate(holm(p_values)) if p <= 0.05} == rejected
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
