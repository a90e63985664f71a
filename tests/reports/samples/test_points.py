"""The oracle's points: said only where they are the grade that is stored."""

from __future__ import annotations

import pytest

from reports.samples import points
from selfreward_bench.micro import oracle
from selfreward_bench.micro.families import Criteria

ASKED = "Describe a cat."


@pytest.mark.parametrize(
    "answer", ["A cat is a small black animal. You find it in the house.", "A cat is black.", "Dog."]
)
def test_points_add_up_to_the_grade_and_are_named_as_the_oracle_has_them(answer: str) -> None:
    criteria = oracle.criteria(ASKED, answer)
    assert criteria is not None
    found = points.given(ASKED, answer, criteria.score)
    assert found is not None
    assert [bool(found >> k & 1) for k in range(5)] == list(criteria)
    named = [name for (name, _), given in zip(points.POINTS, criteria, strict=True) if given]
    assert points.told(found) == (", ".join(named) or "none")


def test_every_criterion_has_its_words() -> None:
    assert [name.replace(" ", "_") for name, _ in points.POINTS] == list(Criteria._fields)


@pytest.mark.parametrize(
    ("prompt", "answer", "grade"),
    [
        (ASKED, "A cat is black.", 0),  # another grade is stored
        (ASKED, None, 0),
        (ASKED, "A cat is black.", None),
        ("What is the meaning of it all?", "Black.", 0),
        (ASKED, "A cat is black. " * 1_000, 0),
        ("x" * 10_000, "", 0),
    ],
)
def test_nothing_is_said_where_nobody_can_say(prompt: str, answer: str | None, grade: float | None) -> None:
    assert points.given(prompt, answer, grade) is None
