"""Fleiss' kappa and Krippendorff's alpha against statsmodels and published examples."""

from __future__ import annotations

import numpy as np
import pytest

from selfreward_bench.stats import fleiss_kappa, krippendorff_alpha

#: the example of textbooks: ten items, 14 raters, five categories; kappa 0.210
TEXTBOOK = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ],
    dtype=float,
)
_NONE = 0
#: Krippendorff 2011, section C: four observers, twelve units, categories 1 to 5, 0 where nothing was said
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, _NONE, _NONE, _NONE),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _NONE, 3),
    (_NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _NONE),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _NONE),
)


def counts_of(observers: tuple[tuple[int, ...], ...], n_categories: int) -> np.ndarray:
    table = np.zeros((len(observers[0]), n_categories))
    for said in observers:
        for unit, category in enumerate(said):
            if category:
                table[unit, category - 1] += 1
    return table


def test_kappa_of_the_textbook() -> None:
    assert fleiss_kappa(TEXTBOOK)[0] == pytest.approx(0.2099, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_statsmodels_kappa(seed: int) -> None:
    reference = pytest.importorskip("statsmodels.stats.inter_rater")
    table = np.random.default_rng(seed).multinomial(4, [0.5, 0.3, 0.2], size=40).astype(float)
    assert fleiss_kappa(table)[0] == pytest.approx(reference.fleiss_kappa(table))


def test_alpha_of_krippendorffs_own_example() -> None:
    assert krippendorff_alpha(counts_of(OBSERVERS, 5))[0] == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_two_observers() -> None:
    first, second = (1, 2, 1, 1, 1, 1, 1, 1, 2, 1), (2, 2, 2, 1, 1, 2, 1, 1, 1, 1)  # Krippendorff 2011, section A
    assert krippendorff_alpha(counts_of((first, second), 2))[0] == pytest.approx(0.095, abs=5e-4)


def test_a_weight_is_an_item_again() -> None:
    twice = np.concatenate([TEXTBOOK, TEXTBOOK[:3]])
    weights = np.array([[2.0] * 3 + [1.0] * 7, [1.0] * 10])
    for statistic in (fleiss_kappa, krippendorff_alpha):
        assert statistic(TEXTBOOK, weights) == pytest.approx([statistic(twice)[0], statistic(TEXTBOOK)[0]])


def test_one_answer_throughout_is_no_agreement() -> None:
    always = np.array([[3.0, 0.0], [3.0, 0.0]])
    assert np.isnan(fleiss_kappa(always)[0])
    assert np.isnan(krippendorff_alpha(always)[0])


def test_full_and_least_agreement() -> None:
    assert fleiss_kappa(np.array([[3.0, 0.0], [0.0, 3.0]]))[0] == 1
    assert krippendorff_alpha(np.array([[3.0, 0.0], [0.0, 3.0]]))[0] == 1
    assert krippendorff_alpha(np.array([[1.0, 1.0], [1.0, 1.0]]))[0] < 0


@pytest.mark.parametrize("table", [[[2.0, 1.0], [2.0, 0.0]], [[1.0, 0.0]]])
def test_kappa_needs_as_many_raters_everywhere(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="as many ratings"):
        fleiss_kappa(np.array(table))


def test_alpha_leaves_single_ratings_out() -> None:
    table = counts_of(OBSERVERS, 5)
    assert krippendorff_alpha(np.concatenate([table, [[1.0, 0, 0, 0, 0]]])) == krippendorff_alpha(table)
