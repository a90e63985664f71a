"""Numbers, invisible characters, and a verdict that never claims what an interval does not show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leaderboards.standings import MetricDifference
from reports import wording

QUALITY = "micro-quality@1"


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
        (-0.0001, "share", False, "0.0 %"),
        (-0.001, "points", True, "0.00"),
        (0.0, "points", True, "0.00"),
        (-0.4, "rating", True, "0"),
    ],
)
def test_numbers_carry_their_units_digits(value: float | None, unit: str, signed: bool, expected: str) -> None:
    assert wording.number(value, unit, signed=signed) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_what_is_no_number_is_a_dash(value: float | None) -> None:
    assert wording.number(value, "share") == wording.NOTHING
    assert wording.interval(0.1, value, "share") == ""


def test_an_interval_that_excludes_zero_never_reads_as_if_it_touched_it(
    difference: Callable[..., MetricDifference],
) -> None:
    shown = wording.info(QUALITY, "chars_sampled")
    assert wording.change(difference("M2", "M1", 1.9, 0.02, 3.9, "chars_sampled"), shown) == ("+1.90", "[+0.02, +3.90]")
    touching = wording.change(difference("M2", "M1", 1.9, -0.02, 3.9, "chars_sampled"), shown)
    assert touching == ("+1.9", "[0.0, +3.9]")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.2, "▲"),
        (-0.2, -0.01, "▼"),
        (-0.1, 0.2, ""),
        (-0.2, -1e-9, ""),  # zero but for rounding
        (0.0, 0.0, ""),
        (float("nan"), 0.2, ""),
        (0.1, float("inf"), ""),
        (None, None, ""),
    ],
)
def test_an_arrow_stands_only_where_the_interval_excludes_zero(
    difference: Callable[..., MetricDifference], low: float, high: float, expected: str
) -> None:
    found = difference("M2", "M1", 0.1, low, high, "quality_sampled")
    assert wording.arrow(found) == expected
    worse = wording.info("micro-alpaca-eval@1", "truncated")
    assert wording.tone(found, worse) == {"▲": "worse", "▼": "better", "": "neutral"}[expected]


@pytest.mark.parametrize(
    ("benchmark", "metric", "label", "unit", "better"),
    [
        ("alpaca-eval@1", "win_rate", "Win rate", "percent", 1),
        ("alpaca-eval@1", "win_rate/helpful_base", "helpful base", "percent", 1),
        ("alpaca-eval@1", "win_rate/expected_length_1", "reference: shortest quarter", "percent", 1),
        ("alpaca-eval@1", "win_rate/answer_length_2", "own answer: quarter 2", "percent", 1),
        ("alpaca-eval@9", "win_rate", "Win rate", "percent", 1),
        ("nlp@1", "nq_open/no_answer", "no answer", "share", -1),
        ("unheard-of@1", "score/part", "score/part", "points", 0),
    ],
)
def test_every_metric_has_a_label_and_a_unit(benchmark: str, metric: str, label: str, unit: str, better: int) -> None:
    shown = wording.info(benchmark, metric)
    assert (shown.label, shown.unit, shown.better) == (label, unit, better)


def test_families_and_titles() -> None:
    assert wording.family("micro-alpaca-eval@1") == "alpaca-eval"
    assert wording.family("judge-accuracy-llmbar-processed@1") == "judge-accuracy"
    assert wording.title("micro-nlp@1") == "NLP benchmarks (micro-world)"
    assert wording.title("unheard-of@3") == "unheard-of@3"


def test_listings() -> None:
    assert [wording.listing(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert wording.listing(list("abcdefghijk"), 2) == "a, b and 9 more"


def test_a_count_that_is_zero_has_no_sign() -> None:
    assert [wording.count(n) for n in (-0.0, 0, -3.0)] == ["0", "0", "-3"]


def test_durations() -> None:
    shown = [wording.duration(s) for s in (8.25, 125, 11_220, None)]
    assert shown == ["8.2 s", "2 min 05 s", "3 h 07 min", wording.NOTHING]
