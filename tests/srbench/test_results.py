"""Results from Python: the same numbers as the command line's, loaded again, compared, shown in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import srbench
from selfreward_bench.config import RunConfig

from ..leaderboards.conftest import (  # noqa: F401 - fixtures
    build_checkpoint,
    build_engine,
    config,
    evaluated_run,
    run,
    world_files,
    written_world,
)
from ..selfreward_bench.cli.conftest import Cli, cli, store_results  # noqa: F401 - fixtures

# ruff: noqa: F811 - tests take imported fixtures as arguments


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selfreward_bench.models.opening.open_engine", lambda *_, **__: build_engine(0.6))


def test_an_evaluation_is_shown_and_loads_again(world_files: Path, config: RunConfig) -> None:
    checkpoint = build_checkpoint(Path("good"), 1.0)
    found = srbench.evaluate(checkpoint, config=config, world="micro", benchmarks="quality")
    assert isinstance(found, srbench.Evaluation)
    assert found.root == Path("runs/eval")
    assert found._repr_html_().count("<svg") == 1
    assert repr(found) == "Evaluation('runs/eval': good on micro-quality@1)"
    again = srbench.load_results("runs/eval")
    assert again == found
    assert again.samples("quality").equals(found.samples("quality"))


def test_the_command_line_makes_the_same_files(world_files: Path, cli: Cli) -> None:
    checkpoint = build_checkpoint(Path("good"), 1.0)
    settings = srbench.load_recipe("micro", {"judge.mode": "expected", "eval.samples": 2})
    srbench.evaluate([str(checkpoint)], config=settings, world="micro", benchmarks=["quality"], output="a")
    options = ("--set", "judge.mode=expected", "--set", "eval.samples=2", "--recipe", "micro")
    done = cli(
        "eval", "--checkpoint", checkpoint, "--benchmarks", "quality", "--world", "micro", "--output", "b", *options
    )
    assert done.exit_code == 0, done.output
    for name in ("scores.jsonl", "answers.jsonl", "greedy.jsonl"):
        assert (
            Path("a/good/eval/micro-quality@1", name).read_bytes()
            == Path("b/good/eval/micro-quality@1", name).read_bytes()
        )
    a, b = (srbench.load_results(root).results[0] for root in ("a", "b"))
    assert a.model_copy(update={"seconds": 0.0}) == b.model_copy(update={"seconds": 0.0})


@pytest.mark.parametrize("name", ["run", "run/M2", "run/M2/eval", "run:M2"])
def test_results_are_named_as_text_or_path(run: Path, name: str) -> None:
    models = {"SFT", "M1", "M2", "M3"} if name == "run" else {"M2"}
    for given in (name, Path(name)):
        assert set(srbench.load_results(given).metrics().checkpoint) == models


@pytest.mark.parametrize("name", ["nowhere", "run:M9", "", ":M2"])
def test_results_that_are_not_there(run: Path, name: str) -> None:
    with pytest.raises(srbench.DataError):
        srbench.load_results(name if name else "elsewhere/")


def test_a_comparison_is_the_command_lines(cli: Cli) -> None:
    store_results(Path("two"))
    found = srbench.compare("two:M1", Path("two/M2"), benchmarks="quality")
    done = cli("compare", "two:M1", "two/M2", "--format", "json", "--benchmarks", "quality")
    told = json.loads(done.stdout)
    assert found.model_dump(mode="json") == {k: v for k, v in told.items() if k != "gates"}
    rows = found.differences().set_index("metric")
    (main,) = (m for m in found.benchmarks[0].metrics if m.main)
    assert main.difference is not None
    assert rows.loc["quality_sampled", "difference"] == main.difference.value == pytest.approx(0.5)
    assert (rows.loc["quality_sampled", "a"], rows.loc["quality_sampled", "b"]) == (3.5, 4.0)
    assert rows.loc["quality_sampled", "p_value"] == main.p_holm
    assert bool(rows.loc["quality_sampled", "main"]) is True
    assert "M2 against M1" in found._repr_html_()


def test_a_comparison_of_what_is_not_there() -> None:
    store_results(Path("two"))
    with pytest.raises(srbench.UnknownNameError, match="Did you mean 'quality'"):
        srbench.compare("two:M1", "two:M2", benchmarks=["qualty"])
    with pytest.raises(srbench.DataError, match="two:M3 has no results"):
        srbench.compare("two:M1", "two:M3")
