"""Runs from Python: opened or made, trained with and without evaluation, told, reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import srbench
from selfreward_bench.config import RunConfig
from selfreward_bench.prices import Price, PriceTable

from ..selfreward_bench.cli.conftest import Recorded, mark_done, quick, store_results  # noqa: F401 - fixtures

# ruff: noqa: F811 - tests take imported fixtures as arguments


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- made and opened


@pytest.mark.parametrize("settings", [{"dpo.beta": 0.3, "seeds.ift": "micro"}, ["dpo.beta=0.3"], ("dpo.beta=0.3",)])
def test_a_run_is_made_with_settings_and_opened_without(settings: Any) -> None:
    made = srbench.Run("runs/mine", "micro-fast", settings, seed=7)
    assert (made.config.dpo.beta, made.config.seed, made.config.name) == (0.3, 7, "micro-fast")
    for again in (srbench.Run(Path("runs/mine")), srbench.Run("runs/mine", "micro-fast", settings, seed=7)):
        assert again.config == made.config
        assert again.path == Path("runs/mine")


def test_a_recipe_may_be_settings_or_a_file() -> None:
    settings = srbench.load_recipe("micro", {"dpo.learning_rate": 1e-4, "with_baseline": False})
    assert isinstance(settings, RunConfig)
    assert settings.dpo.learning_rate == 1e-4
    made = srbench.Run("a", settings).config
    assert made.engine.date is not None  # a run keeps the day of its making
    assert made.model_copy(update={"engine": settings.engine}) == settings
    assert srbench.Run("b", settings, {"dpo.beta": 0.5}).config.dpo.beta == 0.5
    Path("mine.yaml").write_text("extends: micro\nname: mine\n")
    assert srbench.Run("c", Path("mine.yaml")).config.name == "mine"
    assert {"micro", "paper-70b"} <= set(srbench.recipes())


def test_only_settings_of_the_evaluation_can_change() -> None:
    srbench.Run("mine", "micro")
    assert srbench.Run("mine", settings={"eval.limit": 4}).config.eval.limit == 4
    assert srbench.Run("mine").config.eval.limit == 4
    with pytest.raises(srbench.ConfigError, match=r"dpo\.beta: 0\.\d+ -> 0\.5"):
        srbench.Run("mine", settings={"dpo.beta": 0.5})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, srbench.IncompatibleRunError, "There is no run directory mine"),
        ({"recipe": "micor"}, srbench.UnknownNameError, "Did you mean 'micro"),
        ({"settings": {"dpo.beat": 1}}, srbench.ConfigError, "dpo.beat.*dpo.beta"),
        ({"settings": {"dpo.beta": "x"}}, srbench.ConfigError, "dpo.beta"),
        ({"settings": {"pairs.strategy": "none"}}, srbench.ConfigError, "pairs.strategy"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        srbench.Run("mine", **arguments)
    assert not Path("mine").exists()


# --- models


def test_models_are_made_evaluated_and_reported(quick: Recorded) -> None:
    run = srbench.Run("mine", "micro", {"with_baseline": False})
    assert (run.models, run.next_model) == ((), "M1")
    assert repr(run) == "Run('mine': micro, seed 0; made: nothing)"
    assert [m.model for m in run.run_iteration()] == ["M1"]
    assert [m.model for m in srbench.run_iteration(Path("mine"), "M3")] == ["M2", "M3"]
    assert quick.evaluated == [["M1"], ["M1", "M2"], ["M1", "M2", "M3"]]
    assert quick.reports == 2
    assert (run.models, run.next_model, run.run_iteration()) == (("M1", "M2", "M3"), None, [])
    assert run.checkpoints == {m: Path("mine", m, "checkpoint") for m in run.models}
    assert quick.calls[0]["reporter"].__class__.__name__ == "Silent"


@pytest.mark.slow
def test_without_evaluation_and_report(quick: Recorded) -> None:
    srbench.Run("mine", "micro")
    srbench.run_iteration("mine", until="M2", evaluate=False, report=False, from_stage="M1/train")
    assert (quick.evaluated, quick.reports) == ([], 0)
    assert quick.calls[0]["from_stage"] == "M1/train"


def test_what_served_models_may_cost_is_handed_on(quick: Recorded) -> None:
    prices = PriceTable(models={"m": Price(prompt=1.0, completion=2.0)})
    run = srbench.Run("a", "micro")
    run.run_iteration(prices=prices, max_cost=3.0, replay=True, concurrency=5)
    services = quick.calls[-1]["services"]
    assert (services.budget.prices, services.budget.max_cost) == (prices, 3.0)
    assert (services.replay, services.concurrency) == (True, 5)
    srbench.run_iteration(run)
    services = quick.calls[-1]["services"]
    assert (services.budget.max_cost, services.replay, services.concurrency) == (None, False, 32)


def test_an_option_that_is_not_there_is_told_before_anything_is_made(quick: Recorded) -> None:
    """One that is misspelled bounds no cost."""
    options: dict[str, Any] = {"max_costs": 3.0}
    with pytest.raises(TypeError, match=r"There is no option 'max_costs'\. Did you mean 'max_cost'"):
        srbench.run_iteration(srbench.Run("mine", "micro"), **options)
    assert quick.calls == []
    with pytest.raises(srbench.ConfigError, match="nothing to report"):
        srbench.report([])


def test_an_unknown_model_or_stage(quick: Recorded) -> None:
    run = srbench.Run("mine", "micro")
    with pytest.raises(srbench.UnknownNameError, match="model of this run 'M9'"):
        run.run_iteration(until="M9")
    with pytest.raises(srbench.UnknownNameError, match="Did you mean 'M2/pairs'"):
        run.run_iteration(from_stage="M2/pair")
    with pytest.raises(srbench.UnknownNameError):
        run.evaluate("M9")
    with pytest.raises(srbench.IncompatibleRunError, match="M2 of mine is not made yet"):
        run.evaluate(["M2"])
    assert quick.calls == []


def test_the_oracle_of_a_control_is_handed_in(quick: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    srbench.Run("mine", "micro-oracle").run_iteration()
    assert quick.calls[0]["oracle"] is not None
    assert "CONTROL RUN" in capsys.readouterr().err


def test_the_status_is_a_table() -> None:
    run = srbench.Run("mine", "micro", {"with_baseline": False})
    mark_done(run._run, "M1/ift", {"examples": 10})
    run._run.stage("M1/reviews", {}, {})
    status = run.status.set_index("stage")
    assert "SFT/train" not in status.index
    assert status.loc["M1/ift"].to_dict() == {"state": "done", "seconds": 2.0, "counts": {"examples": 10}}
    assert (status.loc["M1/reviews", "state"], status.loc["M2/pairs", "state"]) == ("partial", "new")
    assert "SFT/train" in set(srbench.Run("other", "micro", {"with_baseline": True}).status.stage)


def test_all_models_of_a_run_or_some_are_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    run = srbench.Run("mine", "micro")
    for model in ("M1", "M2"):
        (run.path / model).mkdir()
        (run.path / model / "iteration.json").write_text("{}")
    asked: list[Any] = []
    monkeypatch.setattr("srbench.runs.evaluate", lambda texts, **rest: asked.append((texts, rest)))
    run.evaluate(benchmarks="nlp", limit=3)
    run.evaluate("M2")
    assert asked[0] == (
        ["mine:M0", "mine:M1", "mine:M2"],
        {"config": run.config, "reporter": None, "benchmarks": "nlp", "limit": 3},
    )
    assert asked[1][0] == ["mine:M2"]


# --- results and reports


@pytest.fixture
def stored() -> srbench.Run:
    run = srbench.Run("mine", "micro")
    store_results(run.path)
    return run


def test_the_results_of_a_run(stored: srbench.Run) -> None:
    assert stored.results == srbench.load_results("mine")
    assert set(stored.samples("quality").checkpoint) == {"M1", "M2"}
    shown = stored._repr_html_()
    assert "True quality, sampled" in shown
    assert "<svg" in shown
    with pytest.raises(srbench.DataError, match="holds no results"):
        _ = srbench.Run("other", "micro").results
    assert "no model is made yet" in srbench.Run("other")._repr_html_()


def test_a_report_by_its_ending(stored: srbench.Run) -> None:
    assert stored.report() == srbench.report("mine") == Path("mine/report.html")
    assert "<!doctype html>" in Path("mine/report.html").read_text().lower()
    other = srbench.Run("other", "micro")
    assert srbench.report([stored, other.path]) == Path("report.html")
    assert json.loads(srbench.report(stored, "x.json").read_text())
    for name, sign in (("x.csv", "quality_sampled"), ("x.md", "| "), ("x.tex", r"\begin{tabular}")):
        assert sign in srbench.report(["mine"], Path(name)).read_text()


def test_a_report_that_cannot_be_made(stored: srbench.Run) -> None:
    with pytest.raises(srbench.UnknownNameError, match=r"report format '\.htm'. Did you mean '\.html'"):
        srbench.report(stored, "x.htm")
    with pytest.raises(srbench.IncompatibleRunError, match="no run directory nowhere"):
        srbench.report("nowhere")
    assert not Path("report.html").exists()
