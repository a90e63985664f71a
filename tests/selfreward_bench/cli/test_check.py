"""`srbench check`, and the same look in `init`, `validate`, `run-iteration` and its dry run: never a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.bases.findings import Examination, Finding
from selfreward_bench.cli.runs import Wanted, open_run
from selfreward_bench.errors import ConfigError
from selfreward_bench.micro import base_path
from selfreward_bench.storage.rundir import RunDir

from ... import small_models as small


@pytest.fixture
def base() -> Path:
    return small.make("llama", Path("base"))


def lines(text: str) -> str:
    """What is printed in columns, in one line."""
    return " ".join(text.split())


def test_a_base_that_can_be_trained(cli: Any, base: Path) -> None:
    result = cli("check", "base", "--static")
    assert result.exit_code == 0, result.output
    assert "base: LlamaForCausalLM, parameters 41,632, embeddings 360, positions 512" in lines(result.stdout)
    assert "There is no pad token" in lines(result.stdout)
    assert result.stdout.splitlines()[-1] == "Nothing stands in the way of training it."
    assert cli("check", "micro", "--static").exit_code == 0


def test_a_refusal_ends_with_exit_code_2_after_all_that_was_found(cli: Any, base: Path) -> None:
    small.rename_weights(base, lambda n: f"module.{n}")
    result = cli("check", "base", "--static", "--set", "candidates.sampling.max_new_tokens=512")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "It lacks 21 of its weights" in lines(result.stdout)
    assert "Lower candidates.sampling.max_new_tokens" in lines(result.stdout)
    assert result.stdout.splitlines()[-1] == "This base cannot be trained so."


def test_the_recipe_counts(cli: Any, base: Path) -> None:
    Path("mine.yaml").write_text("extends: micro\njudge: {prompt: additive-5pt}\nseeds: {ift: not-there-yet.jsonl}\n")
    result = cli("check", "base", "--static", "--recipe", "mine.yaml")
    assert result.exit_code == 2
    assert "The judge prompt 'additive-5pt' takes" in lines(result.stdout)
    unknown = cli("check", "base", "--set", "judge.prompts=x")
    assert unknown.exit_code == 2
    assert "Did you mean 'judge.prompt'" in unknown.stderr


def test_a_path_without_a_model_is_told(cli: Any) -> None:
    result = cli("check", "./nowhere", "--static")
    assert result.exit_code == 2
    assert f"There is no checkpoint directory {Path('nowhere').absolute()}" in lines(result.stdout)


def test_a_model_of_the_hub_is_asked_of_the_hub(cli: Any, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.examination.model_directory", {"owner/name@v1": base}.__getitem__)
    result = cli("check", "owner/name@v1", "--static")
    assert result.exit_code == 0
    assert "owner/name@v1: LlamaForCausalLM" in lines(result.stdout)


def test_what_is_found_cannot_steer_the_terminal(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding(severity="warning", topic="template", text="[red]a\x1b[2J[/red]")
    found = Examination(base="b", findings=(finding,))
    monkeypatch.setattr("trainers.examination.examine_base", lambda *_, **__: found)
    result = cli("check", "b")
    assert "[red]a\\x1b[2J[/red]" in result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize("static", [True, False])
def test_static_leaves_the_preflight_out(cli: Any, monkeypatch: pytest.MonkeyPatch, static: bool) -> None:
    asked: list[bool] = []

    def examine(config: Any, *, flight: bool, reporter: Any) -> Examination:
        asked.append(flight)
        return Examination(base=config.base)

    monkeypatch.setattr("trainers.examination.examine_base", examine)
    cli("check", "b", *(["--static"] if static else []))
    assert asked == [not static]


# --- the same look elsewhere


def test_files_that_cannot_be_trained_are_refused_before_a_run_is_made(cli: Any, base: Path) -> None:
    small.edit(base / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    Path("mine.yaml").write_text("extends: micro\nbase: base\n")
    for command in (("init", "a", "--set", "base=base"), ("run-iteration", "a", "--set", "base=base", "--dry-run")):
        result = cli(*command)
        assert result.exit_code == 2
        assert "base: Its weights are quantised (gptq)" in result.stderr
    assert not Path("a").exists()
    result = cli("validate", "mine.yaml")
    assert result.exit_code == 1
    assert "quantised (gptq)" in result.stdout


@pytest.mark.slow
def test_the_dry_run_of_a_run_looks_at_its_base(cli: Any, base: Path) -> None:
    cli("init", "a", "--set", "base=base")
    assert cli("run-iteration", "a", "--dry-run").exit_code == 0
    (base / "model.safetensors").unlink()
    result = cli("run-iteration", "a", "--dry-run")
    assert result.exit_code == 2
    assert "has no weights" in result.stderr


@pytest.mark.parametrize("loses", ["layers.1.mlp", ""])
def test_nothing_is_trained_from_random_weights(cli: Any, seed_data: list[str], loses: str) -> None:
    shutil.copytree(base_path(), "incomplete")
    small.rename_weights(
        Path("incomplete"), lambda n: (None if loses in n else n) if loses else f"base_model.model.{n}"
    )
    result = cli("run-iteration", "a", *seed_data, "--set", "base=incomplete", "--recipe", "micro-fast")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "incomplete' cannot be used: It lacks" in result.stderr
    assert not Path("a/SFT/checkpoint").exists()
    assert json.loads(Path("a/check.json").read_text())["examination"]["findings"]
    if loses:
        return
    run = open_run(Path("a"), Wanted(changes=("base=micro", "dpo.beta=0.3")))  # what was refused can be set
    assert (run.config.base, RunDir.open(Path("a")).config.dpo.beta) == ("micro", 0.3)
    Path("a/M1/eft.start.json").write_text("{}")
    with pytest.raises(ConfigError, match="made with other settings"):
        open_run(Path("a"), Wanted(changes=("dpo.beta=0.4",)))


@pytest.mark.parametrize("option", [[], ["--no-preflight"]])
def test_the_preflight_of_a_run_can_be_left_out(cli: Any, quick: Any, option: list[str]) -> None:
    cli("init", "a")
    cli("run-iteration", "a", *option)
    assert quick.calls[0]["preflight"] == (not option)
