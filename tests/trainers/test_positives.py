"""Positives: the answers of the top grade, each once, and every other one accounted for."""

from __future__ import annotations

import pytest

from selfreward_bench.errors import TrainingError
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.types import Completion, Message, Prompt, Reward
from trainers.checks import require_positives
from trainers.positives import perfect

JUDGE = load_judge_prompt("additive-5pt")
PROMPTS = [Prompt(id=name, messages=(Message(role="user", content=f"Task {name}"),)) for name in ("a", "b")]


def answer(prompt: str, index: int, text: str, reason: str = "stop") -> Completion:
    return Completion(prompt_id=prompt, index=index, text=text, n_tokens=1, finish_reason=reason, seed=0)  # type: ignore[arg-type]


def reward(prompt: str, index: int, score: float | None) -> Reward:
    return Reward(prompt_id=prompt, index=index, score=score, n_parsed=int(score is not None), n_judgments=1)


def test_the_answers_of_the_top_grade_are_examples_and_the_rest_is_counted() -> None:
    completions = [
        answer("a", 0, "Perfect."),
        answer("a", 1, "Nearly."),
        answer("a", 2, "Perfect."),
        answer("a", 3, "Cut", "length"),
        answer("b", 0, " "),
        answer("b", 1, "Unread."),
        answer("b", 2, "Good."),
    ]
    scores = [("a", 0, 4.6), ("a", 1, 4.4), ("a", 2, 4.6), ("a", 3, 5.0), ("b", 0, 5.0), ("b", 1, None), ("b", 2, 5.0)]
    found = perfect(PROMPTS, completions, [reward(*s) for s in scores], JUDGE)
    assert [(e.id, e.prompt, e.completion[0].content) for e in found.examples] == [
        ("a/0", PROMPTS[0].messages, "Perfect."),
        ("b/2", PROMPTS[1].messages, "Good."),
    ]
    assert found.counts == {"positives": 2, "duplicate": 1, "truncated": 1, "empty": 1, "unparsed": 1, "lower": 1}
    assert sum(found.counts.values()) == len(completions)


def test_without_a_perfect_answer_there_is_no_example() -> None:
    found = perfect(PROMPTS, [answer("a", 0, "No.")], [reward("a", 0, 1.0)], JUDGE)
    assert found.examples == []
    with pytest.raises(TrainingError, match=r"M3: no answer got the judge's top grade \(positives 0, .*lower 1\)"):
        require_positives("M3", found.counts)  # M3 would be M2 under another name
