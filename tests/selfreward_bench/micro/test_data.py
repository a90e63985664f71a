"""The embedded files: the base model is the recorded one, held-out prompts are held out, splits are what they say."""

from __future__ import annotations

import random
from collections import Counter

from selfreward_bench.micro import BASE_FINGERPRINT, FILES, base_path, data_path, oracle
from selfreward_bench.micro.families import Task
from selfreward_bench.micro.make import two_turns
from selfreward_bench.micro.world import WEIGHTS, draw_prompt, parse, split_of
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import ChoiceQuestion, Example, Prompt, RankedPrompt, TwoTurnQuestion


def questions(name: str) -> list[str]:
    model = RankedPrompt if "rankings" in name or name == "eft" else Prompt
    return [r.messages[-1].content for r in jsonl.read(data_path(name), model, unique=lambda r: r.id)]  # type: ignore[type-var, attr-defined]


def split(question: str) -> str:
    task = parse(question)
    assert task is not None, question
    return split_of(task)


def test_the_base_model_is_the_recorded_one_and_all_files_fit_into_ten_megabytes() -> None:
    assert weights_fingerprint(base_path()) == BASE_FINGERPRINT
    folder = base_path().parent
    assert {p.stem for p in folder.glob("*.jsonl")} == set(FILES)
    assert sum(p.stat().st_size for p in folder.rglob("*")) < 10_000_000


def test_every_split_holds_its_own_prompts_and_each_once() -> None:
    for name, expected in {
        "test": "test",
        "rankings": "test",
        "validation": "validation",
        "rankings-validation": "validation",
        "eft": "train",
    }.items():
        found = questions(name)
        assert {split(q) for q in found} == {expected}
        assert len(set(found)) == len(found)
    assert len(questions("test")) == len(questions("validation")) == 256
    ift = jsonl.read(data_path("ift"), Example, unique=lambda e: e.id)
    assert {split(e.prompt[-1].content) for e in ift} == {"train"}


def test_everything_that_evaluates_is_excluded_from_training() -> None:
    excluded = set(questions("exclude"))
    for name in ("test", "rankings", "validation", "rankings-validation"):
        assert set(questions(name)) <= excluded
    two_turn = jsonl.read(data_path("two_turn"), TwoTurnQuestion)
    assert {q.turns[0] for q in two_turn} <= excluded


def test_ten_two_turn_questions_a_family_each_asked_once() -> None:
    two_turn = jsonl.read(data_path("two_turn"), TwoTurnQuestion)
    assert Counter(q.category for q in two_turn) == dict.fromkeys(WEIGHTS, 10)
    assert len({q.turns[0] for q in two_turn}) == 80
    assert {split(q.turns[0]) for q in two_turn} == {"test"}


def test_families_that_lack_questions_take_them_from_other_held_out_sets() -> None:
    def drawn(family: str, n: int, start: int = 0) -> list[tuple[str, Task]]:
        rng, found = random.Random(start), dict[str, Task]()
        while len(found) < n:
            prompt, task = draw_prompt(rng, "test")
            if task.family == family:
                found.setdefault(prompt, task)
        return list(found.items())

    sorts, facts, others = drawn("sort", 12), drawn("fact", 4), drawn("fact", 8, 1)
    found = list(two_turns(random.Random(0), [*facts, *sorts], [*others, *drawn("sort", 3, 2)]))
    assert [q.turns[0] for q in found if q.category == "sort"] == [p for p, _ in sorts[:10]]
    assert [q.turns[0] for q in found if q.category == "fact"] == [p for p, _ in [*facts, *others[:6]]]
    assert len({q.id for q in found}) == 20
    assert list(two_turns(random.Random(0), [*facts, *sorts], [])) == found[:14]  # what is there does not change


def test_references_of_two_turn_questions_are_perfect_and_choices_have_one_right_answer() -> None:
    for question in jsonl.read(data_path("two_turn"), TwoTurnQuestion):
        assert oracle.score(question.turns[0], question.reference[0]) == 5
    for choice in jsonl.read(data_path("choices"), ChoiceQuestion):
        grades = [oracle.score(choice.question, c) or 0 for c in choice.choices]
        assert grades[choice.answer] == max(grades)
        assert sum(g == max(grades) for g in grades) == 1


def test_human_ranks_follow_true_quality_with_a_few_mistakes() -> None:
    agree: Counter[bool | None] = Counter()
    for ranked in jsonl.read(data_path("rankings"), RankedPrompt):
        truth = [oracle.score(ranked.messages[-1].content, r.text) or 0 for r in ranked.responses]
        for i, a in enumerate(ranked.responses):
            for j, b in enumerate(ranked.responses[:i]):
                if truth[i] != truth[j]:
                    agree[None if a.rank == b.rank else (a.rank < b.rank) == (truth[i] > truth[j])] += 1
    assert 0.9 < agree[True] / agree.total() < 1
    assert agree[False] < 0.02 * agree.total()
