"""``micro-head-to-head@1``: sampled answers of two checkpoints, compared by the grades of the micro-world's oracle."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final

from leaderboards.base import measures
from leaderboards.head_to_head.ratings import Comparison, pair_result
from leaderboards.micro import ORACLE
from leaderboards.standings import HeadToHead
from selfreward_bench.types import SampleScore

__all__ = ["HEAD_TO_HEAD", "head_to_head"]

HEAD_TO_HEAD: Final = "micro-head-to-head@1"


def head_to_head(name_a: str, a: Iterable[SampleScore], name_b: str, b: Iterable[SampleScore]) -> HeadToHead:
    """Compares two checkpoints' sampled answers by the oracle's grades: all samples of a prompt with all of the other.

    The higher grade wins, equal grades tie. The interval is clustered by prompt, p is a sign-flip test against 1/2.

    Args:
        name_a: name of the first checkpoint; the result is told from its side.
        a: its rows of ``micro-quality``, in any order.
    """
    grades_a, grades_b = _sampled_grades(a), _sampled_grades(b)
    comparisons = [
        Comparison(name_a, name_b, prompt_id, *_points(x, y))
        for prompt_id in sorted(grades_a.keys() & grades_b.keys())
        for x, y in product(grades_a[prompt_id], grades_b[prompt_id])
    ]
    return pair_result(name_a, name_b, comparisons, benchmark=HEAD_TO_HEAD, judge=ORACLE)


def _points(x: float | None, y: float | None) -> tuple[float | None, str | None]:
    return (None, "unscored_answer") if x is None or y is None else ((x > y) + (x == y) / 2, None)


def _sampled_grades(rows: Iterable[SampleScore]) -> dict[str, list[float | None]]:
    grades: dict[str, list[float | None]] = {}
    for scored in sorted(rows, key=lambda r: r.sample_id):
        if "quality_sampled" in (numbers := measures(scored)):
            grades.setdefault(scored.cluster, []).append(numbers["quality_sampled"])
    return grades
