"""Where the dots of a plot without scripts go."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.page.svg import Dots, Point, dots

Values = tuple[float | None, float | None, float | None]


def drawn(*values: Values, zero: bool = False) -> Dots | None:
    return dots("T", "points", [Point(f"r{i}", "x", v) for i, v in enumerate(values)], zero=zero)


def test_values_stand_in_their_order_between_the_edges() -> None:
    found = drawn((2.0, 1.0, 3.0), (5.0, 4.0, 6.0))
    assert found is not None
    first, second = found.rows
    places = [float(x) for r in (first, second) for x in (r.low, r.x, r.high)]
    assert places == sorted(places)
    assert found.left < places[0] < places[-1] < found.right
    assert math.isclose(places[1] - places[0], places[2] - places[1], abs_tol=0.2)
    assert second.y > first.y


def test_zero_is_on_the_axis_where_it_is_wanted() -> None:
    found = drawn((5.0, 4.0, 6.0), zero=True)
    assert found is not None
    assert found.left < float(found.zero) < float(found.rows[0].low)
    assert (drawn((5.0, 4.0, 6.0)) or found).zero == ""


def test_what_is_no_number_is_not_drawn() -> None:
    assert drawn() is None
    assert drawn((None, None, None), (math.nan, 0.0, 1.0), (math.inf, None, None), (1e300, None, None)) is None
    found = drawn((1.0, None, math.nan), (None, 0.0, 2.0))
    assert found is not None
    assert [(bool(r.x), bool(r.low), bool(r.high)) for r in found.rows] == [(True, False, False), (False, True, True)]


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-9, 1e14])
def test_a_single_value_has_an_axis(value: float) -> None:
    found = drawn((value, value, value))
    assert found is not None
    assert found.left < float(found.rows[0].x) < found.right
    assert found.ticks


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=12), st.booleans())
def test_ticks_are_few_rising_and_on_the_axis(values: list[float], zero: bool) -> None:
    found = drawn(*((v, v, v) for v in values), zero=zero)
    assert found is not None
    places = [float(x) for x, _ in found.ticks]
    assert 2 <= len(places) <= 12
    assert all(a < b for a, b in pairwise(places))
    assert all(found.left - 0.1 <= x <= found.right + 0.1 for x in places)
    assert len({text for _, text in found.ticks}) == len(places)  # no two ticks say the same
