"""`eval` and `report`: what is evaluated, where results go, and what is said when there is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Calls, Plan, Setting
from leaderboards.models import Model
from leaderboards.planning import Planned
from leaderboards.standings import write_record
from selfreward_bench import recipes
from selfreward_bench.cli.evaluate import _show_plan
from selfreward_bench.cli.tables import remarks
from selfreward_bench.errors import EngineError
from selfreward_bench.prices import Budget, Price, PriceTable, Usage
from selfreward_bench.storage.rundir import RunDir
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
    """Replaces the evaluation of a model; keeps what it was asked for. Checkpoints need no weights."""
    calls: list[dict[str, Any]] = []

    def evaluate(model: Model, settings: dict[str, Setting], *, out_dir: Path, reporter: Any) -> list[EvalResult]:
        calls.append({"name": model.name, "settings": settings, "out_dir": out_dir})
        return [result(model.name, out_dir)]

    monkeypatch.setattr("leaderboards.session.evaluate_model", evaluate)
    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: "f" * 32)
    return calls


def mine(name: str = "mine") -> Path:
    """A directory that looks like a checkpoint."""
    path = Path(name)
    path.mkdir()
    (path / "config.json").write_text("{}", encoding="utf-8")
    return path


QUALITY = ("--benchmarks", "quality")


def test_a_model_of_a_run(cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]) -> None:
    done = cli("eval", "--checkpoint", "runs/a:M1", *QUALITY)
    assert done.exit_code == 0, done.output
    (call,) = evaluated
    assert (call["name"], call["out_dir"]) == ("M1", run.path / "M1/eval")
    assert list(call["settings"]) == ["micro-quality"]
    assert call["settings"]["micro-quality"].config == run.config
    (words,) = (line.split() for line in done.stdout.splitlines() if "True quality, sampled" in line)
    assert words[-4:] == ["3.50", "[3.40,", "3.60]", "9/10"]
    assert "sort" not in done.stdout
    assert (run.path / "standings.json").is_file()
    assert (run.path / "report.html").is_file()


def test_all_metrics_on_request(cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]) -> None:
    done = cli("eval", "--checkpoint", "runs/a:M1", *QUALITY, "--full")
    words = next(line for line in done.stdout.splitlines() if line.startswith("M1")).split()
    assert words[:2] == ["M1", "micro-quality@1"]
    assert words[-4:] == ["3.50", "[3.40,", "3.60]", "9/10"]


def test_all_models_of_a_run_and_its_base(cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]) -> None:
    assert cli("eval", "--run", "runs/a", *QUALITY, "--no-report").exit_code == 0
    assert [c["name"] for c in evaluated] == ["M0", "M1"]
    assert not (run.path / "report.html").exists()


def test_the_micro_world_takes_its_own_benchmarks_and_its_oracle(
    cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]
) -> None:
    assert cli("eval", "--checkpoint", "runs/a:M1", "--benchmarks", "alpaca-eval,mt-bench,nlp").exit_code == 0
    assert list(evaluated[0]["settings"]) == ["micro-alpaca-eval", "micro-mt-bench", "micro-nlp"]
    assert evaluated[0]["settings"]["micro-mt-bench"].judge.name == "oracle"
    done = cli("eval", "--checkpoint", "runs/a:M1", "--judge", "self")
    assert done.exit_code == 2
    assert "oracle" in done.stderr


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
    mine()
    done = cli("eval", "--checkpoint", "mine", "--set", "eval.samples=3", "--world", "micro", *QUALITY)
    assert done.exit_code == 0, done.output
    (call,) = evaluated
    assert (call["name"], call["out_dir"]) == ("mine", Path("runs/eval/mine/eval"))
    assert call["settings"]["micro-quality"].config.eval.samples == 3
    assert "The results are in runs/eval." in done.stdout
    cli("eval", "--checkpoint", "mine", "--output", "there", "--world", "micro", *QUALITY)
    assert evaluated[-1]["out_dir"] == Path("there/mine/eval")


def test_limit_and_seed_are_settings(cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]) -> None:
    cli("eval", "--checkpoint", "runs/a:M1", *QUALITY, "--limit", "7", "--seed", "3")
    config = evaluated[0]["settings"]["micro-quality"].config
    assert (config.eval.limit, config.seed) == (7, 3)


def test_settings_of_the_evaluation_change_for_one_call_and_others_are_refused(
    cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]
) -> None:
    before = (run.path / "srbench.yaml").read_bytes()
    assert cli("eval", "--checkpoint", "runs/a:M1", *QUALITY, "--set", "eval.samples=5").exit_code == 0
    assert evaluated[0]["settings"]["micro-quality"].config.eval.samples == 5
    assert (run.path / "srbench.yaml").read_bytes() == before
    done = cli("eval", "--checkpoint", "runs/a:M1", *QUALITY, "--set", "dpo.beta=3.0")
    assert done.exit_code == 2
    assert "dpo.beta: 0.1 -> 3.0" in done.stderr
    assert len(evaluated) == 1


def test_real_data_need_a_judge_that_is_named(cli: Cli, evaluated: list[dict[str, Any]]) -> None:
    mine()
    done = cli("eval", "--checkpoint", "mine", "--benchmarks", "alpaca-eval,mt-bench")
    assert done.exit_code == 2
    assert all(word in done.stderr for word in ("alpaca-eval", "mt-bench", "--judge openai:MODEL@URL", "self"))
    done = cli("eval", "--checkpoint", "mine", "--benchmarks", "head-to-head", "--judge", "self")
    assert done.exit_code == 2
    assert "head-to-head" in done.stderr
    assert not evaluated


def test_unknown_benchmarks_and_suites(cli: Cli, run: RunDir) -> None:
    done = cli("eval", "--run", "runs/a", "--benchmarks", "alpaca-evl")
    assert done.exit_code == 2
    assert "Did you mean 'alpaca-eval'" in done.stderr
    assert cli("eval", "--run", "runs/a", "--suite", "papper").exit_code == 2


def test_a_dry_run_does_nothing(cli: Cli, run: RunDir, evaluated: list[dict[str, Any]]) -> None:
    done = cli("eval", "--checkpoint", "runs/a:M1", *QUALITY, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "micro-quality@1" in done.stdout
    assert "768 answers" in done.stdout
    assert not evaluated
    assert not (run.path / "M1/eval").exists()


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
    from leaderboards import session

    working = session.evaluate_model

    def fails_on_the_base(model: Model, *given: Any, **asked: Any) -> list[EvalResult]:
        if model.name == "M0":
            raise EngineError("M0 cannot answer.")
        return working(model, *given, **asked)

    monkeypatch.setattr(session, "evaluate_model", fails_on_the_base)
    done = cli("eval", "--run", "runs/a", *QUALITY)
    assert done.exit_code == 2
    assert "M0 cannot answer." in done.stderr
    assert [c["name"] for c in evaluated] == ["M1"]
    assert (run.path / "standings.json").is_file()


def test_when_it_is_stopped_the_whole_command_is_told(
    cli: Cli, run: RunDir, monkeypatch: pytest.MonkeyPatch, evaluated: list[dict[str, Any]]
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("leaderboards.session.evaluate_model", stopped)
    given = ["--checkpoint", "runs/a:M0", "--checkpoint", "runs/a:M1", *QUALITY, "--limit", "3", "--full"]
    done = cli("eval", *given)
    assert done.exit_code == 130
    assert f"srbench eval {' '.join(given)}\n" in done.stderr


def test_two_models_and_what_cannot_be_compared(
    cli: Cli, run: RunDir, monkeypatch: pytest.MonkeyPatch, evaluated: list[dict[str, Any]]
) -> None:
    def evaluate(model: Model, settings: dict[str, Setting], *, out_dir: Path, reporter: Any) -> list[EvalResult]:
        found = result(model.name, out_dir, 3.5 if model.name == "M1" else 2.5)
        stated = {"benchmark": found.benchmark, "judge": "j", "data": model.name}
        other = found.model_copy(update={"comparability": stated, "incomplete": 1})
        write_record(out_dir / found.benchmark / "result.json", other)
        return [other]

    monkeypatch.setattr("leaderboards.session.evaluate_model", evaluate)
    done = cli("eval", "--run", "runs/a", *QUALITY, "--no-report")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["M0", "M1", "SCORED"]
    assert "NOT COMPARABLE with each other: unlike data" in done.stdout
    (words,) = (line.split() for line in lines if "True quality, sampled" in line)
    assert words[-7:] == ["2.50", "[3.40,", "3.60]", "3.50", "[3.40,", "3.60]", "9/10"]
    assert "M0, Answer quality (micro-world): 1; M1, Answer quality (micro-world): 1" in done.stdout


def test_what_was_not_scored_and_what_it_cost_is_told() -> None:
    lacking = result("mine", Path("eval")).model_copy(update={"incomplete": 3})
    budget = Budget(PriceTable(currency="EUR", models={"judge": Price(prompt=1e6, completion=0)}), max_cost=9.0)
    for usage in (Usage(1, 0), None):
        reserved = budget.reserve("judge", Usage(2, 0))
        assert reserved is not None
        budget.settle(reserved, usage)
    failed, cost = remarks([lacking], budget)
    assert failed.startswith(
        "Failed or unreadable, and not scored (mine, Answer quality (micro-world): 3). The same command asks"
    )
    assert cost.startswith("Served models cost at most 3.0000 EUR, 2.0000 of it for answers that broke off")
    assert "--max-cost 9 holds for each call of the command" in cost
    (replayed,) = remarks([lacking], budget, replay=True)
    assert "The same command without --replay asks for these again" in replayed
    assert not list(remarks([result("mine", Path("eval"))], Budget()))


def test_a_dry_run_bounds_disk_and_price(capsys: pytest.CaptureFixture[str]) -> None:
    """What 804 judgments with 3.7 MB of texts took was 8.1 MB; a price is never rounded below what it may come to."""
    judgments = Calls(804, 3_695_468, 6_432)
    planned = Planned("m", "alpaca-eval@1", False, Plan(judgments=judgments), served=(("judge", judgments),))
    _show_plan([planned], PriceTable(models={"judge": Price(prompt=0.001, completion=0)}))
    printed = capsys.readouterr().out
    assert "0 answers and 804 judgments; at most 12.7 MB on disk, the report aside." in printed
    assert "judge: 804 calls, at most 0.01 USD" in printed
    assert max(len(line) for line in printed.splitlines()[:4]) <= 80  # the table keeps to a plain terminal


def test_matches_are_printed(cli: Cli, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs with their shares and ratings; the answers are made up, the rest is real."""
    from selfreward_bench.engines.scripted import ScriptedEngine

    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: str(path))
    monkeypatch.setattr(
        "selfreward_bench.models.opening.open_engine", lambda *_, **__: ScriptedEngine({"*": "No idea"})
    )
    done = cli("eval", "--run", "runs/a", "--benchmarks", "head-to-head", "--limit", "5", "--no-report")
    assert done.exit_code == 0, done.output
    (words,) = (line.split() for line in done.stdout.splitlines() if "M1 against M0" in line)
    assert words[-1] == "5/5"
    assert "100.0" in words
    assert "Head to head, judge: micro-oracle@1" in done.stdout
    assert "Bradley-Terry ratings: M0 1,000, M1 1,000" in done.stdout


def test_an_unscored_metric_is_not_zero(
    cli: Cli, run: RunDir, evaluated: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "leaderboards.session.evaluate_model",
        lambda model, settings, *, out_dir, reporter: [result(model.name, out_dir, None)],
    )
    done = cli("eval", "--checkpoint", "runs/a:M1", *QUALITY)
    line = next(line for line in done.stdout.splitlines() if "True quality, sampled" in line)
    assert "0.00" not in line
    assert "9/10" in line


def test_where_nothing_got_a_score_a_script_can_tell(cli: Cli, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(model: Model, settings: dict[str, Setting], *, out_dir: Path, reporter: Any) -> list[EvalResult]:
        found = result(model.name, out_dir)
        scored = 9 if model.name == "M0" else 0
        metrics = {"quality_sampled": Metric(value=3.0 if scored else None, n_scored=scored, n_total=10)}
        write_record(out_dir / found.benchmark / "result.json", found.model_copy(update={"metrics": metrics}))
        return [found]

    monkeypatch.setattr("leaderboards.session.evaluate_model", evaluate)
    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: "f" * 32)
    done = cli("eval", "--checkpoint", "runs/a:M1", *QUALITY, "--no-report")
    assert done.exit_code == 1
    assert done.stderr.endswith("Nothing got a score: not one sample of any benchmark. The reasons are told above.\n")
    assert "0/10" in done.stdout
    assert cli("eval", "--run", "runs/a", *QUALITY, "--no-report").exit_code == 0  # M0 got some


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
