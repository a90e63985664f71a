"""Facts of whole, partial and damaged runs: what is there is read, what is missing is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reports.facts import collect


def test_a_whole_run(whole: Any) -> None:
    facts = collect(whole.path)
    assert [m.name for m in facts.models] == ["M1", "M2", "M3"]
    second = facts.models[1]
    assert second.parent == "M1"
    assert second.fingerprint == "f-M2"
    assert [(s.name, s.status, s.counts) for s in second.stages] == [
        ("candidates", "done", {"answers": 9000, "truncated": 12}),
        ("pairs", "done", {"pairs": 2, "ties": 31}),
    ]
    assert facts.models[2].stages[0].status == "partial"
    assert second.n_pairs == 2
    assert (second.training[0].steps, second.training[0].last) == (
        2,
        {"step": 2, "loss": 0.41},
    )  # the torn line is no step
    assert facts.settings["dpo.beta"] == "0.1"
    assert facts.standings is not None
    assert facts.gaps == ()


def test_a_fresh_run_says_that_there_is_no_model(builder: Any) -> None:
    facts = collect(builder.path)
    assert facts.models == ()
    assert any("no model yet" in gap for gap in facts.gaps)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    facts = collect(tmp_path / "nowhere")
    assert facts.models == ()
    assert any("srbench.yaml" in gap for gap in facts.gaps)


def test_only_m1_without_evaluation(builder: Any) -> None:
    builder.stage("M1", "sft", {"steps": 426})
    facts = collect(builder.path)
    assert [m.name for m in facts.models] == ["M1"]
    assert any("M1 has not been evaluated" in gap for gap in facts.gaps)


def test_failures_and_unfinished_evaluations_are_told(builder: Any) -> None:
    folder = builder.path / "M1" / "eval"
    failure = {
        "checkpoint": "M1",
        "fingerprint": "f",
        "benchmark": "micro-judge-accuracy@1",
        "error": "E",
        "message": "no memory",
    }
    (folder / "micro-judge-accuracy@1").mkdir(parents=True)
    (folder / "micro-judge-accuracy@1" / "failure.json").write_text(json.dumps(failure))
    (folder / "micro-quality@1").mkdir()
    facts = collect(builder.path)
    assert facts.models[0].failures["micro-judge-accuracy@1"].message == "no memory"
    assert any("no memory" in gap for gap in facts.gaps)
    assert any("micro-quality@1 was begun and not finished" in gap for gap in facts.gaps)


def test_zero_pairs_are_told(whole: Any) -> None:
    whole.pairs("M3", [])
    facts = collect(whole.path)
    assert (facts.models[2].n_pairs, facts.models[2].pairs) == (0, ())
    assert any("M3 has no preference pairs" in gap for gap in facts.gaps)


def test_a_comparison_older_than_the_results_is_left_out(whole: Any) -> None:
    path = whole.path / "M3/eval/micro-quality@1/result.json"
    path.write_text(path.read_text().replace("f-M3", "f-other"))
    facts = collect(whole.path)
    assert facts.standings is None
    assert any("older than the results" in gap for gap in facts.gaps)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": ' * 3000, "\x00", "null"])
def test_damaged_files_are_gaps_and_never_errors(whole: Any, content: str) -> None:
    names = ("srbench.yaml", "standings.json", "M1/iteration.json", "M2/pairs.stage.json", "M2/pairs.jsonl")
    for name in (*names, "M1/eval/micro-quality@1/result.json", "M2/train/log.jsonl"):
        (whole.path / name).write_text(content)
    facts = collect(whole.path)
    assert [m.name for m in facts.models] == ["M1", "M2", "M3"]
    assert "micro-quality@1" not in facts.models[0].results
    assert any("result.json" in gap for gap in facts.gaps)


def test_reports_load_no_heavy_library() -> None:
    heavy = "[m for m in sys.modules if m.split('.')[0] in ('torch', 'transformers', 'trainers', 'scipy')]"
    core = "[m for m in sys.modules if m.startswith(('selfreward_bench.engines', 'selfreward_bench.judges'))]"
    script = f"import sys, reports.html, reports.terminal; print({heavy} + {core})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
