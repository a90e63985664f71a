"""The scripts in ``examples/`` run as their first lines say, on little of everything."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .forking import fork
from .selfreward_bench.cli.conftest import store_results

ROOT = Path(__file__).parents[1]


def example(name: str, *arguments: str | Path, cwd: Path, trains: bool = False) -> str:
    """What a script prints; one that trains finds the libraries for it loaded."""
    script = str(ROOT / "examples" / name)

    def run() -> None:
        os.chdir(cwd)
        sys.argv = [script, *map(str, arguments)]
        runpy.run_path(script, run_name="__main__")

    if trains:
        log = cwd / "log"
        process = fork(run, log)
        process.join()
        assert process.exitcode == 0, log.read_text()
        return log.read_text()
    command = [sys.executable, script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
def test_finished_files_are_scored_and_compared(tmp_path: Path) -> None:
    ids = range(81, 101)
    questions = [{"question_id": i, "category": "writing", "turns": ["Write.", "Shorter."]} for i in ids]
    write_lines(tmp_path / "data/mt_bench/mt_bench/question.jsonl", questions)
    reference = {"question_id": 81, "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["A.", "B."]}]}
    write_lines(tmp_path / "data/mt_bench/mt_bench/reference_answer/gpt-4.jsonl", [reference])
    grades = {"one": lambda i: 4 + i % 3, "two": lambda i: 6 + i % 3}
    rows = [
        {"question_id": i, "model": m, "judge": ["j", "single-v1"], "judgment": f"[[{g(i)}]]", "score": g(i), "turn": t}
        for m, g in grades.items()
        for i in ids
        for t in (1, 2)
    ]
    file = write_lines(tmp_path / "gpt-4_single.jsonl", rows)
    shown = example("compare_finished.py", f"{file}:one", f"{file}:two", "--data-dir", tmp_path / "data", cwd=tmp_path)
    assert "two - one, paired by sample:" in shown
    (line,) = (x.split() for x in shown.splitlines() if x.split()[:2] == ["mt-bench@1", "grade"])
    assert (float(line[2]), int(line[-1])) == (2.0, 40)


@pytest.mark.slow
def test_what_changed_between_two_checkpoints(tmp_path: Path) -> None:
    run = tmp_path / "run"
    store_results(run)
    for model in ("M1", "M2"):
        scores = run / model / "eval" / "micro-quality@1" / "scores.jsonl"
        rows = [json.loads(line) for line in scores.read_text().splitlines()]
        for row in rows:
            row["detail"] |= {
                "prompt": f"Question {row['sample_id']}?",
                "answer": f"By {model}: " + "word " * len(model),
            }
        write_lines(scores, rows)
    shown = example("what_changed.py", run, "M1", "M2", "--show", "1", cwd=tmp_path)
    assert "20 samples of quality: 20 better, 0 worse" in shown
    assert "Better by 0.6: Question s" in shown
    assert "  M2: 'By M2: word word'" in shown


@pytest.mark.slow
def test_the_loop_with_settings_of_ones_own(tmp_path: Path) -> None:
    """Half a minute: two models are trained."""
    few = {"prompts.count": 24, "seeds.ift_size": 60, "seeds.eft_size": 60, "eval.limit": 8}
    sizes = [part for key, value in few.items() for part in ("--set", f"{key}={value}")]
    shown = example("micro_loop.py", "runs/beta", "--beta", "0.3", *sizes, cwd=tmp_path, trains=True)
    assert 'M2 {"weights_differ_from_parent": "passed"' in shown
    assert "M2 - M1: " in shown
    assert "beta: 0.3" in (tmp_path / "runs/beta/srbench.yaml").read_text()
    assert (tmp_path / "runs/beta/report.html").is_file()


def test_every_example_is_tried_and_named() -> None:
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")}
    tried = Path(__file__).read_text("utf-8")
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    assert len(scripts) == 3
    assert all(f'example("{name}"' in tried and f"../examples/{name}" in page for name in scripts)
