"""Numbers, invisible characters, and a verdict that never claims what an interval does not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import collect

QUALITY = wording.QUALITY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\nlines\tand tab", "two\nlines\tand tab"),
        ("na\u00efve \u4f60\u597d caf\u00e9", "na\u00efve \u4f60\u597d caf\u00e9"),
        ("a\u202eb", "a[U+202E]b"),
        ("\x00\r\x1b", "[U+0000][U+000D][U+001B]"),
        ("\ud800", "[U+D800]"),
        ("\u2028\u200d\u3164", "[U+2028][U+200D][U+3164]"),
        ("\U000e0041", "[U+E0041]"),
    ],
)
def test_what_hides_or_acts_is_written_out(text: str, expected: str) -> None:
    assert wording.visible(text) == expected


def test_stacks_of_marks_are_cut_and_single_ones_kept() -> None:
    assert wording.visible("e\u0301") == "e\u0301"
    assert wording.visible("e" + "\u0301" * 9).count("[U+0301]") == 5


@pytest.mark.parametrize(
    ("value", "unit", "signed", "expected"),
    [
        (3.896, "points", False, "3.90"),
        (0.651, "share", False, "65.1 %"),
        (-0.018, "share", True, "\u22121.8"),
        (0.2534, "correlation", False, "0.253"),
        (31.44, "characters", False, "31.4"),
        (None, "points", False, wording.NOTHING),
    ],
)
def test_numbers_carry_their_units_digits(value: float | None, unit: str, signed: bool, expected: str) -> None:
    assert wording.number(value, unit, signed=signed) == expected


def test_an_interval_that_excludes_zero_never_reads_as_if_it_touched_it(
    difference: Callable[..., MetricDifference],
) -> None:
    shown = wording.info(QUALITY, "chars_sampled")
    assert wording.change(difference("M2", "M1", 1.9, 0.02, 3.9, "chars_sampled"), shown) == "+1.90 [+0.02, +3.90]"
    assert wording.change(difference("M2", "M1", 1.9, -0.02, 3.9, "chars_sampled"), shown) == "+1.9 [\u22120.0, +3.9]"


def test_durations() -> None:
    shown = [wording.duration(s) for s in (8.25, 125, 11_220, None)]
    assert shown == ["8.2 s", "2 min 05 s", "3 h 07 min", wording.NOTHING]


@pytest.mark.parametrize(
    ("low", "high", "lead", "tone"),
    [(0.1, 0.5, "Yes", "better"), (-0.5, -0.1, "No.", "worse"), (-0.1, 0.5, "Not shown", "neutral")],
)
def test_the_verdict_follows_the_interval(
    whole: Any, difference: Callable[..., MetricDifference], low: float, high: float, lead: str, tone: str
) -> None:
    whole.standings([difference("M3", "M1", (low + high) / 2, low, high, "quality_sampled")])
    first = wording.verdict(collect(whole.path))[0]
    assert first.answer.startswith(lead)
    assert first.tone == tone


def test_longer_answers_are_neither_good_nor_bad(whole: Any, difference: Callable[..., MetricDifference]) -> None:
    whole.standings([difference("M3", "M1", 9, 5, 12, "chars_sampled")])
    length = next(s for s in wording.verdict(collect(whole.path)) if "longer" in s.question)
    assert length.answer.startswith("Yes. Mean length went from 30.0 (M1) to 30.0 (M3): +9.0 [+5.0, +12.0] characters")
    assert length.tone == "neutral"


def test_what_was_not_compared_is_unknown(whole: Any) -> None:
    whole.standings([])
    assert {s.tone for s in wording.verdict(collect(whole.path))} == {"unknown"}
