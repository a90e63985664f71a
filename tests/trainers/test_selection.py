"""The step that is kept: the last that won, the same however often the work is cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import DpoConfig, SftConfig
from selfreward_bench.engines.base import TOO_LONG, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine, prompt_text
from selfreward_bench.errors import DataError, EngineError
from selfreward_bench.judges.pairwise import PairwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import Completion, Judgment, Message, Prompt
from trainers.dpo import train_dpo
from trainers.selection import answers_of, by_grade, by_judge, record_of, select_step
from trainers.sft import train_sft
from trainers.training import TrainResult

from .conftest import contents, examples, pairs

PROMPTS = [Prompt(id=f"v{i}", messages=(Message(role="user", content=f"Task {i}"),)) for i in range(6)]


class Course:
    """A training of some steps, whose checkpoints are a file that names their step."""

    def __init__(self, directory: Path, total: int) -> None:
        self.directory, self.total, self.asked = directory, total, list[int]()

    def train(self, until: int) -> TrainResult:
        final = self.directory / "checkpoint"
        log = self.directory / "log"
        if not final.exists():
            self.asked.append(until)
            step = min(until, self.total)
            place = final if step == self.total else self.directory / "selected" / f"step-{step}"
            place.mkdir(parents=True)
            (place / "weights").write_text(str(step))
            log.write_text(str(step))
        step = int(log.read_text())
        return TrainResult(step, 1.0, 1.0, {}, 0, log, final, 0.0, 0)

    def answer(self, model: Path | None, path: Path) -> list[Completion]:
        step = 0 if model is None else int((model / "weights").read_text())
        made = [
            Completion(prompt_id=p.id, index=0, text=str(step), n_tokens=1, finish_reason="stop", seed=0)
            for p in PROMPTS
        ]
        jsonl.write(path, made)
        return made


def best_is(step: int) -> Callable[[Path, Sequence[Completion], Sequence[Completion]], list[float | None]]:
    """The nearer to a step, the better; the last prompt cannot be read."""

    def verdicts(path: Path, before: Sequence[Completion], now: Sequence[Completion]) -> list[float | None]:
        path.touch()
        far = [abs(int(answers[0].text) - step) for answers in (before, now)]
        return [*([float(far[1] < far[0])] * 5), None]

    return verdicts


def select(course: Course, best: int, every: int = 4) -> TrainResult:
    return select_step(
        course.directory, every, train=course.train, answer=course.answer, verdicts=best_is(best), judge="me"
    )


def kept(course: Course) -> str:
    return (course.directory / "checkpoint" / "weights").read_text()


@pytest.mark.parametrize(
    ("best", "chosen", "trained"),
    [(8, 8, [4, 8, 12]), (100, 14, [4, 8, 12, 16]), (4, 4, [4, 8]), (0, 4, [4]), (12, 12, [4, 8, 12, 16])],
)
def test_the_last_step_that_won_is_kept_and_no_more_is_trained(
    best: int, chosen: int, trained: list[int], tmp_path: Path
) -> None:
    """The first one is kept also where it loses against its parent: a round must not be nothing."""
    course = Course(tmp_path, 14)
    select(course, best)
    assert (kept(course), course.asked) == (str(chosen), trained)
    told: Any = record_of(tmp_path)
    assert (told["chosen"], told["judge"], told["prompts"]) == (chosen, "me", 6)
    assert told["stopped"] == (trained[-1] < 14)
    assert [c["against"] for c in told["contests"]] == [0, *(c["step"] for c in told["contests"][:-1])]
    assert all(c["unread"] == 1 and c["won"] + c["lost"] == 5 for c in told["contests"])
    assert [c["win_rate"] for c in told["contests"]][-1] in (0.0, 1.0)
    assert not [path for path in (tmp_path / "selected").iterdir() if path.is_dir()]


def test_work_that_was_cut_off_goes_on_and_nothing_is_made_twice(tmp_path: Path) -> None:
    course = Course(tmp_path, 14)
    course.train(4)
    course.train(8)
    select(course, 8)
    assert (kept(course), course.asked) == ("8", [4, 8, 12])
    before = contents(tmp_path)
    select(course, 8)
    assert contents(tmp_path) == before
    cut = Course(tmp_path / "cut", 14)  # killed after the record, before the checkpoint was put in its place
    cut.directory.mkdir()
    cut.train(4)
    (cut.directory / "selection.json").write_text(json.dumps({"chosen": 4}))
    (cut.directory / "checkpoint").mkdir()
    select(cut, 4)
    assert kept(cut) == "4"


# --- who compares


def completions(*texts: str) -> list[Completion]:
    return [
        Completion(prompt_id=p.id, index=0, text=t, n_tokens=1, finish_reason="stop", seed=0)
        for p, t in zip(PROMPTS, texts, strict=False)
    ]


def test_a_judge_is_asked_in_both_orders_and_equal_answers_are_a_tie_unasked(tmp_path: Path) -> None:
    """It says A where A is longer, and A in any order where the answers are as long: a bias that both orders undo."""

    def verdict(request: GenerationRequest, k: int) -> str:
        a, b = (part.split("\n")[2] for part in prompt_text(request.prompt).split("Response ")[1:3])
        return "Hm." if "?" in a + b else f"Verdict: {'A' if len(a) >= len(b) else 'B'}"

    engine = ScriptedEngine(verdict)
    judge = PairwiseJudge(engine, load_judge_prompt("pairwise"))
    now, before = completions("long", "x", "same", "ab", "?"), completions("y", "long", "same", "cd", "b")
    verdicts = by_judge(judge, PROMPTS)
    assert verdicts(tmp_path / "v.jsonl", before, now) == [
        1.0,
        0.0,
        0.5,
        0.5,
        None,
        None,
    ]  # the last was answered by neither
    assert len(engine.requests) == 8
    assert len(jsonl.read(tmp_path / "v.jsonl", Judgment)) == 8
    assert verdicts(tmp_path / "v.jsonl", before, now) == [1.0, 0.0, 0.5, 0.5, None, None]
    assert len(engine.requests) == 8  # what is on the disk is not asked again


class Gone(ScriptedEngine):
    """A server that answers all but some questions, for a reason of its own."""

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        return super().generate([r for r in requests if r.id not in self.failures], done)


def test_questions_that_a_server_left_open_decide_nothing(tmp_path: Path) -> None:
    """They are asked again by a later call; a question that is too long for the judge stays unread."""
    engine, path = Gone({"*": "Verdict: A"}), tmp_path / "v.jsonl"
    verdicts = by_judge(PairwiseJudge(engine, load_judge_prompt("pairwise")), PROMPTS[:3])
    now, before = completions("a", "b", "c"), completions("x", "y", "z")
    engine.failures = {"v1/0/ba": "HTTP 503", "v2/0/ab": TOO_LONG}
    with pytest.raises(EngineError, match=r"no answer to 1 question\(s\), first 'v1/0/ba': 1 x HTTP 503"):
        verdicts(path, before, now)
    assert len(jsonl.read(path, Judgment)) == 4
    engine.failures = {"v2/0/ab": TOO_LONG}
    assert verdicts(path, before, now) == [0.5, 0.5, None]
    assert len(jsonl.read(path, Judgment)) == 5


def test_a_judge_that_cannot_read_the_prompt_chooses_nothing(tmp_path: Path) -> None:
    """Such as the embedded base with the shipped prompt: the training ended at its first checkpoint."""
    prompts = [PROMPTS[0].model_copy(update={"id": f"v{i}"}) for i in range(12)]

    def answers(text: str, n: int = 12) -> list[Completion]:
        return [completions(f"{text} {i}")[0].model_copy(update={"prompt_id": p.id}) for i, p in enumerate(prompts[:n])]

    judge = PairwiseJudge(ScriptedEngine({"*": "Hm."}), load_judge_prompt("pairwise"), stage="M2/train/select")
    with pytest.raises(DataError, match=r"none of the 12 comparisons .*select\.judge.*--from-stage M2/train\."):
        by_judge(judge, prompts)(tmp_path / "all.jsonl", answers("a"), answers("b"))
    few = by_judge(judge, prompts[:3])(tmp_path / "few.jsonl", answers("a", 3), answers("b", 3))
    assert few == [None] * 3  # of so few it says little
    tie = PairwiseJudge(ScriptedEngine(lambda r, k: "Verdict: A" if r.id.startswith("v1/") else "Hm."), judge.prompt)
    found = by_judge(tie, prompts)(tmp_path / "tie.jsonl", answers("a"), answers("b"))
    assert [score for score in found if score is not None] == [0.5]


def test_true_grades_compare_where_both_are_known(tmp_path: Path) -> None:
    verdicts = by_grade(lambda prompt, text: None if text == "?" else float(text), PROMPTS[:4])
    now, before = completions("3", "2", "1", "?"), completions("1", "2", "3", "3")
    assert verdicts(tmp_path / "none", before, now) == [1.0, 0.5, 0.0, None]


def test_all_checkpoints_answer_from_the_same_seeds(tmp_path: Path) -> None:
    from selfreward_bench.config import Sampling

    engine = ScriptedEngine({"*": "Yes."})
    for name in ("a", "b"):
        made = answers_of(engine, PROMPTS, Sampling(), 3, "M2/train", tmp_path / f"{name}.jsonl")
        assert [c.prompt_id for c in made] == [p.id for p in PROMPTS]
    first, second = engine.requests[:6], engine.requests[6:]
    assert [r.seeds for r in first] == [r.seeds for r in second]  # type: ignore[union-attr]


# --- a training by parts


@pytest.mark.slow
def test_a_training_by_parts_is_the_undivided_one(tiny_model: Path, tmp_path: Path) -> None:
    sft = SftConfig(learning_rate=3e-3, final_learning_rate=1e-3, batch_size=8, dropout=0.0)
    policy = train_sft(tiny_model, examples(16), sft, tmp_path / "M1", seed=1).checkpoint
    config = DpoConfig(learning_rate=1e-3, final_learning_rate=1e-4, batch_size=8, save_every=3, max_length=64)
    parts = tmp_path / "parts"
    first = train_dpo(policy, pairs(30), config, parts, seed=5, until=2)
    assert first.steps == 2
    assert not (parts / "checkpoint").exists()
    on_the_way = weights_fingerprint(parts / "selected" / "step-2")
    last = train_dpo(policy, pairs(30), config, parts, seed=5, until=4)
    whole = train_dpo(policy, pairs(30), config, tmp_path / "whole", seed=5)
    assert last.steps == whole.steps == 4
    assert weights_fingerprint(last.checkpoint) == weights_fingerprint(whole.checkpoint) != on_the_way
    assert (parts / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()
    assert not (parts / "resume").exists()
