"""Making runs: settings, refusals, and that nothing half made is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.storage.rundir import RunDir


def test_init_makes_a_run_with_the_settings_asked_for(cli: Any, tmp_path: Path) -> None:
    result = cli("init", "runs/a", "--set", "dpo.beta=0.2", "--seed", "3", "--judge", "additive-5pt")
    assert result.exit_code == 0
    assert result.stdout.endswith("Next: srbench run-iteration runs/a\n")
    config = RunDir.open(tmp_path / "runs/a").config
    assert (config.name, config.dpo.beta, config.seed, config.judge.prompt) == ("micro", 0.2, 3, "additive-5pt")
    assert config.candidates.count == 6  # of the recipe


def test_with_baseline_is_a_setting_of_the_run(cli: Any) -> None:
    off, on = ("--set", "with_baseline=false"), ("--set", "with_baseline=false", "--with-baseline")
    cli("init", "off", *off)
    cli("init", "on", *on)
    assert not RunDir.open(Path("off")).config.with_baseline
    assert RunDir.open(Path("on")).config.with_baseline


def test_the_next_command_is_quoted_for_the_shell(cli: Any) -> None:
    assert cli("init", "my run").stdout.endswith("Next: srbench run-iteration 'my run'\n")


def test_all_problems_of_the_settings_come_at_once(cli: Any) -> None:
    result = cli("init", "a", "--set", "dpo.bta=1", "--set", "sft.epochs=many")
    assert result.exit_code == 2
    assert "dpo.bta" in result.stderr
    assert "Did you mean 'dpo.beta'?" in result.stderr
    assert "sft.epochs" in result.stderr
    assert not Path("a").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--recipe", "micr"], ["Unknown recipe 'micr'", "Did you mean 'micro'?"]),
        (["--recipe", "./none.yaml"], ["none.yaml", "no such file"]),
        (["--judge", "aditive-5pt"], ["judge.prompt", "Did you mean 'additive-5pt'?"]),
        (["--judge", "pairwise"], ["judge.prompt", "pointwise"]),
        (["--set", "engine.kind=vlm"], ["engine.kind", "vlm"]),
        (["--set", "pairs.strategy=bestworst"], ["pairs.strategy", "Did you mean 'best-worst'?"]),
        (
            ["--set", "seeds.ift=none.jsonl", "--set", "seeds.eft=oasst:trees.jsonl"],
            ["seeds.ift", "none.jsonl", "seeds.eft"],
        ),
        (["--set", "dpo.beta"], ["--set dpo.beta=0.2"]),
        (["--set", "chat_template=fastchat:vicuna_v1"], ["chat_template", "Did you mean 'vicuna_v1.1'?"]),
        (["--set", "chat_template=fastchat:gemini"], ["chat_template", "behind an API"]),
        (["--set", "chat_template=tulu"], ["chat_template", "no template file", "Did you mean 'fastchat:tulu'?"]),
    ],
)
def test_names_and_files_that_are_not_there_are_found_before_any_work(
    cli: Any, options: list[str], words: list[str]
) -> None:
    result = cli("init", "a", *options)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr
    assert not Path("a").exists()


def test_a_run_is_not_made_over_another_or_over_strangers(cli: Any) -> None:
    cli("init", "a")
    again = cli("init", "a", "--seed", "1")
    assert again.exit_code == 2
    assert "srbench run-iteration a" in again.stderr
    assert RunDir.open(Path("a")).config.seed == 0
    Path("b").mkdir()
    Path("b/thesis.tex").touch()
    assert cli("init", "b").exit_code == 2
    assert [p.name for p in Path("b").iterdir()] == ["thesis.tex"]


def test_a_path_that_cannot_be_a_directory_is_a_message(cli: Any) -> None:
    Path("file").touch()
    result = cli("init", "file/run")
    assert result.exit_code == 2
    assert "file" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_read_only_directory_is_a_message(cli: Any) -> None:
    Path("locked").mkdir(mode=0o500)
    result = cli("init", "locked/run")
    assert result.exit_code == 2
    assert "permission is denied" in result.stderr


def test_a_control_is_named_as_one(cli: Any) -> None:
    assert "CONTROL RUN (rewards: oracle)" in cli("init", "a", "--recipe", "micro-oracle").stderr
    assert "CONTROL" not in cli("init", "b").output
