"""When an answer is right: it comes to what the given one comes to."""

from __future__ import annotations

import pytest

from trainers.verifying import final_answer, is_right


@pytest.mark.parametrize(
    ("answer", "given", "right"),
    [
        ("3 + 4 is 7.\n#### 7", "So he has 7.\n#### 7", True),
        ("#### 1,000", "#### 1000.00", True),
        ("#### 70", "#### 7", False),
        ("7 #### 8", "#### 7", False),  # not any number in it
        (r"thus \boxed{12}, not 13", "#### 12", True),
        (r"so \boxed{\frac{1}{2}}.", r"\boxed{\frac{1}{2}}", True),
        (r"so \boxed{\frac{1}{3}}.", r"\boxed{\frac{1}{2}}", False),
        (r"\boxed{7} and \boxed{never closed", "7", True),
        ("The answer is $5.", "5", True),
        ("The answer is: **5**.", "#### 5", True),
        ("**A cat.**", "a cat", True),
        ("1, 4, 7", "1, 4, 7.", True),
        ("A CAT", "a  cat.", True),
        ("a dog", "a cat", False),
        ("", "", False),  # nothing was given
        ("####", "#### ", False),
    ],
)
def test_right_is_what_comes_to_the_given_answer(answer: str, given: str, right: bool) -> None:
    assert is_right(answer, given) is right


def test_hostile_texts_take_no_time() -> None:
    assert final_answer("#" * 100_000 + "9" * 100_000)
    assert final_answer(r"\boxed{" * 50_000)
