"""`status`: what is there, and what comes next."""

from __future__ import annotations

from pathlib import Path

from selfreward_bench.storage.rundir import RunDir

from .conftest import Cli, mark_done


def rows(output: str) -> dict[str, list[str]]:
    """Stage -> the other words of its line."""
    return {words[0]: words[1:] for line in output.splitlines() if (words := line.split()) and "/" in words[0]}


def test_a_new_run(cli: Cli) -> None:
    cli("init", "a", "--set", "with_baseline=false")
    result = cli("status", "a")
    assert result.exit_code == 0
    stages = rows(result.stdout)
    assert {tuple(words) for words in stages.values()} == {("new",)}
    assert "SFT/train" not in stages  # nobody asked for it
    assert list(stages)[-1] == "M3/train"
    assert "Next, M1: srbench run-iteration a" in result.stdout


def test_done_and_partial_stages(cli: Cli) -> None:
    cli("init", "a")
    run = RunDir.open(Path("a"))
    mark_done(run, "M1/ift", {"examples": 3200}, seconds=125)
    run.stage("M2/candidates", {}, {})
    (run.path / "M2/completions.jsonl").write_text("{}\n" * 7, encoding="utf-8")
    run.stage("M2/train", {}, {})
    (run.path / "M2/log.jsonl").write_text("{}\n" * 3, encoding="utf-8")
    (run.path / "M1/iteration.json").write_text("{}", encoding="utf-8")
    result = cli("status", "a")
    stages = rows(result.stdout)
    assert stages["M1/ift"] == ["done", "2", "min", "05", "s", "examples", "3,200"]
    assert stages["M2/candidates"] == ["partial", "7", "completions", "so", "far"]
    assert stages["M2/train"] == ["partial", "3", "steps", "so", "far"]
    assert "Next, M2: srbench run-iteration a" in result.stdout


def test_the_time_of_a_resumed_stage_is_marked(cli: Cli) -> None:
    cli("init", "a")
    RunDir.open(Path("a")).stage("M1/ift", {}, {})
    mark_done(RunDir.open(Path("a")), "M1/ift", {"examples": 3})
    result = cli("status", "a")
    assert "2.0 s *" in result.stdout
    assert "* of the process that finished the stage" in result.stdout


def test_a_finished_run_points_to_its_report(cli: Cli) -> None:
    cli("init", "a")
    for model in ("SFT", "M1", "M2", "M3"):
        Path("a", model).mkdir()
        Path("a", model, "iteration.json").write_text("{}", encoding="utf-8")
    assert "All models are made. See them: srbench report a" in cli("status", "a").stdout


def test_a_damaged_marker_is_named(cli: Cli) -> None:
    cli("init", "a")
    Path("a/M1").mkdir()
    Path("a/M1/ift.stage.json").write_text("{", encoding="utf-8")
    result = cli("status", "a")
    assert result.exit_code == 2
    assert "--from-stage M1/ift" in result.stderr
