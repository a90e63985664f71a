"""What the units of metrics say of their values."""

from __future__ import annotations

import pytest

from leaderboards.base import row, summarise
from leaderboards.descriptions import bounds_of


def test_a_unit_bounds_its_values_and_those_of_its_parts() -> None:
    assert bounds_of("micro-nlp@1", "micro_sort") == bounds_of("micro-nlp@1", "micro_sort/acc_norm") == (0, 1)
    assert bounds_of("micro-mt-bench@1", "grade/sort") == (1, 10)
    assert bounds_of("micro-judge-accuracy@1", "grade/3") == (0, 1)
    assert bounds_of("micro-quality@1", "chars_sampled") is None
    assert bounds_of("micro-quality@1", "unheard_of") is bounds_of("unheard_of@1", "average") is None


def test_none_of_n_is_no_certainty() -> None:
    rows = [row(f"r{i}", f"p{i}", {"parse_failures": 0.0, "chars": 7.0, "grade": 1.0}) for i in range(80)]
    found = summarise(rows, "mt-bench@1")
    unlike = 1 - 0.025 ** (1 / 80)
    assert (found["parse_failures"].low, found["parse_failures"].high) == pytest.approx((0, unlike))
    assert (found["grade"].low, found["grade"].high) == pytest.approx((1, 1 + 9 * unlike))
    assert (found["chars"].low, found["chars"].high) == (7, 7)
    assert summarise(rows)["parse_failures"].high == 0
