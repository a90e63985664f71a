"""Exact grades for the micro-world's two-turn questions. Imports the oracle: training cannot import this module.

The first turn is graded by the oracle. The follow-up is a task of its own (``Now describe a cat.``) or looks back
(``Say it again.``): repeating one's own first answer, right or wrong, is what it asks for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from selfreward_bench.micro import oracle

__all__ = ["AGAIN", "repetition", "score"]

AGAIN = "Say it again."
_NOW = re.compile(r"Now (d)(.*)", re.DOTALL)


def score(turns: Sequence[str], answers: Sequence[str]) -> int | None:
    """True quality 0..5 of the last of ``answers``; None when its question asks for nothing the world knows.

    Args:
        turns: the questions.
        answers: the model's own answers to them, one (grades turn 1) or two (grades turn 2).

    >>> score(["What colour is a cat?", "Say it again."], ["A cat is red.", "A cat is red."])
    5
    >>> score(["What colour is a cat?", "Now describe a cat."], ["", "A cat is black."])
    2
    """
    question = turns[len(answers) - 1]
    if len(answers) == 1:
        return oracle.score(question, answers[0])
    if question == AGAIN:
        return repetition(answers[0], answers[1])
    found = _NOW.fullmatch(question)
    return oracle.score(found[1].upper() + found[2], answers[1]) if found else None


def repetition(first: str, second: str) -> int:
    """How much of the first answer the second repeats: 5 when they are equal, 0 where either is empty.

    Otherwise one point per full fifth of shared words, at most 4: twice the number of words both have (each as often
    as it occurs in both) over the number of words of both.

    >>> repetition("A cat is black.", "A cat is black. It is small.")
    3
    """
    words, again = first.split(), second.split()
    if not words or not again:
        return 0
    if words == again:
        return 5
    shared = (Counter(words) & Counter(again)).total()
    return min(4, 10 * shared // (len(words) + len(again)))
