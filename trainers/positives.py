"""Answers that got the top grade, as examples for SFT: what remains of a round without preferences.

The paper's ablation (arXiv 2401.10020): 11,254 such answers added to the seed data brought no gain, 29% wins
against 30%.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfreward_bench.judges.prompts import JudgePrompt
from selfreward_bench.types import Completion, Example, Message, Prompt, Reward
from trainers.answers import Answers
from trainers.rewards import first_of_equal

__all__ = ["Positives", "perfect"]


@dataclass(frozen=True)
class Positives:
    """The examples, in the order of prompts and answers, and what became of the other answers."""

    examples: list[Example]
    counts: dict[str, float]


def perfect(
    prompts: Sequence[Prompt], completions: Sequence[Completion], rewards: Iterable[Reward], judge: JudgePrompt
) -> Positives:
    """The answers whose reward is nearest to the judge's top grade; of equal answers to a prompt the first.

    Returns:
        Counts of answers: ``positives``; ``duplicate``, ``truncated``, ``empty``, ``unparsed``, ``lower`` (the first of
        these that applies).

    Raises:
        DataError: completions and prompts do not belong together.
    """
    scores = {reward.id: reward.score for reward in rewards}
    counts: Counter[str] = Counter()
    examples = []
    for prompt, answers in Answers(prompts, completions):
        distinct = first_of_equal(answers)
        counts["duplicate"] += len(answers) - len(distinct)
        for answer in distinct:
            fate = _fate(answer, scores.get(answer.id), judge.grades)
            counts[fate] += 1
            if fate == "positives":
                said = (Message(role="assistant", content=answer.text),)
                examples.append(Example(id=answer.id, prompt=prompt.messages, completion=said, source="positive"))
    names = ("positives", "duplicate", "truncated", "empty", "unparsed", "lower")
    return Positives(examples, {name: counts[name] for name in names})


def _fate(answer: Completion, score: float | None, grades: Sequence[float]) -> str:
    if answer.finish_reason == "length":
        return "truncated"
    if not answer.text.strip():
        return "empty"
    if score is None:
        return "unparsed"
    return "positives" if min(grades, key=lambda grade: abs(grade - score)) == grades[-1] else "lower"
