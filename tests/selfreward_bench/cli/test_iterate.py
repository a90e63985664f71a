"""`run-iteration`: which models it makes, what it passes on, and what the loop's errors look like from outside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.errors import EngineError
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Message, Prompt


def made(calls: list[dict[str, Any]]) -> list[str]:
    return [call["until"] for call in calls]


def test_makes_the_next_model_evaluates_it_and_renews_the_report(cli: Any, quick: Any) -> None:
    cli("init", "a")
    first = cli("run-iteration", "a")
    assert first.exit_code == 0
    assert first.stdout.splitlines() == [
        "Made SFT: a/SFT/checkpoint",
        "Made M1: a/M1/checkpoint",
        "Next, M2: srbench run-iteration a",
        "The results: srbench report a",
    ]
    assert (made(quick.calls), quick.evaluated, quick.reports) == (["M1"], [["SFT", "M1"]], 1)
    cli("run-iteration", "a")
    assert made(quick.calls) == ["M1", "M2"]
    assert quick.evaluated[-1] == ["SFT", "M1", "M2"]  # an evaluation that was cut off is made up for


def test_until_makes_all_and_evaluates_each_before_the_next(cli: Any, quick: Any) -> None:
    cli("init", "a")
    result = cli("run-iteration", "a", "--until", "M3")
    assert made(quick.calls) == ["M1", "M2", "M3"]
    assert [names[-1] for names in quick.evaluated] == ["M1", "M2", "M3"]
    assert "All models of this run are made." in result.stdout
    again = cli("run-iteration", "a")
    assert again.exit_code == 0
    assert made(quick.calls) == ["M1", "M2", "M3"]
    assert "All models of a are made" in again.stdout


def test_a_finished_model_named_again_is_only_checked(cli: Any, quick: Any) -> None:
    cli("init", "a")
    cli("run-iteration", "a", "--until", "M2")
    result = cli("run-iteration", "a", "--until", "M1")
    assert made(quick.calls)[-1] == "M1"
    assert "M1 was made before" in result.stdout


def test_from_stage_is_passed_once_and_decides_which_model_is_next(cli: Any, quick: Any) -> None:
    cli("init", "a")
    cli("run-iteration", "a", "--until", "M3")
    quick.calls.clear()
    cli("run-iteration", "a", "--from-stage", "M2/pairs")
    assert [(c["until"], c["from_stage"]) for c in quick.calls] == [("M2", "M2/pairs")]
    quick.calls.clear()
    cli("run-iteration", "a", "--from-stage", "M2/pairs", "--until", "M3")
    assert [(c["until"], c["from_stage"]) for c in quick.calls] == [("M2", "M2/pairs"), ("M3", None)]


def test_evaluation_and_report_can_be_left_out(cli: Any, quick: Any) -> None:
    cli("init", "a")
    cli("run-iteration", "a", "--no-eval", "--no-report")
    assert (quick.evaluated, quick.reports) == ([], 0)


def test_an_evaluation_that_fails_does_not_stop_the_making(
    cli: Any, quick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise EngineError("M1 cannot answer.")

    monkeypatch.setattr("selfreward_bench.cli.scoring.evaluate_models", fail)
    cli("init", "a")
    result = cli("run-iteration", "a", "--until", "M2")
    assert made(quick.calls) == ["M1", "M2"]
    assert result.exit_code == 2
    assert "Error: M1 cannot answer." in result.stderr


def test_only_the_control_gets_the_oracle(cli: Any, quick: Any) -> None:
    cli("init", "honest")
    cli("run-iteration", "honest")
    assert quick.calls[0]["oracle"] is None
    cli("init", "control", "--recipe", "micro-oracle")
    result = cli("run-iteration", "control")
    assert "CONTROL RUN (rewards: oracle)" in result.stderr
    oracle = quick.calls[1]["oracle"]
    prompt = Prompt(id="p", messages=(Message(role="user", content="What colour is a cat?"),))
    assert oracle(prompt, "A cat is black.") == 5
    assert oracle(prompt, "No idea at all") < 5
    assert oracle(Prompt(id="q", messages=(Message(role="user", content="Why?"),)), "So.") is None


def test_a_recipe_makes_the_run_that_is_not_there(cli: Any, quick: Any) -> None:
    assert cli("run-iteration", "a", "--recipe", "micro-fast", "--seed", "4").exit_code == 0
    config = RunDir.open(Path("a")).config
    assert (config.name, config.seed) == ("micro-fast", 4)
    assert cli("run-iteration", "a", "--recipe", "micro-fast", "--seed", "4").exit_code == 0
    result = cli("run-iteration", "a", "--recipe", "micro-fast", "--seed", "5")
    assert result.exit_code == 2
    assert "seed: 4 -> 5" in result.stderr
    assert made(quick.calls) == ["M1", "M2"]


@pytest.mark.slow
def test_what_no_stage_depends_on_can_change_in_a_run_and_nothing_else(cli: Any, quick: Any) -> None:
    cli("init", "a", "--recipe", "micro-fast", "--seed", "4")
    result = cli("run-iteration", "a", "--set", "eval.limit=7", "--dry-run")
    assert result.exit_code == 0
    assert RunDir.open(Path("a")).config.eval.limit == 40
    result = cli("run-iteration", "a", "--set", "eval.limit=7")
    assert result.exit_code == 0, result.stderr
    assert "eval.limit: 40 -> 7" in result.stderr
    assert RunDir.open(Path("a")).config.eval.limit == 7
    again = cli("run-iteration", "a", "--recipe", "micro-fast", "--seed", "4")  # a recipe does not put it back
    assert again.exit_code == 0
    assert RunDir.open(Path("a")).config.eval.limit == 7
    changed = ("eval.limit=9", "train.launch=auto", "train.processes=2")
    result = cli("run-iteration", "a", *(text for change in changed for text in ("--set", change)), "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    before = Path("a/srbench.yaml").read_bytes()
    result = cli("run-iteration", "a", "--set", "eval.limit=8", "--set", "dpo.beta=0.5")
    assert result.exit_code == 2
    assert "dpo.beta: 0.1 -> 0.5" in result.stderr
    assert "eval.limit" not in result.stderr
    result = cli("run-iteration", "a", "--set", "eval.limits=8")
    assert result.exit_code == 2
    assert "Did you mean 'eval.limit'" in result.stderr
    assert Path("a/srbench.yaml").read_bytes() == before


def test_without_settings_a_missing_run_is_an_error(cli: Any, quick: Any) -> None:
    result = cli("run-iteration", "none")
    assert result.exit_code == 2
    assert "srbench init none" in result.stderr
    assert not Path("none").exists()


@pytest.mark.parametrize("option", [("--until", "M9"), ("--from-stage", "M2/pears")])
def test_unknown_models_and_stages_are_refused_before_anything_is_deleted(
    cli: Any, quick: Any, option: tuple[str, str]
) -> None:
    cli("init", "a")
    cli("run-iteration", "a")
    result = cli("run-iteration", "a", *option)
    assert result.exit_code == 2
    assert "Unknown" in result.stderr
    assert made(quick.calls) == ["M1"]


# --- errors of the real loop, as they reach the terminal; none of them gets as far as loading a model

BAD_LINES = {
    "not JSON": (b'{"id": "a", "prompt": "x", "completion": "y"}\n{"id": "b", \n', ["ift.jsonl:2", "not valid JSON"]),
    "empty": (b"", ["ift.jsonl", "holds no records"]),
    "wrong type": (b'{"id": "a", "prompt": "x", "completion": 3}\n', ["ift.jsonl:1", "completion"]),
    "missing field": (b'{"id": "a", "prompt": "x"}\n', ["ift.jsonl:1", "'completion' is missing"]),
    "twice": (b'{"id": "a", "prompt": "x", "completion": "y"}\n' * 2, ["ift.jsonl:2", "'a' is on line 1"]),
    "empty prompt": (b'{"id": "a", "prompt": " ", "completion": "y"}\n', ["ift.jsonl:1", "prompt", "empty"]),
    "surrogate": (b'{"id": "a", "prompt": "\\ud800", "completion": "y"}\n', ["ift.jsonl:1", "prompt", "surrogate"]),
    "10 MB": (
        json.dumps({"id": "a", "prompt": "x" * 10_000_000, "completion": "y"}).encode() + b"\n",
        ["ift.jsonl:1", "prompt", "longer than"],
    ),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_seed_data_is_named_by_file_line_and_field(cli: Any, seed_data: list[str], case: str) -> None:
    content, words = BAD_LINES[case]
    cli("init", "a", *seed_data)
    Path("ift.jsonl").write_bytes(content)
    result = cli("run-iteration", "a")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert all(word in result.stderr for word in words), result.stderr[-500:]
    assert len(result.stderr) < 2_000


def checkpoint(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}", encoding="utf-8")
    (path / "tokenizer.json").write_text("{}", encoding="utf-8")
    return path


def init_on_base(cli: Any, seed_data: list[str], *options: str) -> None:
    """A run on the base model ``base``, which nobody looked at when the run was made."""
    checkpoint(Path("base"))
    cli("init", "a", *seed_data, *options)
    file = Path("a/srbench.yaml")
    file.write_text(file.read_text(encoding="utf-8").replace("base: micro", "base: base"), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (None, b"", ["no weights"]),
        ("model.safetensors", b"\x08", ["model.safetensors", "damaged"]),
        ("pytorch_model.bin", b"x", ["pickle"]),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"w": "model-1-of-2.safetensors"}}',
            ["model-1-of-2.safetensors", "lacks"],
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_loaded_is_an_error(
    cli: Any, seed_data: list[str], file: str | None, content: bytes, words: list[str]
) -> None:
    init_on_base(cli, seed_data, "--set", "with_baseline=false")
    if file:
        Path("base", file).write_bytes(content)
    early = cli("init", "b", *seed_data, "--set", "base=base")
    assert (early.exit_code, Path("b").exists()) == (2, False)
    for result in (early, cli("run-iteration", "a")):
        assert result.exit_code == 2
        assert all(word in result.stderr for word in words), result.stderr


def test_a_path_that_is_no_base_model_is_found_before_any_work(cli: Any) -> None:
    result = cli("init", "a", "--set", "base=./nowhere")
    assert result.exit_code == 2
    assert f"base: There is no checkpoint directory {Path('nowhere').resolve()}" in result.stderr


def test_a_base_that_the_hub_names_is_asked_of_the_hub(
    cli: Any, seed_data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def directory(name: str, *, offline: bool) -> Path:
        asked.append(name)
        return Path("base").absolute()

    checkpoint(Path("base"))
    monkeypatch.setattr("selfreward_bench.sources.hub.hub_directory", directory)
    cli("init", "a", *seed_data, "--set", "base=hub-owner/hub-model@v1", "--set", "with_baseline=false")
    result = cli("run-iteration", "a")
    assert asked == ["hub-owner/hub-model@v1"]
    assert "has no weights" in result.stderr


def test_a_run_of_another_version_is_refused(cli: Any) -> None:
    cli("init", "a")
    file = Path("a/srbench.yaml")
    file.write_text(file.read_text(encoding="utf-8").replace("format: 1", "format: 9"), encoding="utf-8")
    for command in ("run-iteration", "status", "report"):
        result = cli(command, "a")
        assert result.exit_code == 2
        assert "format 9" in result.stderr


def test_two_writers_are_refused(cli: Any, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data)
    with RunDir.open(Path("a")).lock():
        result = cli("run-iteration", "a")
    assert result.exit_code == 2
    assert "one process writes" in result.stderr


def test_a_setting_changed_in_mid_run_is_refused_with_the_difference(cli: Any, seed_data: list[str]) -> None:
    init_on_base(cli, seed_data)
    assert cli("run-iteration", "a").exit_code == 2  # stops at the base, after the seed data
    file = Path("a/srbench.yaml")
    file.write_text(file.read_text(encoding="utf-8").replace("ift_size: 1200", "ift_size: 5"), encoding="utf-8")
    result = cli("run-iteration", "a")
    assert result.exit_code == 2
    assert "settings.size" in result.stderr
    assert "--from-stage M1/ift" in result.stderr


def test_a_run_directory_that_vanished_is_a_message(cli: Any) -> None:
    cli("init", "a")
    shutil.rmtree("a")
    assert cli("run-iteration", "a").exit_code == 2


def test_threads_of_the_recipe_hold_before_torch_is_loaded(
    cli: Any, quick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    cli("init", "a", "--set", "threads=2")
    cli("run-iteration", "a")
    assert os.environ["OMP_NUM_THREADS"] == "2"
    RunDir.create(Path("b"), recipes.load("micro", ["threads=null"]))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cli("run-iteration", "b")
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_torchrun_is_refused_before_the_run_is_made(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = cli("run-iteration", "a", "--recipe", "micro")
    assert result.exit_code == 2
    assert "torchrun started 2 processes" in result.stderr
    assert not Path("a").exists()


def test_a_run_of_another_day_goes_on_with_its_own_recipe(cli: Any, quick: Any) -> None:
    cli("init", "a", "--recipe", "micro-fast", "--set", "engine.date='2031-02-03'")
    assert cli("run-iteration", "a", "--recipe", "micro-fast").exit_code == 0
    assert RunDir.open(Path("a")).config.engine.date == "2031-02-03"
    other = cli("run-iteration", "a", "--recipe", "micro-fast", "--set", "engine.date='2031-02-04'")
    assert other.exit_code == 2
    assert "engine.date" in other.stderr
