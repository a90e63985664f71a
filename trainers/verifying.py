"""Answers that can be verified (Iterative RPO, arXiv 2404.19733): right is what comes to the given final answer.

What an answer comes to is the last ``\\boxed{...}``, else what follows the last ``####`` or ``answer is``, else the
whole of it. Numbers are equal by value, other texts letter for letter but for case, space, Markdown's marks around it
and a full stop at the end.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Final

from selfreward_bench.text import folded

__all__ = ["final_answer", "is_right"]

_BOXED: Final = re.compile(r"\\boxed\{")
_MOST_BOXED: Final = 500  # characters
_SAID: Final = re.compile(r"(?:####|answer is:?)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[-+]?\d{1,300}(?:\.\d{1,300})?\Z")


def final_answer(text: str) -> str:
    """What a text comes to, normalised.

    >>> final_answer("2 apples and 3 more. #### 5"), final_answer("The answer is $1,250.00."), final_answer("A Cat.")
    ('5', '1250', 'a cat')
    """
    if (boxed := _boxed(text)) is not None:
        return _plain(boxed)
    if said := list(_SAID.finditer(text)):
        first, *_ = text[said[-1].end() :].strip().splitlines() or [""]
        return _plain(first)
    return _plain(text)


def is_right(answer: str, given: str) -> bool:
    """Whether an answer comes to what the given one comes to; an empty one never does."""
    wanted = final_answer(given)
    return bool(wanted) and final_answer(answer) == wanted


def _boxed(text: str) -> str | None:
    """What is in the last box that is closed; braces in it have a partner: ``\\frac{1}{2}``."""
    for opened in islice(reversed(list(_BOXED.finditer(text))), _MOST_BOXED):
        depth, inner = 1, text[opened.end() : opened.end() + _MOST_BOXED + 1]
        for at, sign in enumerate(inner):
            depth += (sign == "{") - (sign == "}")
            if not depth:
                return inner[:at]
    return None


def _plain(text: str) -> str:
    found = " ".join(folded(text).split()).strip("*` ").rstrip(".").strip("*` ")
    number = found.strip("$€£% ").replace(",", "")
    if _NUMBER.match(number):
        try:
            return format(Decimal(number).normalize(), "f")
        except InvalidOperation:
            return found
    return found
