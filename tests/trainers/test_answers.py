"""A round's answers by prompt, and marks of what is stored."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Records
from selfreward_bench.types import Completion, Judgment, Message, Prompt
from trainers.answers import Answers, Marks, Places

PROMPTS = [Prompt(id=f"p{i}", messages=(Message(role="user", content="Hi"),)) for i in range(4)]


def completion(prompt: str, index: int) -> Completion:
    text = f"{prompt} {index}"
    return Completion(prompt_id=prompt, index=index, text=text, n_tokens=2, finish_reason="stop", seed=0)


def judgment(prompt: str, index: int, sample: int) -> Judgment:
    return Judgment(prompt_id=prompt, index=index, sample=sample, judge="j", score=1.0, raw=f"{sample}")


MIXED = [completion(p, i) for p, i in (("p3", 1), ("p0", 1), ("p3", 0), ("p0", 0), ("p1", 2))]


def test_answers_are_joined_by_id_not_by_position(tmp_path: Path) -> None:
    expected = {"p0": [0, 1], "p1": [2], "p2": [], "p3": [0, 1]}
    jsonl.write(tmp_path / "prompts.jsonl", PROMPTS)
    jsonl.write(tmp_path / "completions.jsonl", MIXED)
    stored = Records(tmp_path / "prompts.jsonl", Prompt), Records(tmp_path / "completions.jsonl", Completion)
    for answers in (Answers(PROMPTS, MIXED), Answers(PROMPTS, MIXED[::-1]), Answers(*stored)):
        groups = {prompt.id: group for prompt, group in answers}
        assert {name: [c.index for c in group] for name, group in groups.items()} == expected
        assert all(c.text == f"{name} {c.index}" for name, group in groups.items() for c in group)
        assert [answers.completions[n].id for n in answers.numbers(3)] == ["p3/0", "p3/1"]


def test_answers_that_do_not_belong_there_are_refused() -> None:
    with pytest.raises(DataError, match="'p0/1' is there twice"):
        Answers(PROMPTS, [*MIXED, completion("p0", 1)])
    with pytest.raises(DataError, match="'p3/0' belongs to none of the 3 prompts"):
        Answers(PROMPTS[:3], MIXED)


def test_judgments_come_prompt_by_prompt_in_the_order_of_their_file() -> None:
    given = [judgment("p3", 0, 1), judgment("p0", 1, 0), judgment("p3", 0, 0), judgment("other", 0, 0)]
    found = list(Answers(PROMPTS, MIXED).judged(given))
    assert [[j.id for j in group] for group in found] == [["p0/1/0"], [], [], ["p3/0/1", "p3/0/0"]]
    assert list(Answers(PROMPTS, MIXED).judged([])) == [[], [], [], []]


def test_marks_know_what_is_whole_and_what_is_missing() -> None:
    marks = Marks(lambda: (p.id for p in PROMPTS), 2)
    for name, sample in (("p1", 0), ("p1", 1), ("p3", 1)):
        assert not marks.has(name, sample)
        marks.add(name, sample)
    assert (len(marks), marks.whole(), marks.missing()) == (3, {"p1"}, ["p0", "p2", "p3"])
    assert (marks.has("p3", 1), marks.has("p3", 0)) == (True, False)
    assert [marks.knows(*one) for one in (("p1", 1), ("p1", 2), ("p9", 0), ("p1", -1))] == [True, False, False, False]


def test_places_of_ids_without_their_texts() -> None:
    names = [f"p{i}" for i in range(500)]
    places = Places(iter(names))
    assert [places.of(name) for name in (*names, "p500", "")] == [*range(500), None, None]
    wanted = np.array([hash("p7"), hash("other"), hash("p0")])
    assert places.of_all(wanted).tolist() == [7, -1, 0]
    none = Places([])
    assert (len(none), none.of("p0"), none.of_all(wanted).tolist()) == (0, None, [-1, -1, -1])


def test_what_is_held_of_a_round_is_a_few_bytes_an_answer() -> None:
    names = [f"M2-p{i:06d}/{i % 4}" for i in range(20_000)]
    Marks(lambda: names[:1], 3)
    tracemalloc.start()
    marks = Marks(lambda: iter(names), 3)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    marks.add(names[-1], 2)
    assert marks.has(names[-1], 2)
    assert held < 20 * len(names)
