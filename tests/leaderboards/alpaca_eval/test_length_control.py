"""The length control: what is fitted, from which baselines and strength, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboards.alpaca_eval.length_control import (
    STRENGTHS,
    Comparisons,
    Gamed,
    LengthControlled,
    length_controlled,
)
from leaderboards.alpaca_eval.logistic import Floats


def with_baselines(n: int = 60) -> tuple[Comparisons, Gamed]:
    rng = np.random.default_rng(3)
    places = np.arange(n)
    found = Comparisons(rng.beta(0.5, 0.8, n), rng.normal(0, 300, n), rng.normal(0, 1, n), places)
    return found, Gamed(rng.beta(0.2, 2, 2 * n), rng.normal(0, 1, 2 * n), rng.normal(0, 1, 2 * n), np.tile(places, 2))


@pytest.mark.parametrize("strength", STRENGTHS[[4, 5, 6]])
def test_published_weights_tell_the_strength(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    found, gamed = with_baselines()
    with monkeypatch.context() as patch:
        patch.setattr("leaderboards.alpaca_eval.length_control._choose_strength", lambda *_: strength)
        there = length_controlled(found, gamed, n_refits=0)
    assert there is not None
    told = length_controlled(found, gamed, published=list(there.weights.values()), n_refits=0)
    assert told is not None
    assert (told.strength, told.win_rate) == (strength, there.win_rate)
    assert told.gap is not None
    assert told.gap < 1e-9
    other = length_controlled(found, gamed, published=[9.0, 9.0, 9.0], n_refits=0)
    assert other is not None
    assert other.gap is not None
    assert other.gap > 1


def comparisons(seed: int, n: int = 150, skill: float = 0.3, verbosity: float = 1.5) -> Comparisons:
    """Wins that come from skill, difficulty and longer answers."""
    rng = np.random.default_rng(seed)
    deltas = np.round(rng.normal(-400, 600, size=n))
    difficulties = rng.normal(size=n)
    z = skill + 0.5 * difficulties - verbosity * np.tanh(deltas / deltas.std(ddof=1))
    wins = 1 / (1 + np.exp(-z - rng.normal(size=n)))
    return Comparisons(wins, deltas, difficulties, np.arange(n))


def baselines(n: int = 150) -> Gamed:
    rng = np.random.default_rng(9)
    positions = np.tile(np.arange(n), 2)
    difficulties = np.tile(rng.normal(size=n), 2)
    return Gamed(rng.random(2 * n), rng.normal(size=2 * n), difficulties, positions)


def fitted(found: LengthControlled | None) -> LengthControlled:
    assert found is not None
    return found


def test_win_rate_at_equal_length_is_below_the_raw_one_of_a_model_that_wins_by_length() -> None:
    for gamed in (baselines(), None):
        found = comparisons(1)
        result = fitted(length_controlled(found, gamed))
        assert result.win_rate < 100 * found.wins.mean() - 5
        assert result.low is not None
        assert result.high is not None
        assert result.low < result.win_rate < result.high
        assert result.weights["tanh_delta_length"] < -0.8


def test_without_influence_of_length_nothing_changes() -> None:
    found = comparisons(2, n=2_000, verbosity=0)
    result = fitted(length_controlled(found, None, n_refits=0))
    assert result.win_rate == pytest.approx(100 * found.wins.mean(), abs=0.5)
    assert (result.low, result.high) == (None, None)


def test_fitted_values_are_predictions_at_equal_length() -> None:
    found = comparisons(3)
    result = fitted(length_controlled(found, baselines(), n_refits=0))
    assert found.difficulties is not None
    w = result.weights
    z = w["instruction_difficulty"] * found.difficulties + w["not_gamed_baseline"]
    assert result.fitted == pytest.approx(1 / (1 + np.exp(-z)))
    assert result.win_rate == pytest.approx(100 * result.fitted.mean())
    assert result.standard_error == pytest.approx(100 * result.fitted.std(ddof=1) / np.sqrt(150))


def test_a_comparison_without_a_verdict_is_predicted_and_not_fitted() -> None:
    found = comparisons(4)
    wins = found.wins.copy()
    wins[::10] = np.nan
    partly = Comparisons(wins, found.deltas, found.difficulties, found.positions)
    result = fitted(length_controlled(partly, baselines(), n_refits=50))
    assert len(result.fitted) == 150
    changed = np.where(np.isnan(wins), 0.0, wins)
    other = fitted(length_controlled(Comparisons(changed, *_rest(found)), baselines(), n_refits=50))
    assert result.win_rate > other.win_rate  # the missing ones are not losses


def _rest(found: Comparisons) -> tuple[Floats, Floats | None, np.ndarray | None]:  # type: ignore[type-arg]
    return found.deltas, found.difficulties, found.positions


@pytest.mark.slow
def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = fitted(length_controlled(comparisons(0, n=40_000), None, n_refits=0)).win_rate
    hits = 0
    for seed in range(40):
        result = fitted(length_controlled(comparisons(1_000 + seed), None, n_refits=150))
        assert result.low is not None
        assert result.high is not None
        hits += result.low <= truth <= result.high
    assert 33 <= hits <= 40


def rival(seed: int, n: int = 150) -> tuple[Comparisons, Comparisons]:
    """Two models that find the same instructions hard; the second is better, and writes longer answers."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(size=n)
    found = []
    for skill, length in ((0.0, 0.0), (0.4, -500.0)):
        deltas = np.round(rng.normal(length, 600, size=n))
        z = skill + 1.5 * hardness - 1.5 * np.tanh(deltas / deltas.std(ddof=1)) + 0.5 * rng.normal(size=n)
        found.append(Comparisons(1 / (1 + np.exp(-z)), deltas))
    return found[0], found[1]


@pytest.mark.slow
def test_differences_on_the_same_resamples_cover_the_true_one_and_are_narrower_than_unpaired_ones() -> None:
    a, b = (fitted(length_controlled(c, None, n_refits=0)) for c in rival(0, n=40_000))
    truth = b.win_rate - a.win_rate
    hits, paired, unpaired = 0, [], []
    for seed in range(60):
        x, y = (fitted(length_controlled(c, None, n_refits=150)).refits for c in rival(1_000 + seed))
        low, high = np.quantile(y - x, [0.025, 0.975])
        hits += low <= truth <= high
        paired.append(high - low)
        unpaired.append(np.diff(np.quantile(y - np.roll(x, 1), [0.025, 0.975]))[0])
    assert 52 <= hits <= 60
    assert np.mean(paired) < 0.7 * np.mean(unpaired)


def test_a_model_that_lacks_answers_is_refitted_on_the_same_resamples() -> None:
    whole = comparisons(11)
    places = np.delete(np.arange(150), [3, 70, 149])
    rest = (whole.wins[places], whole.deltas[places], None)
    lacking = length_controlled(Comparisons(*rest, places=places, n_items=150), None, n_refits=200)
    shifted = length_controlled(Comparisons(*rest), None, n_refits=200)
    reference = fitted(length_controlled(Comparisons(whole.wins, whole.deltas), None, n_refits=200)).refits
    assert np.corrcoef(fitted(lacking).refits, reference)[0, 1] > 0.9
    assert abs(np.corrcoef(fitted(shifted).refits, reference)[0, 1]) < 0.5


def test_few_answers_among_many_items_can_be_refitted() -> None:
    few = comparisons(12, n=10)
    found = Comparisons(few.wins, few.deltas, places=np.arange(10), n_items=40)
    result = fitted(length_controlled(found, None, n_refits=300))
    assert result.low is not None
    assert np.isfinite(result.low)
    assert len(result.refits) == 300


def test_interval_depends_on_its_seed_only() -> None:
    found, gamed = comparisons(6), baselines()
    first, again, other = (length_controlled(found, gamed, n_refits=100, seed=s) for s in (0, 0, 1))
    assert (fitted(first).low, fitted(first).high) == (fitted(again).low, fitted(again).high)
    assert fitted(first).low != fitted(other).low
    assert fitted(first).win_rate == fitted(other).win_rate


@pytest.mark.parametrize("won", [0.0, 1.0])
def test_a_model_that_always_loses_or_wins_gets_a_number(won: float) -> None:
    found = comparisons(7)
    always = Comparisons(np.full(150, won), *_rest(found))
    for gamed in (baselines(), None):
        assert fitted(length_controlled(always, gamed, n_refits=20)).win_rate == pytest.approx(100 * won, abs=2)


def test_the_reference_against_itself_is_one_half() -> None:
    same = Comparisons(np.full(150, 0.5), np.zeros(150), np.zeros(150), np.arange(150))
    result = fitted(length_controlled(same, baselines()))
    assert (result.win_rate, result.standard_error, result.low, result.high) == (50, 0, 50, 50)


def test_no_number_where_nothing_can_be_fitted() -> None:
    found = comparisons(8)
    few = np.where(np.arange(150) < 9, found.wins, np.nan)
    assert length_controlled(Comparisons(few, *_rest(found)), baselines()) is None
    equal = Comparisons(found.wins, np.full(150, 7.0), found.difficulties, found.positions)
    assert length_controlled(equal, baselines()) is None
    nothing = np.array([])
    assert length_controlled(Comparisons(nothing, nothing, nothing, nothing.astype(int)), baselines()) is None


def test_baselines_need_difficulties() -> None:
    found = comparisons(8)
    with pytest.raises(ValueError, match="difficulties and positions"):
        length_controlled(Comparisons(found.wins, found.deltas), baselines())
