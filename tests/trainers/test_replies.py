"""Questions without an answer: what a server refuses is written down, what may still be answered stops the stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import EngineError
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Message
from trainers.candidates import generate_missing
from trainers.replies import unanswered
from trainers.rewards import put_in_order, write_items

USER = (Message(role="user", content="Name a bird."),)
REQUESTS = [GenerationRequest(f"q{i}", USER, seeds=(i,), temperature=1.0) for i in range(4)]
ITEMS = [JudgeItem(f"p{i}", 0, USER, f"Bird {i}.") for i in range(4)]


class Served(ScriptedEngine):
    """Answers all but some, the last first, as a server may."""

    def __init__(self, failures: dict[str, str]) -> None:
        super().__init__({"*": "Fine.\nScore: 4"})
        self.told, self.asked = failures, 0

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        self.failures = self.told
        for request in reversed(requests):
            if request.id not in {*done, *self.told}:
                self.asked += 1
                yield [c for batch in super().generate([request]) for c in batch]


def generate(path: Path, engine: Served) -> list[Completion]:
    stored = {c.id: c for c in jsonl.resume(path, Completion)}
    return generate_missing(engine, REQUESTS, path, stored)


def test_what_is_refused_is_written_down_and_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    found = generate(path, Served({"q1": "refused"}))
    assert [(c.prompt_id, c.finish_reason, c.seed) for c in found if not c.text] == [("q1", "refused", 1)]
    again = Served({})
    assert generate(path, again) == found
    assert again.asked == 0


def test_what_may_still_be_answered_stops_the_stage_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    with pytest.raises(EngineError, match=r"(?s)no answer to 1 question\(s\), first 'q2'.*--max-cost.*these alone"):
        generate(path, Served({"q2": "over_budget"}))
    again = Served({})
    assert [c.prompt_id for c in generate(path, again)] == ["q0", "q1", "q2", "q3"]
    assert again.asked == 1


def judge(engine: Served) -> PointwiseJudge:
    return PointwiseJudge(engine, load_judge_prompt("additive-5pt"), samples=2)


def write(path: Path, engine: Served) -> dict[str, float]:
    return write_items(judge(engine), ITEMS, path=path, reporter=Silent(), stage="M2/judgments")


def test_a_judges_refusals_have_no_score_and_its_failures_are_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "judgments.jsonl"
    with pytest.raises(EngineError, match=r"first 'p3/0': 1 x failed: busy"):
        write(path, Served({"p0/0": "refused", "p3/0": "failed: busy"}))
    again = Served({})
    counts = write(path, again)
    assert again.asked == 1
    assert {name: counts[name] for name in ("judged", "judgments", "parsed", "refused", "too_long")} == {
        "judged": 4,
        "judgments": 8,
        "parsed": 6,
        "refused": 2,
        "too_long": 0,
    }
    lost = [j for j in jsonl.read(path, Judgment) if j.score is None]
    assert {(j.prompt_id, j.reason) for j in lost} == {("p0", "refused")}


def test_a_finished_file_is_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "judgments.jsonl"
    write(path, Served({}))
    before = jsonl.read(path, Judgment)
    put_in_order(path, ITEMS)
    after = jsonl.read(path, Judgment)
    assert before != after
    assert [j.id for j in after] == [f"p{i}/0/{k}" for i in range(4) for k in range(2)]
    assert sorted(after, key=lambda j: j.id) == sorted(before, key=lambda j: j.id)


@pytest.mark.parametrize(
    ("why", "told"),
    [("not_in_store", "without --replay"), ("failed: HTTP 500", "HTTP 500"), (None, "no reason is known")],
)
def test_each_reason_comes_with_its_way_out(why: str | None, told: str) -> None:
    failures: dict[str, Any] = {} if why is None else {"a": why}
    assert told in str(unanswered("openai:m", ["a"], failures))
