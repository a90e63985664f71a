"""How far a run is, from its own files: totals that finished stages tell, speeds, nothing invented."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.storage.rundir import RunDir
from trainers.course import course
from trainers.plan import StagePlan

COUNT = 4  # prompts


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(
        tmp_path / "first",
        recipes.load("micro", [f"prompts.count={COUNT}", "candidates.count=5", "with_baseline=false"]),
    )


def finish(run: RunDir, name: str, seconds: float = 8.0, **counts: float) -> None:
    folder = run.path / name.partition("/")[0]
    folder.mkdir(exist_ok=True)
    identity = {"inputs": {}, "settings": {}, "version": 1}
    (run.path / f"{name}.start.json").write_text(json.dumps(identity))
    marker = {
        "identity": identity, "counts": counts, "outputs": {}, "seconds": seconds, "resumed": False,
        "finished_at": "2026-01-01T00:00:00+00:00", "srbench": "0.1.0", "hardware": {},
    }  # fmt: skip
    (run.path / f"{name}.stage.json").write_text(json.dumps(marker))


def begin(run: RunDir, name: str, file: str, lines: int, seconds: float = 10.0) -> None:
    folder = run.path / name.partition("/")[0]
    folder.mkdir(exist_ok=True)
    start = run.path / f"{name}.start.json"
    start.write_text("{}")
    (folder / file).write_text("{}\n" * lines)
    os.utime(start, (1_000, 1_000))
    os.utime(folder / file, (1_000 + seconds, 1_000 + seconds))


def stage(run: RunDir, name: str) -> StagePlan:
    return next(s for s in course(run) if s.name == name)


def test_a_stage_under_way_is_told_by_its_own_speed(run: RunDir) -> None:
    finish(run, "M2/prompts", prompts=COUNT)
    begin(run, "M2/candidates", "completions.jsonl", 5)
    found = stage(run, "M2/candidates")
    assert (found.status, found.done, found.work.number) == ("partial", 5, COUNT * 5)
    assert found.seconds == pytest.approx(10.0 / 5 * 15)


def test_a_later_stage_is_told_by_a_finished_one_of_its_kind(run: RunDir) -> None:
    finish(run, "M2/candidates", seconds=40.0, completions=20, distinct=18)
    assert stage(run, "M3/candidates").seconds == pytest.approx(40.0 / 20 * COUNT * 5)
    assert stage(run, "M2/candidates").seconds == 0.0


def test_what_nobody_can_know_yet_has_no_total(run: RunDir) -> None:
    found = stage(run, "M1/train")
    assert (found.work.number, found.work.exact, found.seconds) == (0, False, 0.0)
    begin(run, "M1/train", "log.jsonl", 7)
    assert stage(run, "M1/train").done == 7
    finish(run, "M1/ift", examples=100)
    finish(run, "M1/eft", examples=60)
    assert stage(run, "M1/train").work.number > 1


def test_the_baseline_is_told_where_it_was_asked_for(run: RunDir, tmp_path: Path) -> None:
    assert "SFT/train" not in [s.name for s in course(run)]
    other = RunDir.create(tmp_path / "other", recipes.load("micro", ["with_baseline=true"]))
    assert "SFT/train" in [s.name for s in course(other)]
