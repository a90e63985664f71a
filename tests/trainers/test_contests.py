"""What selecting a step asks is told before it is asked, and is what ``selection`` then does."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from selfreward_bench.errors import ConfigError
from selfreward_bench.judges.pairwise import PairwiseJudge
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion
from trainers.calls import role_calls
from trainers.contests import Contests, contests, is_selected
from trainers.fitting import Machine
from trainers.plan import make_plan
from trainers.requirements import require
from trainers.selection import _contests
from trainers.training import TrainResult

from .test_plan import config as small_config
from .test_plan import done

SERVED = "openai:judge@http://127.0.0.1:9/v1"
QUESTION = "Say in some words why it rains."


def run_of(folder: Path, *settings: str, count: int = 5) -> RunDir:
    """13 steps of DPO at most: 100 pairs in batches of 8."""
    lines = [json.dumps({"id": f"v{n}", "prompt": QUESTION}) for n in range(count)]
    (folder / "validation.jsonl").write_text("\n".join(lines), encoding="utf-8")
    selecting = ["select.every=4", f"select.prompts={folder / 'validation.jsonl'}", "iterations=1"]
    return RunDir(folder / "runs" / "none", small_config(folder, *selecting, *settings))


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 8, 13])
def test_as_many_checkpoints_are_compared_as_when_all_of_them_win(tmp_path: Path, steps: int) -> None:
    final = tmp_path / "checkpoint"
    answered: list[Path | None] = []

    def train(until: int) -> TrainResult:
        (final if until >= steps else tmp_path / f"step-{until}").mkdir()
        return cast(TrainResult, SimpleNamespace(steps=min(until, steps)))

    def answer(model: Path | None, path: Path) -> list[Completion]:
        answered.append(model)
        return []

    found = _contests(tmp_path, final, 4, train, answer, lambda *args: [1.0])
    told = contests(run_of(tmp_path).config, steps)
    assert (told.checkpoints, told.answers) == (len(found), 5 * len(answered))
    assert told.verdicts == 2 * 5 * len(found)


def test_a_plan_counts_answers_and_verdicts(tmp_path: Path) -> None:
    run = run_of(tmp_path, "candidates.sampling.max_new_tokens=50")
    assert contests(run.config, 13) == Contests(prompts=5, checkpoints=4, answers=25, verdicts=40)
    found = require(run, Machine("cpu", 2**36, 1, "as stated"), until="M2")
    loads = {load.stage.name: load for load in found.loads}
    answers, verdicts = loads["M2/train/answers"], loads["M2/train/verdicts"]
    assert (str(answers.stage.work), answers.stage.unit) == ("at most 25", "generations")
    assert answers.written.number == 25 * 50
    assert 25 * len(QUESTION.split()) < answers.read.number < 25 * len(QUESTION)
    assert (str(verdicts.stage.work), verdicts.stage.unit) == ("at most 40", "judgments")
    assert verdicts.written.number == 40 * PairwiseJudge.sampling.max_new_tokens
    assert verdicts.read.number > 40 * 2 * 50
    assert {"answers", "verdicts"} <= {need.kind for need in found.needs}
    assert found.plan.total("generations").number == 400 + 25


def test_a_true_grade_is_asked_of_nobody_and_a_trained_model_asks_no_more(tmp_path: Path) -> None:
    run = run_of(tmp_path, "select.judge=oracle", "select.prompts=micro", "select.limit=5")
    names = [stage.name for stage in make_plan(run, until="M2").stages]
    assert names[-2:] == ["M2/train", "M2/train/answers"]
    run = RunDir.create(tmp_path / "runs" / "some", run.config)
    done(run, "M2/train", steps=13)
    assert [stage.name for stage in make_plan(run, until="M2").stages][-1] == "M2/train"
    assert [stage.name for stage in make_plan(run_of(tmp_path, "select.every=null"), until="M2").stages][
        -1
    ] == "M2/train"


def test_verdicts_of_a_served_judge_are_calls(tmp_path: Path) -> None:
    run = run_of(tmp_path, f"select.judge={SERVED}", "candidates.sampling.max_new_tokens=50")
    plan = make_plan(run, until="M2")
    (found,) = role_calls(run.config, plan)
    assert (found.role, found.calls.calls) == ("select.judge", 40)
    assert found.calls.completion_tokens == 40 * PairwiseJudge.sampling.max_new_tokens
    assert found.calls.prompt_tokens > 40 * (2 * 50 + len(QUESTION))
    need = require(run, Machine("cpu", 2**36, 1, "as stated"), plan=plan)
    assert {load.stage.name: load.written.number for load in need.loads}["M2/train/verdicts"] == 0
    assert "verdicts" not in {n.kind for n in need.needs}


def test_prompts_that_are_not_there_count_with_their_limit(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    (tmp_path / "validation.jsonl").unlink()
    assert contests(run.config, 4) == Contests(prompts=253, checkpoints=1, answers=506, verdicts=506)
    everything = run_of(tmp_path, "select.limit=null").config
    assert contests(everything, 4).prompts == 5
    (tmp_path / "validation.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"select\.prompts: .*--set select\.limit=253"):
        contests(everything, 4)


def test_what_is_selected(tmp_path: Path) -> None:
    selected = run_of(tmp_path).config
    names = ("SFT/train", "M1/train", "M2/train", "M3/next/train", "M2/pairs", "M10/train")
    assert [name for name in names if is_selected(selected, name)] == ["M2/train", "M10/train"]
    assert not is_selected(run_of(tmp_path, "select.every=null").config, "M2/train")
