"""The exact grader of the micro-world, the stand-in for human experts and GPT-4. Training cannot import it.

The import rules in pyproject.toml forbid `trainers` this module; the reward control ``oracle`` gets it handed in by the
command line, which names it as such.
"""

from __future__ import annotations

from selfreward_bench.micro.families import Criteria
from selfreward_bench.micro.world import parse


def criteria(prompt: str, answer: str) -> Criteria | None:
    """The five additive points for one answer; None when the prompt asks for nothing the world knows."""
    task = parse(prompt)
    return None if task is None else task.criteria(answer.strip())


def score(prompt: str, answer: str) -> int | None:
    """True quality 0..5; None when the prompt asks for nothing the world knows.

    >>> score("What colour is a cat?", "A cat is black.")
    5
    >>> score("What colour is a cat?", "Black.")
    4
    """
    points = criteria(prompt, answer)
    return None if points is None else points.score
