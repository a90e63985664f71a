"""Grades of two-turn answers: references are perfect, repetition is graded against one's own first answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_bench.micro import data_path, dialogue, oracle
from selfreward_bench.storage import jsonl
from selfreward_bench.types import TwoTurnQuestion


def test_all_references_are_perfect() -> None:
    for question in jsonl.read(data_path("two_turn"), TwoTurnQuestion):
        assert dialogue.score(question.turns, question.reference[:1]) == 5
        assert dialogue.score(question.turns, question.reference) == 5


def test_the_first_turn_is_the_oracles() -> None:
    turns = ("What colour is a cat?", "Say it again.")
    for answer in ("A cat is black.", "Black.", "A cat is green.", ""):
        assert dialogue.score(turns, [answer]) == oracle.score(turns[0], answer)


def test_a_new_task_in_the_second_turn_is_the_oracles() -> None:
    turns = ("What colour is a cat?", "Now describe an axe.")
    perfect = "An axe is a small grey tool. You find it in the garage."
    for answer in (perfect, "An axe is grey.", "A cat is black."):
        assert dialogue.score(turns, ["whatever", answer]) == oracle.score("Describe an axe.", answer)


@pytest.mark.parametrize(
    ("first", "second", "points"),
    [
        ("A cat is green.", "A cat is green.", 5),  # wrong, but said again
        ("A cat is black.", " A cat is  black.\n", 5),
        ("A cat is black.", "black. is cat A", 4),  # all its words, another order
        ("a b c d", "a b c d e f", 4),
        ("a b c d", "a b x y", 2),
        ("a b c d", "w x y z", 0),
        ("a a a a", "a", 2),  # a word counts as often as both have it
        ("", "", 0),
        ("A cat.", "", 0),
        ("", "A cat.", 0),
    ],
)
def test_repetition(first: str, second: str, points: int) -> None:
    assert dialogue.repetition(first, second) == points
    assert dialogue.score(("Compare a cat and a hen.", "Say it again."), [first, second]) == points


def test_an_unknown_follow_up_has_no_grade() -> None:
    assert dialogue.score(("What colour is a cat?", "Why?"), ["Black.", "Because."]) is None
    assert dialogue.score(("What colour is a cat?", "Now dance."), ["Black.", "La."]) is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_repetition_is_symmetric_and_in_range(first: str, second: str) -> None:
    assert dialogue.repetition(first, second) == dialogue.repetition(second, first)
    assert 0 <= dialogue.repetition(first, second) <= 5
    assert dialogue.repetition(first, first) == (5 if first.split() else 0)
