"""Pair records and ratings against independent computations: brute force, a general optimiser, known special cases."""

from __future__ import annotations

import math
import random
from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from leaderboards.head_to_head.ratings import ANCHOR_RATING, PRIOR_TIES, Comparison, bradley_terry, pair_result

NAMES = ["M0", "M1", "M2", "M3"]


def drawn(names: list[str], strengths: list[float], n_prompts: int, ties: float = 0.3) -> list[Comparison]:
    """Comparisons of all pairs on all prompts, from strengths in nats."""
    rng, of = random.Random(5), dict(zip(names, strengths, strict=True))
    found = []
    for b, a in combinations(names, 2):
        for p in range(n_prompts):
            wins = rng.random() < 1 / (1 + math.exp(of[b] - of[a]))
            found.append(Comparison(a, b, f"p{p}", 0.5 if rng.random() < ties else float(wins)))
    return found


def outcomes(*points: float | None) -> list[Comparison]:
    return [Comparison("A", "B", f"p{i}", p, None if p is not None else "no_verdict") for i, p in enumerate(points)]


def record(comparisons: list[Comparison], a: str = "A", b: str = "B"):  # type: ignore[no-untyped-def]
    return pair_result(a, b, comparisons, benchmark="h@1", judge="j")


def by_optimiser(names: list[str], comparisons: list[Comparison], anchor: str) -> list[float]:
    """Elo ratings by minimising the likelihood, its prior written out as ties, with a general method."""
    index = {name: i for i, name in enumerate(names)}
    met = {(c.a, c.b) for c in comparisons}
    games = [(c.a, c.b, c.points) for c in comparisons if c.points is not None]
    games += [(a, b, 0.5) for a, b in met for _ in range(int(PRIOR_TIES))]

    def loss(theta: np.ndarray) -> float:  # type: ignore[type-arg]
        gaps = np.array([theta[index[a]] - theta[index[b]] for a, b, _ in games])
        points = np.array([p for _, _, p in games])
        return float((points * np.logaddexp(0, -gaps) + (1 - points) * np.logaddexp(0, gaps)).sum())

    found = minimize(loss, np.zeros(len(names)), method="BFGS", options={"gtol": 1e-7}).x
    return [1000 + 400 / math.log(10) * (x - found[index[anchor]]) for x in found]


# --- one pair


@pytest.mark.parametrize(("won", "lost", "tied"), [(0, 1, 0), (9, 3, 4), (5, 5, 0), (40, 61, 7), (12, 0, 0)])
def test_the_sign_test_is_that_of_brute_force(won: int, lost: int, tied: int) -> None:
    n = won + lost
    weights = [math.comb(n, k) / 2**n for k in range(n + 1)]
    expected = sum(w for w in weights if w <= weights[won] * (1 + 1e-9))
    result = record(outcomes(*[1.0] * won, *[0.0] * lost, *[0.5] * tied))
    assert result.sign_p_value == pytest.approx(expected)
    assert (result.wins, result.ties, result.losses) == (won, tied, lost)


def test_only_ties_leave_nothing_to_test() -> None:
    result = record(outcomes(0.5, 0.5, 0.5))
    assert (result.sign_p_value, result.win_rate, result.tie) == (None, 0.5, 1.0)
    unlike = 1 - 0.025 ** (1 / 3)  # three ties do not prove that all are
    assert (result.net_win.value, result.net_win.low, result.net_win.high) == pytest.approx((0.0, -unlike, unlike))


def test_shares_net_win_and_reasons() -> None:
    result = record(outcomes(1.0, 1.0, 1.0, 0.0, 0.5, None, None))
    assert (result.win, result.tie, result.loss) == (0.6, 0.2, 0.2)
    assert result.win_rate == pytest.approx(0.7)
    assert result.net_win.value == pytest.approx(0.4)
    assert (result.n_scored, result.n_total, result.reasons) == (5, 7, {"no_verdict": 2})
    assert result.net_win.low == pytest.approx(2 * result.low - 1)  # the same resamples: net win = 2 win rate - 1


def test_several_samples_of_a_prompt_are_one_trial() -> None:
    once = outcomes(1.0, 1.0, 0.0, 1.0, 1.0, 1.0)
    result = record(once * 8)
    assert result.sign_p_value == pytest.approx(record(once).sign_p_value)
    assert (result.low, result.high) == pytest.approx((record(once).low, record(once).high))
    assert (result.n_total, result.n_prompts) == (48, 6)


def test_fractional_points_count_as_they_are_in_the_win_rate_and_by_their_side_elsewhere() -> None:
    result = record(outcomes(0.9, 0.6, 0.1))
    assert result.win_rate == pytest.approx(1.6 / 3)
    assert (result.wins, result.ties, result.losses) == (2, 0, 1)
    assert result.net_win.value == pytest.approx(1 / 3)


def test_nothing_is_no_number() -> None:
    result = record([])
    assert (result.win_rate, result.win, result.sign_p_value, result.net_win.value) == (None, None, None, None)
    assert (result.n_total, result.reasons) == (0, {})


# --- all checkpoints


@pytest.mark.parametrize("strengths", [[0.0, 0.4, 0.5, 2.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, -3.0, 1.0]])
def test_ratings_are_those_of_a_general_optimiser(strengths: list[float]) -> None:
    comparisons = drawn(NAMES, strengths, 60)
    table = bradley_terry(NAMES, comparisons, anchor="M1", n_boot=2)
    expected = by_optimiser(NAMES, comparisons, "M1")
    assert [r.rating for r in table.ratings] == pytest.approx(expected, abs=0.02)
    assert table.ratings[1].rating == ANCHOR_RATING


def test_two_checkpoints_have_the_closed_form() -> None:
    comparisons = outcomes(*[1.0] * 30, *[0.0] * 9, *[0.5] * 20)
    table = bradley_terry(["B", "A"], comparisons, anchor="B", n_boot=2)
    odds = (30 + 10 + PRIOR_TIES / 2) / (9 + 10 + PRIOR_TIES / 2)
    assert table.ratings[1].rating == pytest.approx(1000 + 400 * math.log10(odds))
    assert table.notes == ()


def test_the_true_ratings_are_inside_the_intervals_and_more_prompts_narrow_them() -> None:
    true = [0.0, 0.3, 0.6, 1.2]
    few, many = (bradley_terry(NAMES, drawn(NAMES, true, n, ties=0.0), anchor="M0", n_boot=300) for n in (50, 800))
    for i in (1, 2, 3):
        rating = many.ratings[i]
        assert rating.low is not None
        assert rating.high is not None
        assert rating.low < 1000 + 400 / math.log(10) * true[i] < rating.high
        assert rating.low < rating.rating < rating.high  # type: ignore[operator]
        assert rating.high - rating.low < (few.ratings[i].high - few.ratings[i].low) / 2  # type: ignore[operator]
    assert (few.ratings[0].low, few.ratings[0].high) == (None, None)


def test_intervals_resample_prompts_not_comparisons() -> None:
    comparisons = drawn(NAMES, [0.0, 0.5, 1.0, 1.5], 40)
    once, copied = (bradley_terry(NAMES, c, anchor="M1", n_boot=200) for c in (comparisons, comparisons * 5))
    for a, b in zip(once.ratings, copied.ratings, strict=True):
        if a.low is not None:  # five copies weaken the prior a little, and carry no information
            assert (b.high - b.low) == pytest.approx(a.high - a.low, rel=0.15)  # type: ignore[operator]


def test_order_and_direction_of_comparisons_do_not_matter() -> None:
    comparisons = drawn(NAMES, [0.0, 0.5, 1.0, 1.5], 30)
    turned = [Comparison(c.b, c.a, c.cluster, 1 - c.points) for c in comparisons if c.points is not None][::-1]
    one, other = (bradley_terry(NAMES, c, anchor="M1", n_boot=50) for c in (comparisons, turned))
    for a, b in zip(one.ratings, other.ratings, strict=True):
        assert a.rating == pytest.approx(b.rating)
        assert a.low == pytest.approx(b.low)


def test_a_checkpoint_that_wins_everything_has_a_finite_rating_and_a_note() -> None:
    comparisons = drawn(NAMES[:3], [0.0, 0.2, 0.4], 50)
    comparisons += [Comparison("M3", other, f"p{i}", 1.0) for other in NAMES[:3] for i in range(50)]
    table = bradley_terry(NAMES, comparisons, anchor="M1", n_boot=50)
    assert table.ratings[3].rating == pytest.approx(by_optimiser(NAMES, comparisons, "M1")[3], abs=1)
    assert 1500 < table.ratings[3].rating < 2500  # type: ignore[operator]
    (note,) = table.notes
    assert "M0, M1, M2 | M3" in note


def test_a_total_order_is_no_trouble() -> None:
    names = [f"M{i}" for i in range(12)]
    comparisons = [Comparison(a, b, f"p{i}", 1.0) for b, a in combinations(names, 2) for i in range(20)]
    ratings = [r.rating for r in bradley_terry(names, comparisons, anchor="M1", n_boot=20).ratings]
    assert all(r is not None and math.isfinite(r) for r in ratings)
    assert ratings == sorted(ratings)  # type: ignore[type-var]


def test_checkpoints_without_a_chain_to_the_anchor_have_no_rating() -> None:
    comparisons = outcomes(1.0, 0.0, 1.0) + [Comparison("D", "C", f"p{i}", float(i % 2)) for i in range(4)]
    comparisons.append(Comparison("C", "A", "p0", None, "no_verdict"))
    table = bradley_terry(["A", "B", "C", "D"], comparisons, anchor="A", n_boot=20)
    assert [r.rating is None for r in table.ratings] == [False, False, True, True]
    assert [(r.n_scored, r.n_total) for r in table.ratings] == [(3, 4), (3, 3), (4, 5), (4, 4)]
    assert table.notes[0].startswith("No rating for C, D: no chain of scored comparisons leads to A")


def test_nothing_scored_rates_nobody() -> None:
    table = bradley_terry(["A", "B"], outcomes(None, None), anchor="A")
    assert [r.rating for r in table.ratings] == [None, None]
    assert table.notes[0].startswith("No rating for A, B")


def test_one_prompt_gives_a_rating_without_an_interval() -> None:
    table = bradley_terry(["A", "B"], outcomes(1.0), anchor="A")
    assert table.ratings[1].rating == pytest.approx(1000 - 400 * math.log10(3))
    assert (table.ratings[1].low, table.ratings[1].high) == (None, None)
