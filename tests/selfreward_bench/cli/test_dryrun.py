"""`run-iteration --dry-run`: says what would be done, and does none of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from selfreward_bench.micro import base_path
from selfreward_bench.progress import Silent
from selfreward_bench.storage.rundir import RunDir
from trainers.examination import examine_run

from .conftest import Cli, mark_done

ROOT = Path(__file__).resolve().parents[3]


def test_a_run_that_is_not_there_is_planned_but_not_made(cli: Cli, quick: Any, seed_data: list[str]) -> None:
    result = cli("run-iteration", "a", "--dry-run", "--until", "M2", "--set", "sft.epochs=3", *seed_data)
    assert result.exit_code == 0
    assert not Path("a").exists()
    assert not quick.calls
    assert "M2/candidates  new    6,000 generations" in result.stdout
    assert "1,000 prompts x 6" in result.stdout
    assert "To do: 6,000 generations, at most 6,000 judgments, at most 38 training steps" in result.stdout
    assert "at the rates of what was measured for the embedded base on another machine" in result.stdout


def test_another_model_has_no_estimate_before_it_ran(cli: Cli, quick: Any, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data, "--set", "base=some/model")
    result = cli("run-iteration", "a", "--dry-run", "--until", "M2")
    assert "no estimate for SFT/train, M1/train, M2/prompts" in result.stdout
    assert "nothing of this kind has run yet" in result.stdout


def test_a_dry_run_changes_nothing_in_a_run(cli: Cli, quick: Any, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data)
    mark_done(RunDir.open(Path("a")), "M1/ift", {"examples": 10})
    before = {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()}
    result = cli("run-iteration", "a", "--dry-run", "--from-stage", "M1/ift")
    assert result.exit_code == 0
    assert {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()} == before
    assert not quick.calls


def test_a_run_that_was_examined_is_planned_without_torch(cli: Cli, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data)
    run = RunDir.open(Path("a"))
    counted = cli("run-iteration", "a", "--dry-run").stdout
    examine_run(run, base_path(), flight=False, reporter=Silent())
    probe = (
        "import sys; from pathlib import Path; from trainers import fitting; fitting._GPU_DEVICES = ()\n"
        "sys.argv = ['srbench', 'run-iteration', 'a', '--dry-run']; from selfreward_bench.cli import main\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=environment)
    *printed, loaded = done.stdout.splitlines()
    assert loaded == "[]", done.stderr
    assert "899,968 parameters" in "\n".join(printed)
    assert [line for line in printed if line.startswith(("M2", "DPO", "SFT"))] == [
        line for line in counted.splitlines() if line.startswith(("M2", "DPO", "SFT"))
    ]


def test_times_come_from_this_runs_own_stages(cli: Cli, seed_data: list[str]) -> None:
    cli(
        "init", "a", "--recipe", "micro-plain", *seed_data, "--set", "with_baseline=false", "--set", "prompts.count=100"
    )
    run = RunDir.open(Path("a"))
    seconds = {"prompts": 10, "candidates": 30, "judgments": 20, "pairs": 0.1, "train": 40}
    counts = {"prompts": {"prompts": 100}, "candidates": {"completions": 600, "distinct": 500}}
    counts |= {"judgments": {"judgments": 500}, "pairs": {"pairs": 80}, "train": {"steps": 3}}
    for name in ("ift", "reviews", "eft"):
        mark_done(run, f"M1/{name}", {"examples": 10, "judgments": 0})
    mark_done(run, "M1/train", {"steps": 2})
    for stage, taken in seconds.items():
        mark_done(run, f"M2/{stage}", counts[stage], seconds=taken)
    for model in ("M1", "M2"):
        (run.path / model / "iteration.json").write_text("{}", encoding="utf-8")
    result = cli("run-iteration", "a", "--dry-run")
    # prompts 10, candidates 30, judgments of at most 600 answers 24, pairs 0.1, at most 4 steps of 13.3 s
    assert "Estimated time: at most 1 min 57 s, at the rates of this run's finished stages" in result.stdout


def test_nothing_left_to_do(cli: Cli) -> None:
    cli("init", "a")
    for model in ("SFT", "M1", "M2", "M3"):
        Path("a", model).mkdir()
        Path("a", model, "iteration.json").write_text("{}", encoding="utf-8")
    assert "there is nothing to do" in cli("run-iteration", "a", "--dry-run").stdout


def test_unknown_stage_and_bad_seed_data_are_messages(cli: Cli, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data)
    assert cli("run-iteration", "a", "--dry-run", "--from-stage", "M7/train").exit_code == 2
    Path("eft.jsonl").write_text('{"id": 1,}\n', encoding="utf-8")
    result = cli("run-iteration", "a", "--dry-run")
    assert result.exit_code == 2
    assert "eft.jsonl:1" in result.stderr
