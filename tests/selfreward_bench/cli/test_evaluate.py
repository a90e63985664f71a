"""`eval` and `report`: what is evaluated, where results go, and what is said when there is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.cli.evaluate import split_run
from selfreward_bench.errors import EngineError
from selfreward_bench.rundir import RunDir
from selfreward_bench.types import EvalResult, Metric

from .conftest import Cli


@pytest.fixture
def run() -> RunDir:
    """A run whose M1 is finished."""
    made = RunDir.create(Path("runs/a"), recipes.load("micro", ["with_baseline=false"]))
    (made.path / "M1/checkpoint").mkdir(parents=True)
    (made.path / "M1/iteration.json").write_text("{}", encoding="utf-8")
    return made


def result(name: str, out_dir: Path, value: float | None = 3.5) -> EvalResult:
    """Writes one result, as an evaluation would."""
    from leaderboards.standings import write_record

    found = EvalResult(
        checkpoint=name,
        fingerprint="f",
        benchmark="micro-quality@1",
        judge="oracle",
        metrics={
            "quality_sampled": Metric(value=value, low=3.4, high=3.6, n_scored=9, n_total=10),
            "quality_sampled/sort": Metric(value=1.0, n_scored=1, n_total=1),
        },
        config_hash="c",
        versions={},
        seconds=1.0,
    )
    (out_dir / found.benchmark).mkdir(parents=True, exist_ok=True)
    write_record(out_dir / found.benchmark / "result.json", found)
    (out_dir / found.benchmark / "scores.jsonl").touch()
    return found


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the evaluation; keeps what it was asked for."""
    calls: list[dict[str, Any]] = []

    def evaluate(directory: Path, **asked: Any) -> list[EvalResult]:
        calls.append({"directory": directory, **asked})
        return [result(asked["name"], asked["out_dir"])]

    monkeypatch.setattr("leaderboards.evaluate.evaluate_checkpoint", evaluate)
    return calls


def test_a_model_of_a_run(cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]) -> None:
    done = cli("eval", "--checkpoint", "runs/a:M1")
    assert done.exit_code == 0
    (call,) = evaluated
    assert (call["directory"], call["name"], call["out_dir"]) == (
        run.path / "M1/checkpoint",
        "M1",
        run.path / "M1/eval",
    )
    assert call["config"] == run.config
    words = done.stdout.splitlines()[-1].split()
    assert words[:2] == ["M1", "micro-quality@1"]
    assert words[-4:] == ["3.50", "[3.40,", "3.60]", "9/10"]
    assert "sort" not in done.stdout
    assert (run.path / "standings.json").is_file()


def test_all_models_of_a_run_and_its_base(cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]) -> None:
    from selfreward_bench.micro import base_path

    assert cli("eval", "--run", "runs/a").exit_code == 0
    assert [(c["name"], c["directory"]) for c in evaluated] == [("M0", base_path()), ("M1", run.path / "M1/checkpoint")]


@pytest.mark.parametrize(
    ("model", "words"), [("M2", ["M2", "is not made yet", "--until M2"]), ("M9", ["Unknown", "M9"])]
)
def test_a_model_that_is_not_there(
    cli: Cli, run: RunDir, evaluated: list[dict[str, Any]], model: str, words: list[str]
) -> None:
    done = cli("eval", "--checkpoint", f"runs/a:{model}")
    assert done.exit_code == 2
    assert all(word in done.stderr for word in words)
    assert not evaluated


def test_a_directory_outside_a_run(cli: Cli, evaluated: list[dict[str, Any]]) -> None:
    Path("mine").mkdir()
    done = cli("eval", "--checkpoint", "mine", "--set", "eval.samples=3")
    (call,) = evaluated
    assert (call["name"], call["out_dir"], call["config"].eval.samples) == ("mine", Path("runs/eval/mine"), 3)
    assert "The results are in runs/eval/mine." in done.stdout
    cli("eval", "--checkpoint", "mine", "--output", "there")
    assert evaluated[-1]["out_dir"] == Path("there")


def test_a_checkpoint_directory_of_a_run_belongs_to_it(run: RunDir) -> None:
    assert split_run("runs/a/M1/checkpoint") == (Path("runs/a"), "M1")
    assert split_run("runs/a:SFT") == (Path("runs/a"), "SFT")
    assert split_run("elsewhere/M1/checkpoint") is None
    assert split_run("C:/models/mine") is None


def test_a_directory_that_is_no_checkpoint_is_an_error(cli: Cli) -> None:
    Path("mine").mkdir()
    done = cli("eval", "--checkpoint", "mine")
    assert done.exit_code == 2
    assert "mine" in done.stderr
    assert "Traceback" not in done.output


def test_eval_never_makes_a_run(cli: Cli, evaluated: list[dict[str, Any]]) -> None:
    assert cli("eval", "--run", "none", "--recipe", "micro").exit_code == 2
    assert not Path("none").exists()
    assert cli("eval", "--run", "a", "--checkpoint", "b").exit_code == 2


def test_one_model_that_fails_does_not_stop_the_others(
    cli: Cli, run: RunDir, evaluated: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from leaderboards import evaluate

    working = evaluate.evaluate_checkpoint

    def fails_on_the_base(directory: Path, **asked: Any) -> list[EvalResult]:
        if asked["name"] == "M0":
            raise EngineError("M0 cannot answer.")
        return working(directory, **asked)

    monkeypatch.setattr(evaluate, "evaluate_checkpoint", fails_on_the_base)
    done = cli("eval", "--run", "runs/a")
    assert done.exit_code == 2
    assert "M0 cannot answer." in done.stderr
    assert [c["name"] for c in evaluated] == ["M1"]
    assert (run.path / "standings.json").is_file()


def test_an_unscored_metric_is_not_zero(cli: Cli, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "leaderboards.evaluate.evaluate_checkpoint", lambda _, **asked: [result(asked["name"], asked["out_dir"], None)]
    )
    line = cli("eval", "--checkpoint", "runs/a:M1").stdout.splitlines()[-1]
    assert "0.00" not in line
    assert "9/10" in line


def test_report_writes_the_page_and_prints_the_results(cli: Cli, run: RunDir) -> None:
    result("M1", run.path / "M1/eval")
    with run.lock():  # another process may be at work on the run
        done = cli("report", "runs/a")
    assert done.exit_code == 0
    assert "3.50" in done.stdout
    assert done.stdout.endswith("The report: runs/a/report.html\n")
    assert (run.path / "report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert not [p.name for p in run.path.iterdir() if p.name.startswith(".") and "report" in p.name]


def test_a_report_of_a_run_without_results(cli: Cli, run: RunDir) -> None:
    assert cli("report", "runs/a").exit_code == 0
