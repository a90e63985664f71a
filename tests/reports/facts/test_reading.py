"""Facts of whole, partial and damaged runs: what is there is read, what is missing is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reports.facts.reading import collect


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


def test_models_evaluated_on_their_own_are_no_run(builder: Any) -> None:
    (builder.path / "srbench.yaml").unlink()
    builder.result("llama", win_rate=0.5)
    assert (collect(builder.path).is_run, collect(builder.path).gaps) == (False, ())
    builder.stage("M1", "sft", {"steps": 426})  # something was trained: the recipe is lost
    facts = collect(builder.path)
    assert facts.is_run
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
    assert [gap for gap in facts.gaps if "preference pairs" in gap] == ["M3 has no preference pairs to learn from."]


def test_what_was_compared_with_other_weights_is_left_out(whole: Any) -> None:
    path = whole.path / "M3/eval/micro-quality@1/result.json"
    path.write_text(path.read_text().replace("f-M3", "f-other"))
    facts = collect(whole.path)
    assert facts.standings is not None
    assert {(d.benchmark, d.a) for d in facts.standings.differences} == {("micro-judge-accuracy@1", "M3")}
    assert facts.standings.head_to_head == ()
    assert any("older than the results of M3 (micro-quality@1)" in gap for gap in facts.gaps)


def test_results_that_nobody_compared_are_told(whole: Any) -> None:
    for model in ("M1", "M2"):
        whole.result(model, "mt-bench@1", grade=5.0)
    facts = collect(whole.path)
    assert facts.standings is not None
    assert len(facts.standings.differences) == 7
    assert any("mt-bench@1: M1 and M2 have not been compared" in gap for gap in facts.gaps)


def test_tournament_and_drift_are_read_where_they_belong_to_the_results(full: Any) -> None:
    facts = collect(full.path)
    assert facts.tournament is not None
    assert facts.drift is not None
    assert facts.gaps == ()
    for path in full.path.glob("M3/eval/*/result.json"):
        path.write_text(path.read_text().replace("f-M3", "f-other"))
    facts = collect(full.path)
    assert (facts.tournament, facts.drift) == (None, None)
    assert sum("other weights" in gap for gap in facts.gaps) == 2


def test_answers_to_matches_are_no_unfinished_benchmark(whole: Any) -> None:
    for model in ("M1", "M2"):
        (whole.path / model / "eval" / "head-to-head@1").mkdir()
    facts = collect(whole.path)
    assert facts.gaps == ("Head to head: M1 and M2 have answered, and nobody compared them (`srbench eval`).",)


def test_a_nan_in_a_result_is_no_number(whole: Any) -> None:
    path = whole.path / "M1/eval/micro-quality@1/result.json"
    path.write_text(path.read_text().replace("3.0,", "NaN,", 1))
    metric = collect(whole.path).models[0].results["micro-quality@1"].metrics["quality_sampled"]
    assert metric.value is None
    assert metric.low is not None


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": ' * 3000, "\x00", "null"])
def test_damaged_files_are_gaps_and_never_errors(whole: Any, content: str) -> None:
    names = (
        "srbench.yaml",
        "standings.json",
        "M1/iteration.json",
        "M2/pairs.stage.json",
        "M2/pairs.jsonl",
        "drift.json",
    )
    (whole.path / "head-to-head").mkdir()
    for name in (
        *names,
        "head-to-head/head_to_head.json",
        "M1/eval/micro-quality@1/result.json",
        "M2/train/log.jsonl",
    ):
        (whole.path / name).write_text(content)
    facts = collect(whole.path)
    assert [m.name for m in facts.models] == ["M1", "M2", "M3"]
    assert "micro-quality@1" not in facts.models[0].results
    assert any("result.json" in gap for gap in facts.gaps)


def test_reports_load_no_heavy_library() -> None:
    names = ("torch", "transformers", "trainers", "scipy", "pandas", "numpy", "lm_eval", "alpaca_eval")
    heavy = f"[m for m in sys.modules if m.split('.')[0] in {names}]"
    core = "[m for m in sys.modules if m.startswith(('selfreward_bench.engines', 'selfreward_bench.judges'))]"
    script = f"import sys, reports.html; print({heavy} + {core})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
