"""How far an evaluation is as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leaderboards.course import Course
from selfreward_bench.progress import Silent

MODELS = {m: [f"{m}/eval/{b}@1" for b in ("nlp", "mt-bench")] for m in ("M0", "M1", "M2")}


@dataclass
class Told:
    """What a reporter was told."""

    whole: list[tuple[str, int, int, float | None]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)

    def overall(self, text: str, done: int, total: int, seconds_left: float | None) -> None:
        self.whole.append((text, done, total, seconds_left))

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.stages.append(stage)

    def advanced(self, amount: int = 1) -> None:
        self.stages.append(f"+{amount}")

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None:
        self.stages.append(f"done {stage} {seconds}")

    def message(self, text: str) -> None:
        self.stages.append(text)


def test_each_stage_knows_its_place_and_what_is_left() -> None:
    told = Told()
    course = Course(told, MODELS, ["head-to-head"])
    for stage, seconds in (("M0/eval/nlp@1", 10.0), ("M0/eval/mt-bench@1", 2.0), ("M1/eval/nlp@1", 20.0)):
        course.started(stage, 5, "samples")
        course.finished(stage, {}, seconds)
    course.started("M2/eval/mt-bench@1", 5, "samples")
    course.started("head-to-head", 5, "judgments")
    assert told.whole == [
        ("model 1 of 3, benchmark 1 of 2", 0, 7, None),
        ("model 1 of 3, benchmark 2 of 2", 1, 7, 60.0),  # six parts as long as the only one that is known
        ("model 2 of 3, benchmark 1 of 2", 2, 7, 10 + 2 + 10 + 2 + 6),
        ("model 3 of 3, benchmark 2 of 2", 5, 7, 2 + 32 / 3),
        ("all models", 6, 7, 32 / 3),
    ]


def test_what_was_done_before_tells_no_time() -> None:
    told = Told()
    course = Course(told, MODELS)
    course.finished("M0/eval/nlp@1", {}, 0.0, skipped=True)
    course.started("M0/eval/mt-bench@1", 5, "samples")
    assert told.whole == [("model 1 of 3, benchmark 2 of 2", 1, 6, None)]


def test_all_is_handed_on_and_other_stages_have_no_place() -> None:
    told = Told()
    course = Course(told, {"M0": ["M0/eval/nlp@1"]})
    course.started("M0/eval/nlp@1", 5, "samples")
    course.advanced(3)
    course.message("word")
    course.finished("M0/eval/nlp@1", {}, 1.0)
    course.started("another", None, "steps")
    assert told.stages == ["M0/eval/nlp@1", "+3", "word", "done M0/eval/nlp@1 1.0", "another"]
    assert told.whole == []  # one part is all of it


def test_a_reporter_need_not_care() -> None:
    Course(Silent(), MODELS).started("M0/eval/nlp@1", 5, "samples")
