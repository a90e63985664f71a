"""Why the micro-world's oracle gave a grade: its five additive points, for answers whose grade is stored.

The points are not in a run's files. The oracle is exact, so it is asked again, and what it says is shown only where its
points add up to the grade that was stored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from selfreward_bench.micro import oracle

__all__ = ["POINTS", "given", "told"]

#: name and meaning of each point, in the order of ``selfreward_bench.micro.families.Criteria``
POINTS: Final = (
    ("relevant", "speaks of what was asked"),
    ("substantial", "at least half of what was asked is there"),
    ("complete", "all that was asked is there"),
    ("correct", "substantial, and nothing false, repeated or beside the point"),
    ("well formed", "relevant, and a proper sentence or list"),
)
_LONGEST: Final = 2_000  # characters of a prompt or an answer; the world's own are far shorter


def given(prompt: str, answer: str | None, grade: float | None) -> int | None:
    """The points of an answer, bit k for point k; None where nobody can say, or they do not add up to the grade.

    >>> given("What colour is a cat?", "Black.", 4)
    27
    """
    if answer is None or grade is None or len(prompt) > _LONGEST or len(answer) > _LONGEST:
        return None
    found = _asked(prompt, answer)
    return found if found is not None and found.bit_count() == grade else None


def told(points: int) -> str:
    """The points that were given, in words.

    >>> told(0b10001)
    'relevant, well formed'
    """
    return ", ".join(name for k, (name, _) in enumerate(POINTS) if points >> k & 1) or "none"


@lru_cache(maxsize=2**14)
def _asked(prompt: str, answer: str) -> int | None:
    found = oracle.criteria(prompt, answer)
    return None if found is None else sum(point << k for k, point in enumerate(found))
