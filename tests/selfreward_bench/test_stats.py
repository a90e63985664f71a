"""Every formula of ours against an independent computation: scipy, brute force, or a simulation."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats
from scipy.special import xlogy

from selfreward_bench.stats import (
    Totals,
    bootstrap_interval,
    crossed_difference,
    crossed_interval,
    detectable_difference,
    holm,
    kendall_tau_b,
    mcnemar,
    mean_interval,
    paired_difference,
    paired_share_interval,
    pairwise_accuracy,
    percentile_interval,
    planned_detectable_difference,
    resampled_interval,
    sign_test,
    spearman,
    stratified_mean,
    unpaired_difference,
)


def normal(n: int, seed: int = 0, loc: float = 0.0) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(loc, 1, n)]


def test_a_mean_leaves_the_unscored_out_and_counts_them() -> None:
    found = mean_interval([1.0, None, 3.0, math.nan])
    assert (found.value, found.n_scored, found.n_total) == (2.0, 2, 4)
    nothing = mean_interval([None, None])
    assert (nothing.value, nothing.low, nothing.high, nothing.n_scored, nothing.n_total) == (None, None, None, 0, 2)
    assert mean_interval([]).n_total == 0


@pytest.mark.parametrize("n", [2, 28, 256])
def test_none_of_n_and_all_of_n_have_clopper_and_pearsons_interval(n: int) -> None:
    exact = scipy_stats.binomtest(0, n).proportion_ci(0.95, "exact")
    none, every = mean_interval([0.0] * n, bounds=(0, 1)), mean_interval([1.0] * n, bounds=(0, 1))
    assert (none.value, none.low, none.high) == pytest.approx((0.0, 0.0, exact.high))
    assert (every.value, every.low, every.high) == pytest.approx((1.0, 1 - exact.high, 1.0))
    by_cluster = mean_interval([0.0] * (2 * n), [i // 2 for i in range(2 * n)], bounds=(0, 1))
    assert by_cluster.high == none.high  # two values of a prompt are one observation
    ties = mean_interval([0.5] * n, bounds=(0, 1))
    assert (ties.low, ties.high) == pytest.approx((0.5 - exact.high / 2, 0.5 + exact.high / 2))
    edge = paired_difference([0.5] * n, [0.5] * n)
    assert (edge.low, edge.high) == pytest.approx((-exact.high / 2, exact.high / 2))


@pytest.mark.parametrize(("successes", "n"), [(1, 80), (3, 80), (4, 80), (40, 80), (79, 80), (8, 256)])
def test_a_share_with_one_value_per_prompt_has_wilsons_interval(successes: int, n: int) -> None:
    found = mean_interval([1.0] * successes + [None] + [0.0] * (n - successes), bounds=(0, 1))
    p, z = successes / n, scipy_stats.norm.ppf(0.975)
    centre, half = (p + z**2 / (2 * n)), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    if successes <= 3:  # the exact end: at most this rate gives so many successes in 2.5% of the cases
        low = scipy_stats.beta.ppf(0.025, successes, n - successes + 1)
    if n - successes <= 3:
        high = scipy_stats.beta.ppf(0.975, successes + 1, n - successes)
    assert (found.low, found.high) == pytest.approx((low, high))
    percent = mean_interval([100.0] * successes + [0.0] * (n - successes), bounds=(0, 100))
    assert (percent.low, percent.high) == pytest.approx((100 * low, 100 * high))


def test_repeated_values_of_a_prompt_or_a_tie_are_resampled() -> None:
    single = mean_interval([1.0, 0.0] * 10, bounds=(0, 1))
    twice = mean_interval([1.0, 1.0, 0.0, 0.0] * 10, [i // 2 for i in range(40)], bounds=(0, 1))
    assert twice.value == single.value
    assert twice.low == pytest.approx(single.low, abs=0.05)
    assert twice.low != single.low
    tie = mean_interval([1.0, 0.0] * 10 + [0.5], bounds=(0, 1))
    assert tie.low == pytest.approx(single.low, abs=0.05)


def test_the_interval_of_a_share_stays_within_its_bounds() -> None:
    ends = [mean_interval([1.0] * k + [0.0] * (n - k), bounds=(0, 1)) for n in (2, 3, 12, 40) for k in range(n + 1)]
    assert all(0 <= m.low <= m.high <= 1 for m in ends)  # type: ignore[operator]


def test_values_that_are_all_alike_reach_as_far_as_their_bounds() -> None:
    unlike = 1 - 0.025 ** (1 / 10)
    found = mean_interval([4.0] * 10, bounds=(0.0, 5.0))
    assert (found.low, found.high) == pytest.approx((4 - 4 * unlike, 4 + unlike))
    unknown = mean_interval([4.0] * 10)
    assert (unknown.low, unknown.high) == (4.0, 4.0)


@pytest.mark.parametrize(("n", "share"), [(20, 0.05), (80, 0.002), (80, 0.02), (80, 0.1), (256, 0.0007), (256, 0.02)])
def test_shares_are_covered(n: int, share: float) -> None:
    """Over all outcomes, each with its probability: Wilson's alone covers 0.002 of 80 in 85%, the point 0 in less."""
    covered = 0.0
    for k in range(n + 1):
        if (weight := float(scipy_stats.binom.pmf(k, n, share))) > 1e-6:
            found = mean_interval([1.0] * k + [0.0] * (n - k), n_boot=2000, bounds=(0, 1))
            covered += weight * (found.low <= share <= found.high)  # type: ignore[operator]
    assert covered > 0.93
    assert covered < 0.97 or share * n <= 2


def test_a_stratified_mean_adds_up_the_strata() -> None:
    a, b = [1.0, 0.0, 1.0, 1.0, None], [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    found = stratified_mean([(a, range(5), 0.25), (b, range(6), 0.75)])
    assert (found.value, found.n_scored, found.n_total) == (0.25 * 0.75 + 0.75 * 0.5, 10, 11)
    variance = 0.25**2 * np.var(a[:4], ddof=1) / 4 + 0.75**2 * np.var(b, ddof=1) / 6  # type: ignore[arg-type]
    half = scipy_stats.t.ppf(0.975, 8) * math.sqrt(variance)
    assert found.low == pytest.approx(max(0.0, found.value - half))  # type: ignore[operator]
    assert found.high == pytest.approx(min(1.0, found.value + half))  # type: ignore[operator]
    assert stratified_mean([(a, range(5), 0.5), ([None], ["x"], 0.5)]).value is None
    assert stratified_mean([(a, range(5), 0.5), ([1.0], ["x"], 0.5)]).low is None
    points = stratified_mean([([1.0, 5.0, 3.0], range(3), 1.0)])
    assert points.high > 5  # type: ignore[operator]  # Student's, with two degrees of freedom


def test_a_stratum_that_is_all_right_is_not_certain() -> None:
    statsmodels_proportion = pytest.importorskip("statsmodels.stats.proportion")
    alone = stratified_mean([([1.0] * 28, range(28), 1.0)])
    low, _ = statsmodels_proportion.proportion_confint(30, 32, method="normal")  # two successes and failures more
    assert alone.value == alone.high == 1.0
    assert 1 - alone.low == pytest.approx((30 / 32 - low) / 1.95996 * scipy_stats.t.ppf(0.975, 27), rel=1e-4)  # type: ignore[operator]
    mixed, rest = ([1.0, 0.0] * 40, range(80), 0.5), ([0.0] * 28, range(28), 0.5)
    both, known = stratified_mean([mixed, rest]), stratified_mean([(mixed[0], mixed[1], 1.0)])
    assert both.high - both.low > 0.5 * (known.high - known.low)  # type: ignore[operator]


def test_a_percentile_interval_is_as_wide_as_students_t_asks() -> None:
    draws = np.stack([scipy_stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)] * 2, axis=1)
    for n in (5, 80, 10**6):
        low, high = percentile_interval(draws, n)
        expected = scipy_stats.t.ppf(0.975, n - 1) * math.sqrt(n / (n - 1))
        assert high == pytest.approx([expected] * 2, rel=2e-3)
        assert low == pytest.approx([-expected] * 2, rel=2e-3)
    lacking = np.concatenate([draws[:, 0], [math.nan] * 9])
    assert percentile_interval(lacking, 80).tolist() == pytest.approx(percentile_interval(draws[:, 0], 80).tolist())


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
    with pytest.raises(ValueError, match="1 and 2 values cannot be paired"):
        paired_difference([1.0], [1.0, 2.0])


def test_the_sign_flip_test_is_exact_for_few_and_close_for_many() -> None:
    for n, tolerance in ((10, 0.0), (40, 0.012)):
        a, b = normal(n, 1, 0.3), normal(n, 2)
        gaps = np.array(a) - np.array(b)
        reference = scipy_stats.permutation_test(
            (gaps,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(5)
        )
        assert paired_difference(a, b).p_value == pytest.approx(reference.pvalue, abs=tolerance + 1e-12)


def test_random_sign_patterns_include_the_observed_one() -> None:
    assert paired_difference([2.0] * 40, [0.0] * 40).p_value == 1 / 10_001


def test_clusters_without_a_difference_do_not_change_the_p_value() -> None:
    a, b = normal(10, 1, 0.3), normal(10, 2)
    same = normal(40)
    assert paired_difference([*same, *a], [*same, *b]).p_value == paired_difference(a, b).p_value


def test_the_test_flips_whole_clusters() -> None:
    """Eight equal gaps in two clusters: 2 of the 4 sign patterns are as extreme."""
    found = paired_difference([1.0] * 8, [0.0] * 8, ["a"] * 4 + ["b"] * 4)
    assert found.p_value == 0.5
    assert paired_difference([1.0] * 8, [0.0] * 8).p_value == 2 / 256


def test_no_difference_is_no_difference() -> None:
    values = normal(50)
    found = paired_difference(values, values)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, None, None, 1.0)  # no spread, no certainty
    bounded = paired_difference(values, values, bounds=(0, 5))
    assert (bounded.low, bounded.high) == pytest.approx((-5 * (1 - 0.025 ** (1 / 50)), 5 * (1 - 0.025 ** (1 / 50))))
    answers = [float(x > 0) for x in values]
    found, unlike = paired_difference(answers, answers), 1 - 0.025 ** (1 / 50)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, -unlike, unlike, 1.0)


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


# --- the interval


def bca_reference(sums: list[float], counts: list[int], level: float = 0.95) -> tuple[float, float]:
    """The definition, plainly: 200,000 resamples one index at a time, skewness by hand, tails as documented."""
    s, c = np.array(sums), np.array(counts)
    n, mean = len(s), s.sum() / c.sum()
    drawn = np.random.default_rng(99).choice(n, size=(200_000, n))
    means = s[drawn].sum(axis=1) / c[drawn].sum(axis=1)
    gaps = s - mean * c
    a = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    reach = scipy_stats.t.ppf((1 + level) / 2, n - 1) * math.sqrt(n / (n - 1))
    tails = [scipy_stats.norm.cdf(a + (a + z) / (1 - a * (a + z))) for z in (-reach, reach)]
    low, high = np.quantile(means, tails)
    return float(low), float(high)


def test_the_interval_is_bca_with_unequal_clusters_by_its_definition() -> None:
    for n, level in ((40, 0.95), (8, 0.8)):
        rng = np.random.default_rng(n)
        groups = [rng.exponential(1 + rng.random(), size=size).tolist() for size in rng.integers(1, 5, n)]
        values, clusters = [v for g in groups for v in g], [i for i, g in enumerate(groups) for _ in g]
        found = mean_interval(values, clusters, n_boot=50_000, level=level)
        expected = bca_reference([sum(g) for g in groups], [len(g) for g in groups], level)
        assert (found.low, found.high) == pytest.approx(expected, abs=0.02 * (expected[1] - expected[0]))


def test_the_interval_of_skewed_values_is_scipys_bca_where_clusters_are_many() -> None:
    """At n = 400 Student's widening is nothing; scipy takes its constants from the resamples and the jackknife."""
    values = np.random.default_rng(5).lognormal(0, 1, 400)
    expected = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    found = mean_interval(values.tolist(), n_boot=20_000)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.04 * width)
    assert found.high == pytest.approx(expected.high, abs=0.04 * width)
    assert found.high - np.mean(values) > 1.1 * (np.mean(values) - found.low)  # type: ignore[operator]


def test_the_interval_covers_a_rare_share() -> None:
    """One in ten at 80 prompts, where mean ± t * SE covers 90%."""
    rows = (np.random.default_rng(2).random((500, 80)) < 0.1).astype(float)
    intervals = [mean_interval(row.tolist(), seed=i // 100, n_boot=1000) for i, row in enumerate(rows)]
    assert 0.93 <= sum(m.low <= 0.1 <= m.high for m in intervals) / 500 <= 0.99  # type: ignore[operator]


def test_equal_values_far_from_zero_have_a_point_for_an_interval_and_nearly_equal_ones_do_not() -> None:
    assert mean_interval([0.1] * 7, list("aabbccc")).low == pytest.approx(0.1, abs=1e-15)
    found = mean_interval([1e9 + x for x in normal(50)])
    assert found.high - found.low == pytest.approx(4 * scipy_stats.sem(normal(50)), rel=0.15)  # type: ignore[operator]


def test_infinite_values_are_not_scored() -> None:
    assert mean_interval([1.0, math.inf, 3.0, -math.inf]) == mean_interval([1.0, None, 3.0, math.nan])
    assert paired_difference([math.inf, 1.0], [math.inf, 0.0]).n == 1


def test_more_resamples_than_the_cache_holds_change_nothing() -> None:
    values = normal(70)
    before = mean_interval(values, n_boot=3000)
    for n in range(2, 200):  # pushes the draws for 70 clusters out
        mean_interval(values[:2] * n, n_boot=10)
    assert mean_interval(values, n_boot=3000) == before


def test_labels_and_values_must_match() -> None:
    with pytest.raises(ValueError, match="3 values with 2 cluster labels"):
        mean_interval([1.0, 2.0, 3.0], ["a", "b"])


# --- any statistic


def test_the_general_interval_of_a_mean_is_that_of_the_mean() -> None:
    rng = np.random.default_rng(6)
    values: list[float | None] = [float(x) for x in rng.exponential(size=120)]
    values[3] = None
    clusters = [i // 3 for i in range(120)]
    general = bootstrap_interval(lambda x: float(np.mean(x)), [values], clusters, n_boot=10_000)
    special = mean_interval(values, clusters)
    assert (general.value, general.n_scored, general.n_total) == (pytest.approx(special.value), 119, 120)
    width = special.high - special.low  # type: ignore[operator]
    assert general.low == pytest.approx(special.low, abs=0.04 * width)
    assert general.high == pytest.approx(special.high, abs=0.04 * width)


def test_resamples_equal_to_the_value_do_not_push_the_interval_aside() -> None:
    """Half ones, half zeros: one resample in nine has the same mean, and the interval must stay symmetric."""
    found = bootstrap_interval(lambda x: float(np.mean(x)), [[0.0, 1.0] * 25], n_boot=4000)
    assert found.low + found.high == pytest.approx(1, abs=0.021)  # type: ignore[operator]


@pytest.mark.slow
def test_the_general_interval_agrees_with_scipys_paired_bca() -> None:
    x = np.random.default_rng(7).normal(size=(2, 300))
    x[1] += x[0]

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a, b)[0, 1])

    expected = scipy_stats.bootstrap(
        (x[0], x[1]), correlation, paired=True, vectorized=False, n_resamples=4000, rng=np.random.default_rng(3)
    ).confidence_interval
    found = bootstrap_interval(correlation, x.tolist(), n_boot=4000)
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.07 * width)


def test_the_general_interval_keeps_clusters_whole() -> None:
    x, y = normal(60, 1), normal(60, 2)
    single = bootstrap_interval(spearman, [x, y], n_boot=500)
    repeated = bootstrap_interval(
        spearman, [[v for v in side for _ in range(3)] for side in (x, y)], [i // 3 for i in range(180)], n_boot=500
    )
    assert repeated.value == pytest.approx(single.value)
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))


def test_the_general_interval_is_empty_where_the_statistic_is() -> None:
    assert bootstrap_interval(spearman, [[1.0, 1.0], [1.0, 2.0]]).value is None
    assert bootstrap_interval(spearman, [[], []]) == mean_interval([])
    assert bootstrap_interval(spearman, [[None], [1.0]]).n_total == 1
    few = bootstrap_interval(spearman, [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], n_boot=200)  # 1 resample in 9 is constant
    assert (few.value, few.low, few.high) == (pytest.approx(0.5), None, None)
    one = bootstrap_interval(spearman, [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], ["a", "a", "a"])
    assert (one.value, one.low) == (pytest.approx(0.5), None)
    for columns in ([[1.0], [1.0, 2.0]], []):
        with pytest.raises(ValueError, match="cannot be paired"):
            bootstrap_interval(spearman, columns)


def test_a_statistic_of_weights_sees_every_resample_and_every_cluster_left_out() -> None:
    seen: list[np.ndarray] = []

    def total(times: np.ndarray) -> np.ndarray:
        seen.append(times)
        return times @ np.arange(600.0) / times.sum(axis=1)

    low, high = resampled_interval(total, 600, n_boot=1000)
    everything = np.concatenate(seen)
    draws = everything[everything.sum(axis=1) == 600][1:]
    left_out = everything[everything.sum(axis=1) == 599]
    assert draws.shape == (1000, 600)
    assert draws.mean(axis=0) == pytest.approx(1, abs=0.2)
    assert draws.var() == pytest.approx(1 - 1 / 600, abs=0.01)
    assert len(np.unique(draws, axis=0)) == 1000
    assert (left_out == 1 - np.eye(600)).all()
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2 * 1.96 * np.arange(600).std() / math.sqrt(600), rel=0.1)


# --- tests of paired outcomes


def coins(n: int, seed: int, rate: float) -> list[float | None]:
    rng = np.random.default_rng(seed)
    return [None if gone else float(x) for gone, x in zip(rng.random(n) < 0.1, rng.random(n) < rate, strict=True)]


@pytest.mark.parametrize(("n", "rate"), [(12, 0.5), (80, 0.3), (805, 0.55), (805, 0.5)])
def test_mcnemar_agrees_with_statsmodels(n: int, rate: float) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as reference

    a, b = coins(n, 1, 0.5), coins(n, 2, rate)
    table = np.zeros((2, 2))
    for x, y in zip(a, b, strict=True):
        if x is not None and y is not None:
            table[int(x), int(y)] += 1
    found = mcnemar(a, b)
    assert (found.wins, found.losses, found.ties) == (table[1, 0], table[0, 1], table[0, 0] + table[1, 1])
    assert found.n_total == n
    assert found.p_value == pytest.approx(reference(table, exact=True).pvalue, rel=1e-9)


def test_mcnemar_takes_zeros_and_ones_only() -> None:
    assert mcnemar([True, False, None], [False, False, True]).wins == 1
    for wrong in ([0.5], [2.0], [-1.0]):
        with pytest.raises(ValueError, match="takes 0 and 1"):
            mcnemar([1.0], wrong)


def test_mcnemar_flips_whole_clusters_where_there_are_several_values() -> None:
    a, b = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    clusters = ["x", "x", "y", "y", "z", "z"]  # totals 2, 1, 1: 2 of 8 sign patterns reach 4
    assert mcnemar(a, b, clusters).p_value == paired_difference(a, b, clusters).p_value == 0.25
    assert mcnemar(a, b).p_value == 2 / 16  # 4 discordant pairs
    assert (mcnemar(a, b, clusters).wins, mcnemar(a, b, clusters).ties) == (4, 2)


def test_the_sign_test_agrees_with_the_binomial_test() -> None:
    for n in (5, 30, 805):
        a, b = normal(n, 3, 0.1), normal(n, 4)
        wins = sum(x > y for x, y in zip(a, b, strict=True))
        found = sign_test([*a, 1.0, None], [*b, 1.0, 2.0])
        assert (found.wins, found.losses, found.ties, found.n_total) == (wins, n - wins, 1, n + 2)
        assert found.p_value == pytest.approx(scipy_stats.binomtest(wins, n).pvalue, rel=1e-9)


def test_a_cluster_has_one_vote_in_the_sign_test() -> None:
    found = sign_test([0.1, 0.2, 0.0, 9.0], [0.0, 0.0, 0.3, 0.0], ["a", "a", "a", "b"])
    assert (found.wins, found.losses, found.ties, found.p_value) == (1, 0, 1, 1.0)  # 0.1 + 0.2 - 0.3 is a tie


def test_nothing_to_compare_has_no_p_value_and_ties_alone_have_one() -> None:
    for test in (mcnemar, sign_test):
        for a, b in (([], []), ([None], [1.0])):
            found = test(a, b)
            assert (found.wins, found.losses, found.ties, found.p_value) == (0, 0, 0, None)
        assert test([1.0, 0.0], [1.0, 0.0]).p_value == 1.0
        with pytest.raises(ValueError, match="cannot be paired"):
            test([1.0, 0.0], [1.0])


def test_the_three_tests_agree_on_single_values_that_are_all_zero_or_one() -> None:
    a, b = coins(13, 5, 0.9), coins(13, 6, 0.2)
    assert mcnemar(a, b) == sign_test(a, b)
    assert paired_difference(a, b).p_value == pytest.approx(mcnemar(a, b).p_value)


# --- what a comparison could detect


@pytest.mark.parametrize(("n", "rel"), [(5, 0.05), (10, 0.02), (80, 0.002), (805, 0.001)])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_the_detectable_difference_agrees_with_the_exact_power_of_the_t_test(n: int, rel: float, power: float) -> None:
    """The exact power is the noncentral t's; the sum of two quantiles is its usual short form."""
    from statsmodels.stats.power import TTestPower

    found = planned_detectable_difference(n, 2.0, power=power)
    shift, edge = found / 2.0 * math.sqrt(n), scipy_stats.t.ppf(0.975, n - 1)
    exact = scipy_stats.nct.sf(edge, n - 1, shift) + scipy_stats.nct.cdf(-edge, n - 1, shift)
    assert exact == pytest.approx(power, abs=2 * rel)
    solved = 2.0 * float(TTestPower().solve_power(nobs=n, alpha=0.05, power=power))
    assert found == pytest.approx(solved, rel=rel)


def test_the_detectable_difference_of_data_uses_their_standard_error() -> None:
    a, b = normal(60, 1), normal(60, 2)
    gaps = np.array(a) - np.array(b)
    assert detectable_difference(a, b) == pytest.approx(planned_detectable_difference(60, float(gaps.std(ddof=1))))
    repeated = detectable_difference(
        [x for x in a for _ in range(3)], [x for x in b for _ in range(3)], [i // 3 for i in range(180)]
    )
    assert repeated == pytest.approx(detectable_difference(a, b))
    assert detectable_difference([*a, None], [*b, 1.0]) == detectable_difference(a, b)


def test_the_cluster_robust_standard_error_agrees_with_statsmodels() -> None:
    """Unequal clusters: the mean as a regression on a constant with clustered errors."""
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(9)
    clusters = np.sort(rng.integers(0, 40, 150))
    gaps = rng.normal(size=150) + rng.normal(size=40)[clusters]
    n = len(set(clusters.tolist()))
    fitted = OLS(gaps, np.ones(150)).fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": True})
    quantiles = scipy_stats.t.ppf([0.975, 0.8], n - 1).sum()
    found = detectable_difference(gaps.tolist(), [0.0] * 150, clusters.tolist())
    assert found == pytest.approx(quantiles * float(fitted.bse[0]), rel=1e-9)


def test_what_cannot_be_detected_from() -> None:
    assert detectable_difference([1.0], [0.0]) is None
    assert detectable_difference([1.0, 2.0], [0.0, 0.0], ["a", "a"]) is None
    assert detectable_difference([], []) is None
    assert detectable_difference([1.0, 2.0], [0.0, 1.0]) is None  # no spread
    for n, sd in ((1, 1.0), (10, -1.0), (10, math.nan)):
        with pytest.raises(ValueError, match="at least two prompts"):
            planned_detectable_difference(n, sd)


# --- properties

numbers = st.one_of(st.none(), st.integers(-5, 5).map(float), st.floats(-100, 100).map(lambda x: round(x, 3)))
pairs = st.lists(st.tuples(numbers, numbers, st.integers(0, 6)), max_size=25)
Row = tuple[float | None, float | None, int]


def columns(
    rows: list[Row],
) -> tuple[list[float | None], list[float | None], list[int]]:
    return [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]


@settings(max_examples=60, deadline=None)
@given(rows=pairs)
def test_turning_the_comparison_round_turns_the_signs_round(rows: list[Row]) -> None:
    a, b, clusters = columns(rows)
    there, back = (paired_difference(x, y, clusters, n_boot=200) for x, y in ((a, b), (b, a)))
    assert (there.p_value, there.n) == (back.p_value, back.n)
    if there.value is not None:
        assert there.value == pytest.approx(-back.value)  # type: ignore[operator]
    if there.low is not None and there.high is not None:
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), rel=1e-4, abs=1e-4)  # type: ignore[operator]
    won, lost = sign_test(a, b, clusters), sign_test(b, a, clusters)
    assert (won.wins, won.losses, won.ties, won.p_value) == (lost.losses, lost.wins, lost.ties, lost.p_value)
    assert detectable_difference(a, b, clusters) == pytest.approx(detectable_difference(b, a, clusters))


@settings(max_examples=60, deadline=None)
@given(rows=pairs, order=st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(rows: list[Row], order: Random) -> None:
    """At most seven clusters: the tests count every sign pattern. Intervals may move by the noise of the resampling."""
    shuffled = order.sample(rows, len(rows))
    (a, b, clusters), (c, d, labels) = columns(rows), columns(shuffled)
    first, second = paired_difference(a, b, clusters, n_boot=200), paired_difference(c, d, labels, n_boot=200)
    assert first.value == pytest.approx(second.value, abs=1e-9)
    assert (first.p_value, first.n) == (second.p_value, second.n)
    assert sign_test(a, b, clusters) == sign_test(c, d, labels)
    assert detectable_difference(a, b, clusters) == pytest.approx(detectable_difference(c, d, labels), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(rows=pairs)
def test_every_result_is_in_its_range(rows: list[Row]) -> None:
    a, b, clusters = columns(rows)
    found, mean = paired_difference(a, b, clusters, n_boot=200), mean_interval(a, clusters, n_boot=200)
    assert found.p_value is None or 0 < found.p_value <= 1
    assert found.n <= found.n_total == len(rows)
    scored = [x for x in a if x is not None]
    if mean.low is not None and mean.high is not None and mean.value is not None:
        assert min(scored) - 1e-3 <= mean.low <= mean.value + 1e-9
        assert mean.value - 1e-9 <= mean.high <= max(scored) + 1e-3


def test_the_order_moves_an_interval_only_by_the_noise_of_the_resampling() -> None:
    values = [float(x) for x in np.random.default_rng(3).exponential(size=100)]
    first, second = mean_interval(values), mean_interval(values[::-1])
    width = first.high - first.low  # type: ignore[operator]
    assert (first.low, first.high) == pytest.approx((second.low, second.high), abs=0.03 * width)


# --- two shares over the same prompts


def _score(wins: int, losses: int, n: int, difference: float, correction: float) -> float:
    """Tango's statistic by its definition: the likeliest shares under ``difference`` are searched for, not solved."""

    def unlikely(share: float) -> float:
        return -(
            xlogy(wins, share + difference)
            + xlogy(losses, share)
            + xlogy(n - wins - losses, 1 - difference - 2 * share)
        )

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    share = float(optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x)
    return (wins - losses - n * difference + correction) / math.sqrt(n * (2 * share + difference - difference**2))


@pytest.mark.parametrize(("wins", "losses", "n"), [(8, 2, 80), (12, 2, 50), (30, 11, 256), (7, 6, 28)])
def test_the_interval_of_a_paired_share_is_the_score_tests_or_mcnemars(wins: int, losses: int, n: int) -> None:
    low, high = paired_share_interval(wins, losses, n)
    z = scipy_stats.norm.ppf(0.975)
    by_score = (
        optimize.brentq(lambda d: _score(wins, losses, n, d, -1.0) - z, -0.9, (wins - losses) / n - 1e-9),
        optimize.brentq(lambda d: _score(wins, losses, n, d, 1.0) + z, (wins - losses) / n + 1e-9, 0.9),
    )
    exact = scipy_stats.binomtest(wins, wins + losses).proportion_ci(0.95, "exact")
    conditional = [(wins + losses) / n * (2 * end - 1) for end in (exact.low, exact.high)]
    assert low == pytest.approx(min(by_score[0], conditional[0]), abs=1e-6)
    assert high == pytest.approx(max(by_score[1], conditional[1]), abs=1e-6)


def test_the_interval_of_a_paired_share_excludes_zero_only_where_mcnemars_exact_test_does() -> None:
    for wins in range(16):
        for losses in range(16):
            low, high = paired_share_interval(wins, losses, 40)
            p_value = scipy_stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
            assert -1 <= low <= (wins - losses) / 40 <= high <= 1
            assert not (low > 0 or high < 0) or p_value < 0.05
            assert paired_share_interval(losses, wins, 40) == pytest.approx((-high, -low))


@pytest.mark.parametrize("n", [28, 80])
@pytest.mark.parametrize(("expected", "difference"), [(3, 0.0), (4, 0.0), (5, 0.0), (5, 0.02), (8, 0.1)])
def test_few_differing_prompts_raise_no_more_false_alarms_than_promised(
    n: int, expected: int, difference: float
) -> None:
    """Every outcome with its probability: an end beyond the truth in 2.5% at most, an arrow without cause in 5%."""
    share = max(expected / n, difference)
    chance = [(share + difference) / 2, (share - difference) / 2]
    beyond = [0.0, 0.0]
    for wins in range(n + 1):
        for losses in range(n + 1 - wins):
            p = scipy_stats.multinomial.pmf([wins, losses, n - wins - losses], n, [*chance, 1 - share])
            if p > 1e-9:
                low, high = paired_share_interval(wins, losses, n)
                beyond[0] += p * (low > difference)
                beyond[1] += p * (high < difference)
    assert max(beyond) <= 0.025


def test_shares_over_prompts_are_compared_exactly_and_others_are_not() -> None:
    a, b = [1.0] * 8 + [0.0] * 72, [0.0] * 8 + [1.0] * 2 + [0.0] * 70
    found = paired_difference(a, b)
    assert (found.low, found.high) == paired_share_interval(8, 2, 80)
    assert found.p_value == mcnemar(a, b).p_value
    weighted = paired_difference([2.5 * x for x in a], [2.5 * x for x in b])
    assert weighted.high != found.high


def test_few_differing_clusters_move_an_end_to_zero_where_the_exact_test_says_so() -> None:
    a = [1.5] * 5 + [0.0] * 75  # 5 of 80 differ, all one way: p = 2 / 32
    found = paired_difference(a, [0.0] * 80)
    assert found.p_value == pytest.approx(0.0625)
    assert found.low == 0.0
    more = paired_difference([1.5] * 6 + [0.0] * 74, [0.0] * 80)
    assert more.low is not None
    assert more.low > 0


@pytest.mark.parametrize(("wins", "losses", "n"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(wins: int, losses: int, n: int) -> None:
    with pytest.raises(ValueError, match="not so many"):
        paired_share_interval(wins, losses, n)


# --- samples of their own


def test_unpaired_means_have_welchs_interval() -> None:
    a, b = normal(40), [x + 0.3 for x in normal(25)]
    found = unpaired_difference(a, b)
    reference = scipy_stats.ttest_ind(a, b, equal_var=False)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert (found.n, found.n_total) == (25, 40)


def test_unpaired_means_keep_their_clusters_whole() -> None:
    a, b = normal(30), normal(30)
    once = unpaired_difference(a, b)
    twice = unpaired_difference([x for x in a for _ in range(4)], b, [i for i in range(30) for _ in range(4)])
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_without_spread_there_is_no_unpaired_interval() -> None:
    assert unpaired_difference([1.0] * 5, [0.0] * 5).low is None
    assert unpaired_difference([1.0], [0.0, 1.0]).low is None
    assert unpaired_difference([None], [0.0, 1.0]).value is None


# --- runs and prompts, both drawn


def crossed(runs: int, prompts: int, *, spread: float = 0.1, seed: int = 0) -> Totals:
    rng = np.random.default_rng(seed)
    values = spread * rng.normal(size=(runs, 1)) + rng.normal(size=prompts) + rng.normal(size=(runs, prompts))
    return Totals(values, np.ones_like(values))


def test_an_interval_over_seeds_is_what_drawing_rows_and_columns_gives() -> None:
    totals = crossed(5, 40, spread=0.0)
    rng = np.random.default_rng(0)
    draws = [totals.sums[rng.integers(5, size=5)][:, rng.integers(40, size=40)].mean() for _ in range(4_000)]
    expected = np.quantile(draws, [0.025, 0.975])
    found = crossed_interval(totals)
    assert (found.value, found.low, found.high) == pytest.approx((totals.sums.mean(), *expected))


def test_several_values_of_a_prompt_count_as_many_and_lost_ones_as_none() -> None:
    totals = crossed(5, 30)
    twice = crossed_interval(Totals(2 * totals.sums, 2 * totals.counts))
    assert tuple(twice) == pytest.approx(tuple(crossed_interval(totals)))
    counts = np.ones((5, 30))
    counts[0, :10] = 0
    lacking = Totals(totals.sums * counts, counts)
    assert crossed_interval(lacking).value == pytest.approx(lacking.sums.sum() / 140)


def test_two_seeds_that_differ_give_no_certainty() -> None:
    values = np.array([[0.5] * 200, [0.7] * 200])
    found = crossed_interval(Totals(values, np.ones_like(values)))
    half = scipy_stats.t.ppf(0.975, 1) * 0.1  # Student's, of two means 0.2 apart
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))


@pytest.mark.parametrize(("runs", "prompts"), [(1, 50), (3, 1)])
def test_one_run_or_one_prompt_has_no_interval_over_seeds(runs: int, prompts: int) -> None:
    found = crossed_interval(crossed(runs, prompts))
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


def test_no_spread_and_no_values_are_no_interval() -> None:
    same = Totals(np.ones((4, 9)), np.ones((4, 9)))
    assert crossed_interval(same) == (1.0, None, None)
    assert crossed_interval(Totals(np.zeros((2, 3)), np.zeros((2, 3)))) == (None, None, None)
    assert crossed_difference(same, same) == (0.0, None, None)


def test_two_recipes_share_their_prompts_and_not_their_seeds() -> None:
    a, b = crossed(5, 200, seed=1), crossed(5, 200, seed=2)
    alone = [crossed_interval(side) for side in (a, b)]
    shared = a.sums.mean(axis=0) * 0.9  # what both find hard
    found = crossed_difference(Totals(a.sums + shared, a.counts), Totals(b.sums + shared, b.counts))
    assert found.value == pytest.approx(a.sums.mean() - b.sums.mean())
    assert found.low is not None
    assert found.high is not None
    apart = sum(side.high - side.low for side in alone if side.high is not None and side.low is not None)
    assert found.high - found.low < apart
    turned = crossed_difference(b, a)
    straight = crossed_difference(a, b)
    assert turned.value == pytest.approx(-(straight.value or 0.0))


def test_a_recipe_with_one_run_is_about_that_run() -> None:
    one, many = crossed(1, 200, seed=1), crossed(6, 200, seed=2)
    found = crossed_difference(one, many)
    assert found.low is not None
    assert found.value is not None
    assert found.low < found.value
    with pytest.raises(ValueError, match="cannot be paired"):
        crossed_difference(one, crossed(2, 3))
