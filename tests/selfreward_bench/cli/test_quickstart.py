"""`quickstart`: what it makes, in which order, and what it shows at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.storage.rundir import RunDir

from .conftest import Cli, mark_done


def test_makes_all_models_evaluates_the_base_too_and_shows_where_the_time_went(cli: Cli, quick: Any) -> None:
    RunDir.create(Path("runs/quickstart"), _config())
    mark_done(RunDir.open(Path("runs/quickstart")), "M1/ift", {"examples": 10}, seconds=3)
    mark_done(RunDir.open(Path("runs/quickstart")), "M2/candidates", {"completions": 10}, seconds=70)
    result = cli("quickstart")
    assert result.exit_code == 0
    assert [call["until"] for call in quick.calls] == ["M1", "M2", "M3"]
    assert quick.evaluated == [["M0"], ["SFT", "M1"], ["SFT", "M1", "M2"], ["SFT", "M1", "M2", "M3"]]
    assert quick.reports == 1
    assert quick.benchmarks == [
        f"micro-{name}" for name in ("quality", "judge-accuracy", "alpaca-eval", "mt-bench", "nlp")
    ]
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "seed data 3.0 s" in lines
    assert "candidate answers 1 min 10 s" in lines
    assert lines[-1].endswith("The report: runs/quickstart/report.html")


@pytest.mark.slow
def test_the_settings_are_those_of_its_options(cli: Cli, quick: Any) -> None:
    cli("quickstart", "--fast", "--seed", "5", "--output", "here")
    config = RunDir.open(Path("here")).config
    assert (config.name, config.seed, config.with_baseline) == ("micro-fast", 5, True)


@pytest.mark.slow
def test_called_again_it_goes_on_and_refuses_other_settings(cli: Cli, quick: Any) -> None:
    cli("quickstart")
    assert cli("quickstart").exit_code == 0
    assert [call["until"] for call in quick.calls] == ["M1", "M2", "M3", "M3"]
    result = cli("quickstart", "--seed", "1")
    assert result.exit_code == 2
    assert "seed: 0 -> 1" in result.stderr


@pytest.mark.slow
def test_stopped_it_says_how_to_go_on(cli: Cli, quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainers.iteration.run_iteration", stop)
    result = cli("quickstart", "--fast", "--output", "my run")
    assert result.exit_code == 130
    assert "srbench quickstart --fast --output 'my run' --seed 0" in result.stderr
    assert "Traceback" not in result.output


def _config() -> Any:
    from selfreward_bench import recipes

    return recipes.load("micro", ["seed=0", "with_baseline=true"])
