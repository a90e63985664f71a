"""Published MT-Bench judgments: our numbers are FastChat's, our prompts are the ones GPT-4 was shown, byte for byte."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from leaderboards.base import Finished, Outcome, Setting, Subject, summarise, unscored
from leaderboards.mt_bench import files
from leaderboards.mt_bench.benchmark import MtBench
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import Engine
from selfreward_bench.sources.directory import ENVIRONMENT_VARIABLE, DataDir

ROOT = os.environ.get(ENVIRONMENT_VARIABLE)
pytestmark = pytest.mark.skipif(ROOT is None, reason=f"{ENVIRONMENT_VARIABLE} is not set")

RUNS = {
    "dontpanic_llama2": (
        "llama2_chat_7b",
        "llama2_7b",
        "finetune_llama2_chat_7b",
        "finetune_llama2_chat_7b_FFNet",
        "finetune_llama2_chat_7b_Attention",
    ),
    "alvarobartt_orpo": ("mistral-orpo-trl", "mistral-orpo-capybara", "mistral-orpo-mix", "mistral-orpo"),
}


def run_path(run: str) -> Path:
    return Path(ROOT or "") / "mt_bench" / "runs" / run


def judgments_path(run: str) -> Path:
    return run_path(run) / "model_judgment" / "gpt-4_single.jsonl.gz"


def no_engine() -> Engine:
    raise AssertionError("finished judgments need no model")


@cache
def outcome(model: str) -> Outcome:
    path = judgments_path(next(run for run, models in RUNS.items() if model in models))
    kind = MtBench().recognise(path)
    assert kind == files.JUDGMENTS
    setting = Setting(RunConfig(), DataDir(Path(ROOT or "")), finished=Finished(kind, path))
    return MtBench().run(Subject(model, no_engine, setting, Path("unused"), lambda n: None))


@pytest.mark.parametrize(
    ("model", "first", "second", "mean"),
    [
        ("llama2_chat_7b", 6.706, 5.675, 6.191),
        ("llama2_7b", 4.763, 3.175, 3.969),
        ("mistral-orpo-trl", 7.731, 6.600, 7.166),
        ("mistral-orpo-capybara", 7.125, 6.513, 6.819),
        ("mistral-orpo-mix", 6.431, 5.575, 6.003),
    ],
)
def test_published_grades(model: str, first: float, second: float, mean: float) -> None:
    found = summarise(outcome(model).rows) | dict(outcome(model).metrics)
    for prefix in ("", "fastchat_"):
        for suffix, value in (("_turn_1", first), ("_turn_2", second), ("", mean)):
            metric = found[f"{prefix}grade{suffix}"]
            assert metric.value == pytest.approx(value, abs=0.00051)
            assert metric.n_scored == metric.n_total == (80 if suffix else 160)
    categories = [m.value for name, m in found.items() if name.startswith("grade/") and m.value is not None]
    assert len(categories) == 8
    assert sum(categories) / 8 == pytest.approx(found["grade"].value)
    assert found["duplicates"].value == found["failed_judgments"].value == 0


def test_duplicates_and_the_failure_are_reported_not_averaged_away() -> None:
    found = summarise(outcome("mistral-orpo").rows) | dict(outcome("mistral-orpo").metrics)
    assert unscored(outcome("mistral-orpo").rows) == {"duplicate": 160}
    assert (found["grade"].value, found["grade"].n_scored, found["grade"].n_total) == (None, 0, 160)
    assert (found["duplicates"].value, found["failed_judgments"].value) == (160, 1)
    printed = found["fastchat_grade"]
    assert (printed.n_scored, printed.n_total) == (319, 320)
    assert printed.value == pytest.approx(5.859, abs=0.0005)


def test_all_1600_stored_texts_read_as_they_are_scored() -> None:
    """Strictly read, not one of GPT-4's verdicts differs from the stored score; the one without a verdict is -1."""
    models = [m for several in RUNS.values() for m in several]
    counts = [outcome(m).metrics["stored_score_differs"] for m in models]
    assert (sum(c.value or 0 for c in counts), sum(c.n_total for c in counts)) == (0, 1600)


def test_the_judge_is_shown_what_fastchat_showed_it() -> None:
    """Prompts rendered from answers, references and templates equal the stored ones, but for answers not in the files.

    Half of the doubly judged model's judgments are of answers that its answers file no longer has.
    """
    data = DataDir(Path(ROOT or ""))
    items = {i.id: i for i in files.load_items(data)}
    prompts = files.JudgePrompts.load(data)
    equal = dict.fromkeys((m for several in RUNS.values() for m in several), 0)
    for run, models in RUNS.items():
        answers = {m: files.read_answers(run_path(run) / "model_answer" / f"{m}.jsonl.gz") for m in models}
        for stored in files.read_records(judgments_path(run), files.SingleJudgment):
            item = items[str(stored.question_id)]
            rendered = prompts.render(item, stored.turn, answers[stored.model][item.id])
            same = rendered[1].content == stored.user_prompt
            equal[stored.model] += same and prompts.name("single", item, stored.turn) == stored.judge[1]
    assert set(equal.values()) == {160}


def test_no_honest_answer_is_changed_when_it_is_shown() -> None:
    guard = files.JudgePrompts.load(DataDir(Path(ROOT or ""))).guard
    paths = sorted((Path(ROOT or "") / "mt_bench" / "runs").glob("*/model_answer/*.jsonl.gz"))
    texts = [t for path in paths for r in files.read_records(path, files.ModelAnswer) for t in r.choices[0].turns]
    assert len(texts) >= 6880
    assert all(guard(text) == text for text in texts[::10])  # all of them: the same, in ten times the time
