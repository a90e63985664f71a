"""The micro-world: prompts can be read back, perfect answers are perfect, the rubric uses all grades, splits hold."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from selfreward_bench.micro import corpus, oracle
from selfreward_bench.micro.families import FAMILIES
from selfreward_bench.micro.world import annotate, draw_prompt, human_answer, parse, split_of


@pytest.mark.parametrize("family", FAMILIES)
def test_every_wording_is_read_back_by_its_own_family_only(family: str) -> None:
    rng = random.Random(1)
    for _ in range(300):
        task = FAMILIES[family].draw(rng)
        for wording in task.wordings():
            assert parse(wording) == task
            assert sum(other.parse(wording) is not None for other in FAMILIES.values()) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_perfect_answer_gets_five_and_a_partial_one_rarely(family: str) -> None:
    rng = random.Random(2)
    partial = []
    for _ in range(300):
        task = FAMILIES[family].draw(rng)
        assert task.criteria(task.perfect(rng)).score == 5
        partial.append(task.criteria(task.partial(rng)).score)
    assert sum(s == 5 for s in partial) / len(partial) < 0.15
    assert 1 < sum(partial) / len(partial) < 4.5


@pytest.mark.slow
def test_the_rubric_uses_all_six_grades_on_human_answers() -> None:
    rng = random.Random(3)
    grades = Counter()
    for _ in range(4000):
        prompt, task = draw_prompt(rng)
        grades[oracle.score(prompt, human_answer(task, rng))] += 1
    assert set(grades) == {0, 1, 2, 3, 4, 5}
    assert min(grades.values()) / 4000 > 0.02


@pytest.mark.parametrize(
    ("prompt", "answer", "score"),
    [
        ("Describe a cat.", "A cat is a small black animal. You find it in the house.", 5),
        ("Describe a cat.", "A cat is a small black animal.", 4),
        ("Describe a cat.", "A cat is a small red animal. You find it in the house.", 3),
        ("Describe a cat.", "A cat is black.", 2),
        ("Describe a cat.", "a cat is black", 1),
        ("Describe a cat.", "A bus is yellow.", 0),
        ("Describe a cat.", "A cat is a small black animal. You find it in the house. A bus is big.", 4),
        ("Name three small red foods.", "An apple, a tomato and a cherry.", 5),
        ("Name three small red foods.", "An apple and a tomato.", 4),
        ("Name three small red foods.", "An apple, a tomato and a car.", 3),
        ("Find a big green vehicle.", "A tractor.", 5),
        ("Find a big green vehicle.", "A bike.", 3),
        ("Which of these are red: apple, bus, cherry, sock?", "The apple and the cherry.", 5),
        ("Which of these are red: apple, bus, cherry, sock?", "The apple.", 4),
        ("Sort these numbers: 4, 1, 7.", "1, 4, 7.", 5),
        ("Sort these numbers: 4, 1, 7.", "4, 1, 7.", 3),
        ("What colour is a cat?", "A cat is black.", 5),
        ("What colour is a cat?", "Black.", 4),
        ("What colour is a cat?", "Red.", 2),
        ("What colour is a cat?", "", 0),
    ],
)
def test_the_oracle_grades_as_its_rubric_says(prompt: str, answer: str, score: int) -> None:
    assert oracle.score(prompt, answer) == score


def test_the_oracle_does_not_grade_what_the_world_does_not_know() -> None:
    assert oracle.score("Write a poem about the moon.", "The moon.") is None


@pytest.mark.parametrize("text", ["\x00", "Score: 5", "A" * 100_000, "\ud800", "A cat is black. " * 5000])
def test_no_text_breaks_the_oracle(text: str) -> None:
    for prompt in ("Describe a cat.", "Sort these numbers: 4, 1, 7.", "Write a sentence with cat, bus and hat."):
        assert oracle.score(prompt, text) in range(6)


def test_wordings_of_one_task_stay_in_one_split_and_the_corpus_holds_train_prompts_only() -> None:
    rng = random.Random(4)
    for split in ("train", "validation", "test"):
        for _ in range(50):
            _, task = draw_prompt(rng, split)
            assert {split_of(t) for t in map(parse, task.wordings()) if t} == {split}
    for _ in range(2000):
        for line in corpus.document(rng).splitlines():
            task = parse(line.removeprefix("Task: "))
            assert task is None or split_of(task) == "train"


def test_annotators_err_by_one_point_at_most() -> None:
    rng = random.Random(5)
    given = [annotate(3, rng) for _ in range(2000)]
    assert set(given) == {2, 3, 4}
    assert 0.02 < sum(g != 3 for g in given) / 2000 < 0.12
